package wal

import (
	"slices"
	"sync"
)

// pins are the records that readers hold where they lie.
type pins struct {
	mu      sync.Mutex
	freed   *sync.Cond // of mu: a reader that holds a record let go of it, or the log ended
	readers []*Reader  // those that may hold one
	bars    []LSN      // of cuts that wait: nobody gets hold of a record behind one
}

// register makes a reader known as one that may hold records.
func (p *pins) register(r *Reader) {
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

// hold takes the record with that LSN, unless a cut waits that is to remove it. The
// reader looks behind it whether the record is still readable: a cut either lowered
// what is readable before, or finds the record held.
func (p *pins) hold(r *Reader, lsn LSN) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, last := range p.bars {
		if lsn > last {
			return false
		}
	}
	r.held = lsn
	return true
}

// release lets go of the record that the reader holds.
func (p *pins) release(r *Reader) {
	p.mu.Lock()
	r.held = 0
	p.wake()
	p.mu.Unlock()
}

// wake wakes those who wait for a record to be let go of. The caller holds mu.
func (p *pins) wake() {
	if p.freed != nil && len(p.bars) > 0 {
		p.freed.Broadcast()
	}
}

// held reports whether a reader holds a record behind the one with that LSN. The
// caller holds mu.
func (p *pins) held(after LSN) bool {
	return slices.ContainsFunc(p.readers, func(r *Reader) bool { return r.held > after })
}

// awaitUnheld waits until no reader holds a record behind the one with that LSN, and
// keeps it so until done: who asks for one gets a copy. No lock is held meanwhile,
// and nobody held up: whoever holds the record may have to append, or to sync,
// before it lets go of it. The wait ends with the log.
func (l *Log) awaitUnheld(after LSN) (done func(), err error) {
	p := &l.store.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed == nil {
		p.freed = sync.NewCond(&p.mu)
	}
	p.bars = append(p.bars, after)
	unbar := func() {
		i := slices.Index(p.bars, after)
		p.bars = slices.Delete(p.bars, i, i+1)
	}
	for p.held(after) {
		if err = l.checkWritable(); err != nil {
			unbar()
			return nil, err
		}
		p.freed.Wait()
	}
	return func() {
		p.mu.Lock()
		unbar()
		p.mu.Unlock()
	}, nil
}

// assertUnheld fails where a reader holds a record behind the one with that LSN.
func (p *pins) assertUnheld(after LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if invariants && p.held(after) {
		panic("wal: a record is held that a cut removes")
	}
}

// pinned reports whether a reader holds on to the segment's bytes. The front was
// raised before: whoever pins them after this look sees that behind the pin.
func (st *stored) pinned() bool { return st.pins.Load() > 0 }

// pin keeps the mapping that the view is of, which is pinned, until the reader
// moves on.
func (r *Reader) pin(v view) {
	if r.pinned.ref == v.ref {
		return
	}
	r.unpin()
	v.ref.pinAgain()
	v.st.pins.Add(1)
	r.pinned = v
}

// unpin ends what pin began.
func (r *Reader) unpin() {
	if r.pinned.ref == nil {
		return
	}
	r.pinned.st.pins.Add(-1)
	r.pinned.ref.unpin()
	r.pinned = view{}
}
