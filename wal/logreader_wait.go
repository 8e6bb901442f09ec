package wal

import (
	"context"
	"errors"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// How long a LogReader waits, and for what: at the log's end for further records (await), and
// in the middle for a writer that is changing the directory (patience). No writer ever wakes
// it, since a reader writes nothing by which a writer could know of it. So each wait is a
// pause, after which the block or the directory is read again.
const (
	// trustPause is how long a writer is watched to see it at work.
	trustPause = 200 * time.Microsecond
	// settleTime is how long a state that is inconsistent is read again, since a
	// writer that is opening the log, or a cut, may be the cause. settleAttempts is the
	// least number of attempts, since the time may pass while this process is stopped.
	settleTime     = time.Second
	settleAttempts = 20
	// minPoll and maxPoll are the least and the longest time between two loads by
	// a follower of the control block that the writer keeps up.
	minPoll = 50 * time.Microsecond
	maxPoll = 10 * time.Millisecond
	// askInterval is the least time between two questions to the lock, at the log's end,
	// whether the writer lives, and between two looks whether the files are in place.
	askInterval = 100 * time.Millisecond
)

// askAgain asks the lock, at most once per askInterval, whether the log has a writer. It
// is called at the log's end, where the control block of a dead writer never changes.
// It reports whether the state was read again.
//
// It asks too whether the tail's file still has a name: where all files of the log were
// replaced by others, a copy that was put back perhaps, nothing in the old mapping ever says
// so. The lock file may be another one then as well, and is opened again by the next ask.
func (o *LogReader) askAgain(p *logState) (bool, error) {
	if time.Now().UnixNano()-o.asked.Load() < int64(askInterval) {
		return false, nil
	}
	o.mu.Lock()
	live, err := o.ask()
	gone := false
	if err == nil && p.tail != nil && o.now.Load() == p {
		var st durability.Stat
		st, err = p.tail.file.Stat()
		gone = st.Links == 0 || o.layered && p.tail.stale()
	}
	if gone && o.lock != nil { // the directory's files were replaced
		err = errors.Join(err, o.lock.Close())
		o.lock = nil
	}
	o.mu.Unlock()
	if err != nil || live == p.live && !gone && p.tail != nil {
		return false, err
	}
	return true, o.refresh(p)
}

// await implements source. The writer does not wake readers in other processes: they
// poll the control block, the more seldom the longer nothing happens.
//
// It returns without an error also where the state does not hold any more or the block cannot
// be loaded: fetch finds the same, and knows what follows from it.
func (o *LogReader) await(ctx context.Context, r *Reader) error {
	b := &r.outside
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		if o.closed.Load() {
			return ErrClosed
		}
		if o.now.Load() != b.state {
			return nil
		}
		if b.tail != nil {
			n, err := segment.LoadControl(b.tail.mem)
			if err != nil {
				return nil // fetch says it
			}
			if holds, err := o.holds(b.state, n); err != nil || !holds {
				return nil
			}
			if first, last := b.state.bounds(n, r.durable); r.next <= last || r.next < first {
				return nil
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		if moved, err := o.askAgain(b.state); moved && err == nil {
			return nil
		} else if err != nil && !errors.Is(err, errInconsistent) {
			return err
		}
	}
}

// patience is the waiting of one call for a consistent state, while a writer changes
// the log. When the wait has lasted long enough, it recovers the log from its files,
// without what the writer's control block says.
//
// It belongs to one call of fetch, bounds or OpenReader, and goes through three stages: the
// state is read again after growing pauses, for settleTime; then the log is recovered from
// its files (recoverNow), until one recovery is not disturbed; then it is exhausted, and the
// caller reports what it has found. fetch begins with another one where a cut explains what
// went before.
type patience struct {
	o         *LogReader
	since     time.Time
	pause     time.Duration
	attempts  int
	recovered bool
}

// errRetriesExhausted says that neither waiting nor a recovery explained what was
// found.
var errRetriesExhausted = errors.New("wal: the log stays inconsistent")

// refresh is LogReader.refresh, but waits where a writer is changing the log. No
// context ends the wait; settleTime bounds it.
func (w *patience) refresh(old *logState) error {
	err := w.o.refresh(old)
	if errors.Is(err, errInconsistent) {
		err = w.more(context.Background())
	}
	return err
}

// more waits a moment, and then reads the state again. After settleTime it recovers
// the log instead, once, and from then on returns errRetriesExhausted.
//
// errInconsistent from the reading is no result here: the caller tries again by the old state,
// fails again, and comes back.
func (w *patience) more(ctx context.Context) error {
	if w.since.IsZero() {
		w.since, w.pause = time.Now(), minPoll
	}
	if w.recovered {
		return errRetriesExhausted
	}
	o := w.o
	p := o.now.Load()
	// Without a writer, one more attempt is enough: nothing changes the log.
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
	// A recovery that a change of the log disturbed proves nothing, and is made again.
	w.recovered = true
	err := o.recoverNow()
	if errors.Is(err, errInconsistent) {
		w.recovered = false
		err = sleep(ctx, maxPoll)
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
