package wal

import (
	"slices"
	"sync"
)

// Three counts keep the bytes of a record as they are while a Reader of this process
// uses them. Each defends against another change:
//
//   - mappingRef, a pin on the mapping: the addresses stay mapped, also where the
//     segment is closed, removed or evicted. Every read holds one while it lasts, and
//     a ZeroCopy Reader until it moves on.
//   - stored.pins, of ZeroCopy Readers in a segment: a cut at the front does not recycle
//     its file, whose bytes would change below the mapping.
//   - Reader.held, the record that was handed out: a cut at the back that removes it
//     waits, since it zeroes the bytes (awaitUnheld).
//
// A Reader that copies needs only the first: it finds out afterwards whether the bytes
// were changed during the copy (Log.unchanged).

// pins are the records that readers hold where they lie (Reader.ZeroCopy). mu guards
// the fields below, and Reader.held of each of the readers.
//
// A cut that removes records which may be held goes through these steps with it:
//
//  1. awaitUnheld adds a bar. From here on hold refuses the records behind it, and their
//     readers get copies, so that what is held there only becomes less.
//  2. It waits until nobody holds one of them.
//  3. The cut changes the epoch, lowers the last LSN, and only then changes a byte.
//  4. done lifts the bar. A reader that was about to hold such a record then sees the other
//     epoch, and does not hand it out (Log.read).
//
// Nothing else is locked under mu.
type pins struct {
	mu      sync.Mutex
	freed   *sync.Cond // on mu: a held record was released, or the log ended; nil until a cut waits
	readers []*Reader  // those that may hold a record
	bars    []LSN      // the last LSNs of cuts that wait: no record behind one may be held from then on
}

// register makes a reader known as one that may hold records. A cut looks at these
// readers only: one that copies is in no list, and costs a cut nothing.
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

// hold marks the record with that LSN as held, unless a cut waits that is to remove
// it: every later cut waits for this reader. The caller then checks that no earlier
// cut has removed the record: such a cut changed the epoch before it lifted its bar.
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

// release ends what hold began. The reader need not hold anything: begin and Close drop
// in any case.
func (p *pins) release(r *Reader) {
	p.mu.Lock()
	r.held = 0
	p.wake()
	p.mu.Unlock()
}

// wake wakes cuts that wait for the release of a record. The caller holds mu.
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
// keeps it so until done is called: a reader that asks for one gets a copy. The wait
// holds no lock, since the goroutine that holds the record may have to append or to
// sync before it releases it. The wait ends with an error when the log does.
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

// assertUnheld fails where a reader holds a record behind the one with that LSN. It takes
// mu also where nothing is checked: logreader_protocol_doc.go counts on a lock between
// the store of the epoch and the first byte that is changed.
func (p *pins) assertUnheld(after LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if invariants && p.held(after) {
		panic("wal: a record is held that a cut removes")
	}
}

// pinned reports whether a reader uses the segment's bytes, so that the file cannot be
// recycled. The caller has raised the front before: a reader that pins them after this
// check sees the new front when it checks, behind its pin, what it may read.
func (st *stored) pinned() bool { return st.pins.Load() > 0 }

// pin keeps the mapping of a view until the reader moves on to another segment. The
// caller has pinned the mapping for the time of this call. A reader that goes on in the
// same mapping has it pinned already, and costs no atomic operation a record here. pins
// is counted apart from the mapping's pins: a segment may have been mapped again since.
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
