package wal

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// outsidePlace is what a Reader of a LogReader has in addition to its cursor.
type outsidePlace struct {
	state   *logState      // the one that tail is of
	tail    *mappedSegment // acquired
	checked bool           // the place is one of state's log
	seen    frame.Control  // of tail, when it was last loaded
	seg     *mappedSegment // acquired: the one that the cursor is in, or nil
	told    bool           // behind the attempt to read, the block said the same as before

	// Behind the record that was returned last, as it was found.
	anchor  frame.Place
	linkOff int64 // where anchor.link lies
	in      segmentHead

	fence atomic.Uint32 // stored between what is read and the check whether it holds
}

// fetch implements source.
//
// That a record is not where it should be is no damage yet. What else explains
// it is a writer that is opening the log, whose block is still the one of its
// predecessor, and no record needs to be found that only this one knew. So either
// the writer is seen to keep the block up between two attempts (witnessed), or
// the log is recovered without what the writer says. How long that takes decides
// nothing: a recovery counts only if nothing changed during it.
func (o *LogReader) fetch(ctx context.Context, r *Reader) (bool, error) {
	wait := patience{o: o}
	var seen bad
	for {
		seen.check(&r.outside)
		r.outside.told = false
		ok, err := o.tryFetch(r)
		switch {
		case ok:
			return true, nil
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

// bad is an attempt to read a record that has to be there, as a writer that was seen
// at work says, and is not.
type bad struct {
	is        bool
	seen      frame.Control // behind the attempt
	witnessed bool          // a writer has kept its block up since
}

// check checks whether the writer has kept its block up since: one that is opening
// the log stores nothing there before it is done, and then the front first, which
// therefore does not count.
func (a *bad) check(b *outsidePlace) {
	if !a.is || b.tail == nil {
		return
	}
	n, err := segment.LoadControl(b.tail.mem)
	if err == nil && n.Epoch == a.seen.Epoch &&
		(n.Next != a.seen.Next || n.Appended > a.seen.Appended || n.Durable > a.seen.Durable) {
		a.witnessed = true
	}
}

// again notes a failed attempt, and reports whether it is proved that what was
// looked for is lost: the block that was kept up before the attempt says the same
// behind it, in the epoch of an earlier one.
func (a *bad) again(b *outsidePlace) bool {
	if !b.told || b.state.recovered || !b.state.live {
		return false
	}
	if a.is && a.witnessed && a.seen.Epoch == b.seen.Epoch {
		return true
	}
	*a = bad{is: true, seen: b.seen}
	return false
}

// found returns the error for what was found in place of a record.
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

// damaged returns the error for a record that nothing explains the loss of: what
// recovery found lost of the log, or what was found in its place. The
// recovery need not reach so far back; and where a segment is missing, nothing
// was found. It returns nil where neither counts: what was found may be of another
// moment than the block.
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
// that segment.IsBad knows where no frame is.
func (o *LogReader) tryFetch(r *Reader) (bool, error) {
	b := &r.outside
	if err := o.adopt(r); err != nil {
		return false, err
	}
	if b.tail == nil {
		return false, o.atEnd(r, b.state.last)
	}
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
	// All that was read comes before this, and what is checked behind it.
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

// adopt takes the state that is the present one.
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
	if b.seg != nil && b.seg.wasReleased() { // it was discarded: of what was mapped nothing is known any more
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

// stillHolds checks whether anything was told of while the record was read.
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

// askAgain asks the lock at the log's end, now and then, and reports whether
// the state was read again.
func (o *LogReader) askAgain(p *logState) (bool, error) {
	if time.Now().UnixNano()-o.asked.Load() < int64(silence) {
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

// await implements source. Nobody wakes a reader in another process: it polls,
// the more seldom the longer nothing happens.
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

// drop implements source. Records are copies.
func (o *LogReader) drop(*Reader) {}

// leave implements source.
func (o *LogReader) leave(r *Reader) {
	release(r.outside.tail)
	release(r.outside.seg)
	r.outside.state, r.outside.tail, r.outside.seg = nil, nil, nil
}
