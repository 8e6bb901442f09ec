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

// A LogReader works by states: what the segments are, which is the last, and up to where
// records may be read. A state is made by reading the directory, and holds until the last
// segment's control block says otherwise. It is in these files:
//
//   - logreader_state.go makes states while the log has a writer, logreader_recover.go while
//     it has none, or its block is not to be believed yet;
//   - logreader_segments.go keeps segments mapped;
//   - logreader_fetch.go and logreader_position.go read records by a state;
//   - logreader_wait.go waits, and asks whether the writer lives;
//   - logreader_protocol_doc.go shows why what is read concurrently with a writer is whole.

// LogReader reads a log, concurrently with its writer in another process or without
// one. It needs read permission only, writes nothing and takes no lock. All of its
// methods are safe for concurrent use by many goroutines; its Readers are not.
//
// While the log has a writer, a record is readable when its Append has returned, and
// durable when the writer says so in the control block. In a log without a writer, the
// records are readable that Open would keep, and those are durable that a watermark
// proves to be.
type LogReader struct {
	path   string
	closed atomic.Bool
	now    atomic.Pointer[logState] // the present state; nil before the first, and when closed. Set under mu
	asked  atomic.Int64             // when the lock was last asked, in Unix nanoseconds

	// mu guards the fields below: only who holds it takes a segment from the cache or
	// releases one. It is held while the state is read again, which reads files; a Reader that goes on
	// in its segment does not take it.
	mu      sync.Mutex
	dir     *durability.Dir
	layered bool             // on overlayfs: a writer's first write copies the file, and a mapping stays the old one
	lock    *durability.File // the lock file, which is only asked; nil where there is none yet
	cache   segmentCache
	trusted bool // a living writer was seen to update its control block

	// complaint is the damage that the previous recovery found, as text, or "".
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
	// The first state is read here, so that a log that cannot be read is an error of this
	// call, and not of the first Reader.
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

// Verdict returns the verdict of the last recovery, made while the log had no writer
// and as far back as Open would read. It is Clean while there is a writer: a record in
// progress is not torn. Verify reads everything.
func (o *LogReader) Verdict() Verdict {
	if p := o.now.Load(); p != nil && !p.live {
		return p.verdict
	}
	return Clean
}

// Close ends the reading: Readers that wait in Follow get ErrClosed. A mapping that a
// Reader holds is released when that Reader is closed.
func (o *LogReader) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	// Without a state no Reader goes on: adopt returns ErrClosed.
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
// log cannot be read, it is what was last seen. Each call loads the control block, so
// that the answer is as new as the call; the state is read again only where the block
// says that it does not hold any more.
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

// ask asks the lock whether the log has a writer, without taking it. The lock file is
// opened when it is first there: a reader may be older than the log's first writer. The
// caller holds mu.
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
