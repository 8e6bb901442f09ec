package wal

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/durability"
)

// lease is a mapping with its file, and how many readers are at work in it. Who
// made it gives it up; it is unmapped then, or with the last pin. Nobody waits for
// anybody: a reader that holds a pin may wait for the disk.
type lease struct {
	state atomic.Int64 // pins, and givenUp
	mem   *durability.Mapping
	file  *durability.File
}

// givenUp is what giveUp adds to a lease's state.
const givenUp = 1 << 62

// pin keeps the mapping until unpin. It reports false where it was given up.
func (s *lease) pin() bool {
	for {
		n := s.state.Load()
		if n >= givenUp {
			return false
		}
		if s.state.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// again is pin for a reader that holds one.
func (s *lease) again() { s.state.Add(1) }

// unpin ends what pin began.
func (s *lease) unpin() {
	if s.state.Add(-1) == givenUp {
		_ = s.end() // nothing that is stored is lost with a mapping
	}
}

// giveUp unmaps and closes, at once where nobody holds a pin.
func (s *lease) giveUp() error {
	if s.state.Add(givenUp) == givenUp {
		return s.end()
	}
	return nil
}

// end unmaps and closes.
func (s *lease) end() error { return errors.Join(s.mem.Unmap(), s.file.Close()) }

// pins are the records that readers hold where they lie.
type pins struct {
	mu      sync.Mutex
	freed   *sync.Cond // of mu: a reader that holds a record let go of it
	readers []*Reader  // those that may hold one
	waiting bool       // somebody waits for freed
}

// enrol makes a reader known as one that may hold records.
func (p *pins) enrol(r *Reader) {
	p.mu.Lock()
	p.readers = append(p.readers, r)
	p.mu.Unlock()
}

// leave forgets a reader.
func (p *pins) leave(r *Reader) {
	p.mu.Lock()
	if i := slices.Index(p.readers, r); i >= 0 {
		p.readers = slices.Delete(p.readers, i, i+1)
	}
	p.mu.Unlock()
}

// hold takes the record with that LSN. The reader looks behind it whether the
// record is still readable: a cut either lowered what is readable before, or finds
// the record held.
func (p *pins) hold(r *Reader, lsn LSN) {
	p.mu.Lock()
	r.held = lsn
	p.mu.Unlock()
}

// release lets go of the record that the reader holds.
func (p *pins) release(r *Reader) {
	p.mu.Lock()
	r.held = 0
	if p.waiting {
		p.freed.Broadcast()
	}
	p.mu.Unlock()
}

// awaitUnpinned waits until no reader holds a record behind the one with that
// LSN. No further one gets hold of one: they are not readable any more.
func (t *segments) awaitUnpinned(after LSN) {
	p := &t.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed == nil {
		p.freed = sync.NewCond(&p.mu)
	}
	p.waiting = true
	for slices.ContainsFunc(p.readers, func(r *Reader) bool { return r.held > after }) {
		p.freed.Wait()
	}
	p.waiting = false
}

// pinned reports whether a reader holds on to the segment's bytes. The front was
// raised before: whoever pins them after this look sees that behind the pin.
func (st *stored) pinned() bool { return st.pins.Load() > 0 }

// pin keeps the mapping that the view is of, which is pinned, until the reader
// moves on.
func (r *Reader) pin(v view) {
	if r.pinned.lease == v.lease {
		return
	}
	r.unpin()
	v.lease.again()
	v.st.pins.Add(1)
	r.pinned = v
}

// unpin ends what pin began.
func (r *Reader) unpin() {
	if r.pinned.lease == nil {
		return
	}
	r.pinned.st.pins.Add(-1)
	r.pinned.lease.unpin()
	r.pinned = view{}
}
