package wal

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// outsidePlace is what a Reader of a LogReader has in addition to its cursor.
//
// It survives the states that it was read under. state and tail say what the log is now;
// anchor, linkOff and in say which record was returned last, and where it lay. When a cut or
// a rotation makes another state the present one, adopt takes the new one and clears checked,
// and checkPlace then finds out from the old place whether the Reader may go on.
//
// tail and seg stay acquired until the Reader goes on to others, or is closed (leave): a
// LogReader has no list of its Readers, and cannot release them for it.
type outsidePlace struct {
	state   *logState      // the state that the reader goes by
	tail    *mappedSegment // state's tail, acquired, or nil
	checked bool           // checkPlace has found the place to be one of state's log
	seen    frame.Control  // tail's control block, when it was last loaded
	seg     *mappedSegment // the segment that the cursor is in, acquired, or nil
	told    bool           // the block said the same before and after the failed attempt to read

	// Behind the record that was returned last, as it was found.
	anchor  frame.Place
	linkOff int64 // where anchor.link lies
	in      segmentHead

	fence atomic.Uint32 // stored between what is read and the check whether it holds
}

// fetch implements source.
//
// A record that is not where it should be is not damage yet. There may be a writer
// that is still opening the log: the control block is then its predecessor's, and may
// name records that a crash took. So damage is reported only where the writer is seen
// to update the block between two failed attempts (bad.writerActive), or where a
// recovery from the files alone, without the block, comes to the same result. How long
// that takes decides nothing: a recovery counts only if nothing changed during it.
//
// The errors of an attempt mean four things:
//
//   - errStale: the state does not hold any more. It is read again, at once.
//   - errInconsistent: the directory is in between two states of the log. That ends when the
//     writer goes on, so it is tried again after a pause (patience).
//   - Those of segment.IsBad: where the block says that a record is, there is none. That may
//     be damage, or what a crash left.
//   - All others end the reading. Only ErrTruncated does not where the log's first record is
//     asked for, whichever that is.
func (o *LogReader) fetch(ctx context.Context, r *Reader) (bool, error) {
	wait := patience{o: o}
	first := r.next == 0 // whichever is the first record at each attempt
	var seen bad
	// Each round is one attempt. What ends the loop: a record; the log's end, with the
	// lock asked now and then; damage that two attempts or a recovery confirm; or an
	// error that another attempt would not change.
	for {
		seen.check(&r.outside)
		r.outside.told = false
		if first {
			r.next = 0
		}
		ok, err := o.tryFetch(r)
		switch {
		case ok:
			return true, nil
		case first && errors.Is(err, ErrTruncated):
			err = ctx.Err() // a cut of the front came during the attempt
		case err == nil:
			moved, aerr := o.askAgain(r.outside.state)
			if !moved || aerr != nil && !errors.Is(aerr, errInconsistent) {
				return false, aerr
			}
			err = aerr
		case errors.Is(err, errStale):
			if err = o.refresh(r.outside.state); err == nil {
				if p := o.now.Load(); p == nil || p.control.Epoch != r.outside.state.control.Epoch {
					wait = patience{o: o} // a cut explains all that went before
				}
				err = ctx.Err() // a log that another process damages may go on so for ever
			}
		}
		switch {
		case err == nil:
		case segment.IsBad(err) || errors.Is(err, errInconsistent):
			if s := r.outside.seg; s != nil {
				s.forget()
			}
			damage := o.found(r, err)
			r.cur.leave()
			if seen.again(&r.outside) {
				err = errRetriesExhausted
			} else {
				err = wait.more(ctx)
			}
			if errors.Is(err, errRetriesExhausted) {
				if err = o.damaged(r, damage); err == nil {
					wait = patience{o: o} // the log has gone on since it was recovered
				}
			}
			if err != nil {
				return false, err
			}
		default:
			return false, err
		}
	}
}

// bad is a failed attempt to read a record that, by the control block, has to be there.
type bad struct {
	is           bool          // there was such an attempt
	seen         frame.Control // the block after the attempt
	writerActive bool          // the writer has updated the block since
}

// check checks whether the writer has updated its block since the failed attempt. A
// writer that is opening the log stores nothing there before it is done, and then the
// front first; so a change of the front alone does not count.
//
// It is called before each further attempt. That a record is missing after the update is not
// explained by an Open that is still at work.
func (a *bad) check(b *outsidePlace) {
	if !a.is || b.tail == nil {
		return
	}
	n, err := segment.LoadControl(b.tail.mem)
	if err == nil && n.Epoch == a.seen.Epoch &&
		(n.Next != a.seen.Next || n.Appended > a.seen.Appended || n.Durable > a.seen.Durable) {
		a.writerActive = true
	}
}

// again notes a failed attempt, and reports whether that proves the record lost. It
// does where an earlier attempt failed in the same epoch, the writer has updated the
// block since, and the block still says that the record is there. In a state that was
// recovered the block is not what says that the record is there, so an attempt proves
// nothing there: fetch goes on until its patience has recovered the log.
func (a *bad) again(b *outsidePlace) bool {
	if !b.told || b.state.recovered || !b.state.live {
		return false
	}
	if a.is && a.writerActive && a.seen.Epoch == b.seen.Epoch {
		return true
	}
	*a = bad{is: true, seen: b.seen}
	return false
}

// found returns the error to report if the failed attempt turns out to be damage. The
// error is made at once, while the cursor still stands at the place.
func (o *LogReader) found(r *Reader, err error) error {
	b := &r.outside
	if errors.Is(err, errInconsistent) && b.told {
		if h := b.state.find(r.next); h != nil {
			return newCorruptError(o.path, []Damage{{
				File: h.name, FirstLSN: r.next, LastLSN: r.next,
				Reason: "missing: the segment's file is gone, or another one is in its place",
			}})
		}
	}
	return r.cur.damage(o.path, r.next, err)
}

// damaged returns the error for a record whose loss no writer explains. It is the
// damage that recovery found, where that covers the record; otherwise the one that the
// attempt to read found, since a recovery need not reach so far back. It returns nil
// where recovery found none and the block had changed during the attempt: then what was
// read and what the block says may be of different moments.
func (o *LogReader) damaged(r *Reader, found error) error {
	p := r.outside.state
	if p == nil || len(p.damage) == 0 {
		if !r.outside.told {
			return nil
		}
		return found
	}
	for i, d := range p.damage {
		if d.FirstLSN <= r.next && r.next <= d.LastLSN {
			return newCorruptError(o.path, p.damage[i:])
		}
	}
	if c := (*CorruptError)(nil); errors.As(found, &c) && c.File != "" {
		return found
	}
	return newCorruptError(o.path, p.damage)
}

// tryFetch reads the record that is next by the state at hand. It returns
// errStale or errInconsistent where the state has to be read again, and an error
// for which segment.IsBad holds where there is no valid frame.
//
// Its order is that of logreader_protocol_doc.go: the block is loaded, the record copied and
// checked, and the block loaded again. What the copy found, a good record as well as a bad
// one, counts only if the state still holds: stillHolds comes before the error is looked at.
func (o *LogReader) tryFetch(r *Reader) (bool, error) {
	b := &r.outside
	if err := o.adopt(r); err != nil {
		return false, err
	}
	if b.tail == nil {
		return false, o.atEnd(r, b.state.last)
	}
	// As long as the block that was loaded last names the next record, it is not loaded
	// here: stillHolds loads it after the record was read, in any case.
	if _, last := b.state.bounds(b.seen, r.durable); !b.checked || r.next == 0 || r.next > last {
		n, err := segment.LoadControl(b.tail.mem)
		if err != nil {
			return false, err
		}
		if holds, herr := o.holds(b.state, n); herr != nil || !holds {
			return false, errors.Join(herr, errStale)
		}
		b.seen = n
		if err = o.checkPlace(r); err != nil {
			return false, err
		}
		ok, err := r.within(b.state.bounds(n, r.durable))
		if err != nil {
			return false, err
		}
		if !ok {
			return false, o.atEnd(r, b.state.last)
		}
	}
	err := o.position(r)
	if err == nil {
		err = r.cur.Seek(r.next)
	}
	if err == nil {
		r.buf, err = r.cur.Copy(r.buf)
	}
	// The fence orders all loads of the record before the loads of the check: see
	// logreader_protocol_doc.go.
	b.fence.Store(1)
	if herr := o.stillHolds(r); herr != nil {
		return false, herr
	}
	if err != nil {
		b.told = true
		return false, err
	}
	r.rec = r.buf
	b.anchor, b.linkOff, b.in = r.cur.Place, r.cur.LinkOff, b.seg.segmentHead
	return true, nil
}

// adopt makes the reader go by the present state, and acquires its tail. The usual case
// is that it has the present state already, and takes no lock.
func (o *LogReader) adopt(r *Reader) error {
	b := &r.outside
	if p := o.now.Load(); p == b.state && p != nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.now.Load() // its tail is acquired as long as mu is held
	if p == nil {
		return ErrClosed
	}
	if p.tail != nil {
		p.tail.pinAgain()
	}
	release(b.tail)
	b.state, b.tail, b.checked, b.seen = p, p.tail, false, p.control
	if b.seg != nil && b.seg.wasReleased() { // it was discarded: the mapping may be of a file that is not the log's any more
		release(b.seg)
		b.seg = nil
		r.cur.leave()
	}
	return nil
}

// atEnd returns nil at the log's end, and an error where acknowledged records
// are lost behind it. A reader from the first record on, whichever that is, is at
// the end of a log that has no segment.
func (o *LogReader) atEnd(r *Reader, last LSN) error {
	if p := r.outside.state; p.recovered && p.lost && (r.next > last || r.next == 0) {
		return newCorruptError(o.path, p.damage)
	}
	return nil
}

// stillHolds returns errStale where the control block tells of a cut or a rotation
// while the record was read, and ErrTruncated where the front has passed the record. What
// it has loaded serves the next record too: as long as that is one which the block named,
// the block is loaded once a record.
func (o *LogReader) stillHolds(r *Reader) error {
	b := &r.outside
	n, err := segment.LoadControl(b.tail.mem)
	if err != nil {
		return err
	}
	if holds, err := o.holds(b.state, n); err != nil || !holds {
		return errors.Join(err, errStale)
	}
	b.seen = n
	if first, _ := b.state.bounds(n, r.durable); r.next < first {
		return truncated(r.next, first)
	}
	return nil
}

// drop implements source. Records are copies.
func (o *LogReader) drop(*Reader) {}

// leave implements source. The mappings may be of segments that are not the log's any
// more, and are unmapped then.
func (o *LogReader) leave(r *Reader) {
	release(r.outside.tail)
	release(r.outside.seg)
	r.outside.state, r.outside.tail, r.outside.seg = nil, nil, nil
}
