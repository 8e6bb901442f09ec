package wal

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// group is the group commit. A caller that wants an LSN durable and finds no
// sync in progress leads one, which covers everything that is appended when it
// begins. A caller that finds one waits for its end and checks again: either its
// record was covered, or it leads the next sync, which covers all the records that
// were appended while the first one ran. So a lone writer waits for its own sync
// only, and no caller waits for more than two: the one in progress and the next.
type group struct {
	// mu guards the fields below. It is not held during a sync: callers that come while
	// one runs have to find it.
	mu    sync.Mutex
	round *round // the sync in progress, or nil
	last  int32  // how many callers the round before had
	ended bool   // set by Close: no round may begin
}

// round is one sync and the callers that wait for it.
type round struct {
	callers atomic.Int32  // the leader among them
	expect  int32         // callers of the round before
	done    chan struct{} // closed at its end
	err     error         // set before; nil also where it covered less than asked
}

// gatherings is how often a leader lets others run before it begins its sync.
const gatherings = 4

// gather lets the goroutines that are ready to run do so before the sync begins, as long as the
// round has fewer callers than the one before. Those that the end of that one has woken append
// their next records now. Without that the first of them synced its own record at once, and all
// others had to wait for the sync behind it: half of the writers were in each (28 of 64, measured).
//
// It waits for nobody who is not ready: where nothing else is to run, it costs less than a
// microsecond, and a lone writer nothing.
func (r *round) gather() {
	for n := 0; n < gatherings && r.callers.Load() < r.expect; n++ {
		runtime.Gosched()
	}
}

// Commit waits until the record with that LSN, and all before it, are durable.
//
// When ctx ends first, Commit returns its error at once; the record stays in
// the log, and the sync goes on. Commit returns ErrNotFound for an LSN that
// was not appended yet, ErrPoisoned after any failed sync, and ErrClosed. It
// returns ErrNoSpace where the directory has no space for the name of a segment
// that the log goes on in already, and an error that matches fs.ErrPermission
// where it may not be written to: the records are in the log, and a later Commit
// makes them durable once the cause is removed.
//
// A cut makes durable what was appended before it, and then removes it: a
// Commit that waits for one of these records returns nil.
func (l *Log) Commit(ctx context.Context, lsn LSN) error {
	l.mu.Lock()
	last, cuts := l.at.LSN, l.cutCount.Load()
	l.mu.Unlock()
	if lsn > last {
		return fmt.Errorf("%w: commit of LSN %d, the last is %d", ErrNotFound, lsn, last)
	}
	return l.commit(ctx, lsn, cuts)
}

// commit is Commit for an LSN of which the caller knows how many cuts at the back
// there had been when it was appended. After a further cut the LSN may be another
// record's, or none's; the cut began with a sync, which covered the caller's record.
func (l *Log) commit(ctx context.Context, lsn LSN, cuts uint64) error {
	done := ctx.Done()
	for {
		if p := l.poison.Load(); p != nil {
			return p
		}
		if lsn <= l.settled() || cuts != l.cutCount.Load() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r, lead := l.commits.join()
		switch {
		case r == nil:
			// Close makes its checkpoint before it ends the group, and both may have
			// happened since the check above: then the record is durable, and nil is
			// the right answer.
			if lsn <= l.DurableLSN() || cuts != l.cutCount.Load() {
				l.awaitTold()
				return nil
			}
			if p := l.poison.Load(); p != nil {
				return p
			}
			return ErrClosed
		case lead && done == nil:
			l.lead(r)
		case lead:
			// The leader's context may end before its sync does.
			go l.lead(r)
		}
		select {
		case <-r.done:
			if r.err != nil && lsn > l.DurableLSN() && cuts == l.cutCount.Load() {
				return r.err
			}
			if !lead && l.wrong.Has(seam.FollowersEarly) {
				return nil
			}
		case <-done:
			return ctx.Err()
		}
	}
}

// settled returns the last LSN that is durable and that OnDurable was told of. A
// Commit that finds its record durable without waiting then returns no sooner than
// one that waited: in both cases OnDurable has returned before.
func (l *Log) settled() LSN {
	if l.opts.OnDurable == nil {
		return l.DurableLSN()
	}
	return min(LSN(l.told.Load()), l.DurableLSN()) // a cut lowers one after the other
}

// awaitTold waits until OnDurable was told of what is durable: the sync that calls
// it holds syncMu until it has returned.
func (l *Log) awaitTold() {
	if l.opts.OnDurable != nil {
		l.syncMu.Lock()
		l.syncMu.Unlock() //nolint:staticcheck // only waits
	}
}

// lead syncs for all callers that wait for the round. It ends the round also where
// OnDurable panics: those that wait then check again what is durable, and one of
// them leads the next round. An error ends this round only. Whether a later one may
// succeed, the poison decides.
func (l *Log) lead(r *round) {
	var err error
	defer func() { l.commits.finish(r, err) }()
	r.gather()
	err = l.syncOnce()
}

// join returns the round in progress, or a new one, which the caller has to lead.
// A nil round says that the log has ended.
func (g *group) join() (r *round, lead bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.round != nil {
		g.round.callers.Add(1)
		return g.round, false
	}
	if g.ended {
		return nil, false
	}
	g.round = &round{done: make(chan struct{}), expect: g.last}
	g.round.callers.Store(1)
	return g.round, true
}

// finish ends a round. It takes the round out of the group before it wakes those
// that wait: the first of them that needs another sync must not find the old round.
func (g *group) finish(r *round, err error) {
	g.mu.Lock()
	g.round, g.last = nil, r.callers.Load()
	g.mu.Unlock()
	r.err = err
	close(r.done)
}

// end lets no further round begin, and waits for the one in progress.
func (g *group) end() {
	g.mu.Lock()
	g.ended = true
	r := g.round
	g.mu.Unlock()
	if r != nil {
		<-r.done
	}
}
