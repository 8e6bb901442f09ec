//go:build linux

package bench

import (
	"runtime"
	"sync"
)

// rawGroup is the bare group commit: those that wait share one pwrite and one fdatasync.
type rawGroup struct {
	*ring

	mu      sync.Mutex // guards the two below
	joining *round     // that records still join
	running *round     // that was taken last
}

// round is one write and one sync for all that joined it.
type round struct {
	bytes []byte
	done  chan struct{} // closed when err is set
	err   error
}

// newRawGroup returns a group whose rounds go to r, which must have space for a record
// of each writer.
func newRawGroup(r *ring) *rawGroup {
	r.sum()
	return &rawGroup{ring: r, joining: newRound(nil)}
}

// newRound returns an empty round, with the memory of one that is over.
func newRound(old *round) *round {
	r := &round{done: make(chan struct{})}
	if old != nil {
		r.bytes, old.bytes = old.bytes[:0], nil
	}
	return r
}

// append implements contender. Who joins a round first leads it: when the one before it
// is over, the leader lets those that this woke join too, takes the round, writes and
// syncs it, and wakes all that joined it by closing one channel.
func (g *rawGroup) append() error {
	g.mu.Lock()
	r, before := g.joining, g.running
	lead := len(r.bytes) == 0
	r.bytes = append(r.bytes, g.record...)
	g.mu.Unlock()
	if !lead {
		<-r.done
		return r.err
	}
	if before != nil {
		<-before.done
		runtime.Gosched()
	}
	g.mu.Lock()
	g.joining, g.running = newRound(before), r
	g.mu.Unlock()
	r.err = g.writeSynced(r.bytes)
	close(r.done)
	return r.err
}
