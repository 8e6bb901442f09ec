package wal

import (
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// checkPlace checks whether the place behind the record that was returned last
// is still one of the log. The record's link, loaded again, decides: a frame of another
// record at that offset has another link, and a recycled segment another salt.
//
// This file finds the place in the log of a LogReader's Reader: whether the one that it has
// still is one (checkPlace), and from where the next record is sought (position). tryFetch
// calls both. A Log knows of each cut (cutList); a LogReader sees only that there were some,
// by the epoch, and so has to look at the bytes.
//
// The place is checked once for each state that the Reader adopts. A Reader that has returned
// nothing yet has none.
func (o *LogReader) checkPlace(r *Reader) error {
	b := &r.outside
	if b.checked {
		return nil
	}
	if r.last != 0 {
		first, last := b.state.bounds(b.seen, false)
		// The log ends before the record by now.
		if r.last > last {
			return cutAway(r.last)
		}
		switch {
		// The record's segment is in the log still: its bytes decide.
		case b.state.holds(&b.in):
			got, err := o.linkAt(&b.in, b.linkOff)
			if err != nil {
				return err
			}
			if got != b.anchor.Link {
				return cutAway(r.last)
			}
		case r.next < first:
			return truncated(r.next, first)
		case b.seen.Epoch != r.epoch:
			// Its segment was removed, and there was a cut at the back: which came
			// first cannot be told any more, and the cut may have removed the record.
			return cutAway(r.last)
		}
	}
	b.checked, r.epoch = true, b.seen.Epoch
	r.cur.leave()
	return nil
}

// linkAt loads a link of a segment. The page is populated first, and the load goes
// through the guarded mapping: the file may have been truncated. The segment is acquired
// for the time of the load only, and o.mu released before it: the populating may wait for
// the disk.
func (o *LogReader) linkAt(h *segmentHead, off int64) (frame.Link, error) {
	o.mu.Lock()
	if o.closed.Load() {
		o.mu.Unlock()
		return 0, ErrClosed
	}
	s, err := o.acquire(h)
	o.mu.Unlock()
	if err != nil {
		return 0, err
	}
	var got uint32
	if err = s.mem.PopulateRead(off, 4); err == nil {
		got, err = s.mem.LoadUint32(off)
	}
	release(s)
	return frame.Link(got), err
}

// position brings the cursor to a place before the record that is next, the nearest one
// that is known: where the cursor stands, behind the last record, a place that an
// earlier read noted, or the segment's start. Where the record lies in another segment
// than the last one, carry first proves that the two belong together.
//
// The anchor is the best place where it can be used, in the segment of the last record: its
// link was compared when the state was adopted. The noted places come from other Readers as
// well as from this one, and are kept by epoch, so that none lies behind a cut.
func (o *LogReader) position(r *Reader) error {
	b := &r.outside
	h := b.state.find(r.next)
	if h == nil {
		return segment.ErrNoFrame // its segment is missing
	}
	if b.seg == nil || !b.seg.is(h) {
		if err := o.carry(r, h); err != nil {
			return err
		}
		if err := o.enter(r, h); err != nil {
			return err
		}
	}
	v := b.seg.view()
	if r.cur.holds(v, r.next) {
		return nil
	}
	at := v.start
	if p, ok := b.seg.before(r.epoch, r.next); ok {
		at = p
	}
	if r.last == r.next-1 && r.last != 0 && b.in.is(h) {
		at = b.anchor
	}
	r.cur.enter(v, at)
	return nil
}

// carry proves that the segment h continues the log from the record that was returned
// last: it follows the chain from there to the end of the segment, and through segments
// without a record. It returns segment.ErrNoFrame where the next segment does not go on
// from there. Where the segment of the last record was removed, there is nothing to
// follow.
//
// The list of segments in a state is made from heads, and heads say that two segments follow
// each other by LSN. That the bytes between the last record and the next segment are those of
// the same log, only the chain shows. A Reader that begins has returned no record that the
// next one would have to follow.
func (o *LogReader) carry(r *Reader, h *segmentHead) error {
	b := &r.outside
	if r.last == 0 || r.last != r.next-1 || b.in.is(h) || !b.state.holds(&b.in) {
		return nil
	}
	for in, at := &b.in, b.anchor; ; {
		if b.seg == nil || !b.seg.is(in) {
			if err := o.enter(r, in); err != nil {
				return err
			}
		}
		if v := b.seg.view(); !r.cur.holds(v, r.next) {
			r.cur.enter(v, at)
		}
		err := r.cur.Seek(r.next)
		if err == nil { // the record lies in this segment too, and not only in h
			return segment.ErrNoFrame
		}
		if !errors.Is(err, segment.ErrNoFrame) {
			return err
		}
		if in = b.state.behind(in); in == nil || !in.follows(r.cur.Place) {
			return segment.ErrNoFrame
		}
		if in.is(h) {
			return nil
		}
		at = in.Start()
	}
}

// enter makes a segment the one that the reader is in, and lets it note places for
// later readers while its cursor passes them.
func (o *LogReader) enter(r *Reader, h *segmentHead) error {
	b := &r.outside
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() {
		return ErrClosed
	}
	s, err := o.acquire(h)
	if err != nil {
		return err
	}
	release(b.seg)
	b.seg = s
	r.cur.leave()
	r.cur.Passed = func(p frame.Place) { s.note(r.epoch, p) }
	return nil
}
