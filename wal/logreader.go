package wal

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// How patient a LogReader is.
const (
	// trustPause is how long a writer is watched to see it at work.
	trustPause = 200 * time.Microsecond
	// settleTime is how long what is inconsistent is read again: a writer
	// that is being started, or a cut, explains it. So many attempts at least, since
	// the time may pass while the process is stopped.
	settleTime     = time.Second
	settleAttempts = 20
	// minPoll and maxPoll are the least and the longest time between two loads by
	// a follower of the control block that the writer keeps up.
	minPoll = 50 * time.Microsecond
	maxPoll = 10 * time.Millisecond
	// silence is how long these may stay as they are before the lock and the
	// directory are read.
	silence = 100 * time.Millisecond
)

// LogReader reads a log, concurrently with its writer in another process or without
// one.
// It needs read permission only, writes nothing and takes no lock. All of its
// methods are safe for concurrent use by many goroutines; its Readers are not.
//
// While the log has a writer, records are readable when their Append has
// returned, and what is durable is what the writer knows to be. Of a log without
// a writer those are read that Open would keep, and what is proved to be durable
// counts as durable.
type LogReader struct {
	path   string
	closed atomic.Bool
	now    atomic.Pointer[logState]
	asked  atomic.Int64 // when the lock was last asked, in Unix nanoseconds

	mu      sync.Mutex
	dir     *durability.Dir
	layered bool             // what is mapped may be what a writer has copied away from (overlay)
	lock    *durability.File // nil where there is none yet
	cache   segmentCache
	trusted bool // a living writer was seen to keep its block up

	// complaint is the damage that the recovery before found, in words, or
	// nothing.
	complaint string
}

var _ source = (*LogReader)(nil)

// OpenReader opens the log in a directory for reading. A writer may start, die
// and start again at any time: readers go on.
//
// It returns ErrMissing, ErrForeign, ErrVersion, and errors of the filesystem.
// That a log is damaged is found by the Reader that comes to the place.
func OpenReader(dir string) (*LogReader, error) {
	d, err := openLogDir(dir)
	if err != nil {
		return nil, err
	}
	o := &LogReader{path: dir, dir: d}
	if fsys, ferr := d.Filesystem(); ferr == nil {
		o.layered = fsys.Magic == unix.OVERLAYFS_SUPER_MAGIC
	}
	wait := patience{o: o}
	for err == nil && o.now.Load() == nil {
		err = wait.refresh(nil)
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Reader returns a reader whose first record is the one with that LSN, or the
// log's first one for 0. Close it: it holds a segment mapped.
func (o *LogReader) Reader(from LSN) *Reader {
	return &Reader{src: o, next: from, whole: from == 0, cur: cursor{Cursor: segment.Cursor{Window: segment.PopulateBytes}}}
}

// Get returns a copy of the record with that LSN. It returns ErrTruncated for
// an LSN below the log's first, ErrNotFound for one that is not readable yet,
// and what Reader.Err returns.
func (o *LogReader) Get(lsn LSN) ([]byte, error) {
	if lsn == 0 {
		return nil, truncated(lsn, o.FirstLSN())
	}
	r := Reader{src: o, next: lsn, cur: cursor{Cursor: segment.Cursor{Window: 2 * segment.IndexStep}}}
	defer o.leave(&r)
	ok, err := o.fetch(context.Background(), &r)
	if err == nil && !ok {
		err = notThere(lsn, o.LastLSN())
	}
	return r.rec, err
}

// FirstLSN returns the log's first LSN. Where LastLSN is smaller, the log is
// empty.
func (o *LogReader) FirstLSN() LSN { first, _ := o.bounds(false); return first }

// LastLSN returns the LSN of the last record that is readable.
func (o *LogReader) LastLSN() LSN { _, last := o.bounds(false); return last }

// DurableLSN returns the last LSN that survives power loss.
func (o *LogReader) DurableLSN() LSN { _, last := o.bounds(true); return last }

// Live reports whether the log has a writer now.
func (o *LogReader) Live() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	live, err := o.ask()
	return err == nil && live
}

// Verdict returns the verdict on the log when it was last found without a writer,
// as far back as Open would read, and Clean with a writer: what is in progress
// there is not torn. Verify reads everything.
func (o *LogReader) Verdict() Verdict {
	if p := o.now.Load(); p != nil && !p.live {
		return p.verdict
	}
	return Clean
}

// Close ends the reading: those who follow get ErrClosed. Mappings are given up
// with the Readers that hold them.
func (o *LogReader) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	o.install(nil)
	for _, s := range o.cache.byOrdinal {
		o.discard(s)
	}
	err := o.dir.Close()
	if o.lock != nil {
		err = errors.Join(err, o.lock.Close())
	}
	return err
}

// bounds returns the first and the last record that may be read now. Where the
// log cannot be read, it is what was last seen.
func (o *LogReader) bounds(durable bool) (first, last LSN) {
	wait := patience{o: o}
	for refreshed := false; ; {
		o.mu.Lock()
		p := o.now.Load()
		if p == nil {
			o.mu.Unlock()
			return 0, 0 // closed
		}
		n, holds, err := p.control, refreshed, error(nil)
		if p.tail != nil {
			if n, err = segment.LoadControl(p.tail.mem); err == nil {
				holds, err = o.holds(p, n)
			}
		}
		o.mu.Unlock()
		if err == nil && holds {
			return p.bounds(n, durable)
		}
		refreshed = true // a log without a tail has no block that would say more
		if err = wait.refresh(p); err != nil {
			return p.bounds(p.control, durable)
		}
	}
}

// ask asks the lock whether the log has a writer. The caller holds mu.
func (o *LogReader) ask() (bool, error) {
	if o.closed.Load() {
		return false, ErrClosed
	}
	o.asked.Store(time.Now().UnixNano())
	if o.lock == nil {
		f, err := o.dir.Open(logdir.LockName, false)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		o.lock = f
	}
	return o.lock.Locked()
}

// patience waits until what a writer at work leaves is consistent. When it has
// ended, the log is recovered without what the writer says.
type patience struct {
	o         *LogReader
	since     time.Time
	pause     time.Duration
	attempts  int
	recovered bool
}

// errRetriesExhausted says that it was waited for long enough.
var errRetriesExhausted = errors.New("wal: it was waited for long enough")

// refresh is LogReader.refresh that waits, with no end set by a context, where a
// writer is at work.
func (w *patience) refresh(old *logState) error {
	err := w.o.refresh(old)
	if errors.Is(err, errInconsistent) {
		err = w.more(context.Background())
	}
	return err
}

// more waits a moment, and has the state read again. In the end it recovers the log,
// once, and then returns errRetriesExhausted.
func (w *patience) more(ctx context.Context) error {
	if w.since.IsZero() {
		w.since, w.pause = time.Now(), minPoll
	}
	if w.recovered {
		return errRetriesExhausted
	}
	o := w.o
	p := o.now.Load()
	// Without a writer, one more attempt is enough: nobody is at work.
	if live := p == nil || p.live; live && (time.Since(w.since) < settleTime || w.attempts < settleAttempts) || w.attempts == 0 {
		w.attempts++
		if err := sleep(ctx, w.pause); err != nil {
			return err
		}
		w.pause = min(2*w.pause, maxPoll)
		if err := o.refresh(p); !errors.Is(err, errInconsistent) {
			return err
		}
		return nil
	}
	w.recovered = true
	err := o.recoverNow()
	if errors.Is(err, errInconsistent) {
		w.recovered = false
		err = sleep(ctx, maxPoll)
	}
	return err
}

// recoverNow makes a recovered state the present one, whichever process has the lock.
func (o *LogReader) recoverNow() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	live, err := o.ask()
	if err != nil {
		return err
	}
	p, err := o.recoverState(live)
	if err == nil {
		o.install(p)
	}
	return err
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
