package wal

import (
	"errors"
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/durability"
)

// lease is a mapping with its file, and how many readers hold on to it. Who
// made it gives it up; it is unmapped then, or with the last pin.
type lease struct {
	mu   sync.Mutex
	pins int
	over func() error // unmaps; set when it was given up with pins on it
}

// pin keeps the mapping until unpin.
func (s *lease) pin() {
	s.mu.Lock()
	s.pins++
	s.mu.Unlock()
}

// unpin ends what pin began.
func (s *lease) unpin() {
	s.mu.Lock()
	s.pins--
	var over func() error
	if s.pins == 0 {
		over, s.over = s.over, nil
	}
	s.mu.Unlock()
	if over != nil {
		_ = over() // nothing that is stored is lost with a mapping
	}
}

// giveUp unmaps and closes, at once where nobody holds a pin.
func (s *lease) giveUp(mem *durability.Mapping, file *durability.File) error {
	over := func() error { return errors.Join(mem.Unmap(), file.Close()) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins > 0 {
		s.over = over
		return nil
	}
	return over()
}

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

// hold takes the record with that LSN. The reader holds segments.mu for
// reading, and has seen that the record is readable: a cut either lowered what
// is readable before, or finds the record held.
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

// pinned reports whether a reader holds on to the segment's bytes. The segment
// was taken out of the list: no further one does.
func (st *stored) pinned() bool { return st.pins.Load() > 0 }

// pin keeps the mapping that the view is of, until the reader moves on.
func (r *Reader) pin(v view) {
	if r.pinned.lease == v.lease {
		return
	}
	r.unpin()
	v.lease.pin()
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
