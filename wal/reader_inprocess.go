package wal

import (
	"context"
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// This file reads records in the writer's process: Get, and the source of the Readers
// that Log.Reader makes. The way to a record:
//
//  1. mayRead: the record is one that may be read, and the reader's place is still one of
//     the log.
//  2. position: the cursor stands before the record, in a mapping that is pinned. Usually it
//     stands there already, behind the last record, and no lock is taken; otherwise it goes
//     to a place that an index knows, or to the segment's start.
//  3. read: frames are followed up to the record, into the next segment if need be, and the
//     record is copied, or lent.
//  4. unchanged: no cut came in between. Otherwise all of it is done again.
//
// The segments and their mappings are reader_segments.go's, what a ZeroCopy Reader holds
// is reader_pin.go's. logreader_fetch.go does the same in another process.
var _ source = (*Log)(nil)

// readable returns the last LSN that readers may read. On a poisoned log it is the
// durable one for all: of what lies behind that, the kernel may drop the pages that it
// could not write, and a later load would return older bytes.
func (l *Log) readable(durable bool) LSN {
	if durable || l.poison.Load() != nil {
		return l.DurableLSN()
	}
	return l.LastLSN()
}

// Get returns a copy of the record with that LSN. It returns ErrTruncated for
// an LSN below the log's first, ErrNotFound for one that was not appended yet
// or, on a poisoned log, is not durable, and what Reader.Err returns.
func (l *Log) Get(lsn LSN) ([]byte, error) {
	if lsn == 0 {
		return nil, truncated(lsn, l.FirstLSN())
	}
	// The window is smaller than a Reader's: only one record is wanted, and where the index
	// has all of its places, one of them lies little more than a step before it.
	r := Reader{src: l, next: lsn, cur: cursor{Cursor: segment.Cursor{Window: 2 * segment.IndexStep}}}
	ok, err := l.fetch(context.Background(), &r)
	if err == nil && !ok {
		err = notThere(lsn, l.readable(false))
	}
	return r.rec, err
}

// fetch implements source. It serves Get, too; Reader.advance moves on to the next
// record.
//
// No lock is held while a segment's bytes are read, since they may have to come from
// the disk first. What was read is good if afterwards the epoch is the same and the
// front has not passed the record: a cut changes one of them before it changes a byte
// of a record that was readable. logreader_protocol_doc.go gives the same argument for
// readers in other processes; here segments.epoch takes the part of the control
// block's epoch, and the release of the pin that of the fence.
func (l *Log) fetch(_ context.Context, r *Reader) (bool, error) {
	for first := r.next == 0; ; {
		if ok, err := l.mayRead(r); !ok {
			return false, err
		}
		err := l.position(r)
		if err == nil {
			err = l.read(r)
			r.cur.view.ref.unpin()
		}
		if l.unchanged(r) {
			return l.fetched(r, err)
		}
		l.drop(r)
		if first { // a cut may have changed which record is the first
			r.next = 0
		}
	}
}

// unchanged reports whether no cut since mayRead may have changed the bytes of the
// record that is next. It comes behind all loads of the record, or it would prove
// nothing.
func (l *Log) unchanged(r *Reader) bool {
	return uint64(l.store.epoch.Load()) == r.epoch && r.next >= l.FirstLSN()
}

// fetched returns the results of fetch for a read that no cut disturbed and that
// returned err: bad bytes are damage then.
func (l *Log) fetched(r *Reader, err error) (bool, error) {
	if err == nil {
		return true, nil
	}
	l.drop(r)
	r.rec = nil
	if segment.IsBad(err) {
		err = r.cur.damage(l.dirPath, r.next, err)
	}
	return false, err
}

// mayRead checks whether the record that is next may be read, and whether the
// place that the reader has is still one of the log. The durable LSN, which is the bound
// on a poisoned log and for a durable Reader, is lowered together with the last LSN
// (lower), so that a cut shows in either.
func (l *Log) mayRead(r *Reader) (bool, error) {
	t := &l.store
	if t.closed.Load() {
		return false, ErrClosed // the mapping at hand may be gone
	}
	if uint64(t.epoch.Load()) != r.epoch {
		if err := t.catchUp(r); err != nil && !l.wrong.Has(seam.CutUnseen) {
			return false, err
		}
	}
	return r.within(l.FirstLSN(), l.readable(r.durable))
}

// catchUp takes a reader to the present epoch, unless a cut has removed the record
// that it returned last. A Reader that has returned nothing yet has 0 as its last record,
// which no cut removes.
func (t *segments) catchUp(r *Reader) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if low, cut := t.cuts.lowest(uint32(r.epoch)); cut && low < r.last {
		return cutAway(r.last)
	}
	r.epoch = uint64(t.epoch.Load())
	r.cur.leave() // the place may be gone: the next read searches for it again
	return nil
}

// read reads the record that is next, from the segment that the cursor is in or one
// behind it. A record is lent in two steps, hold and then a check that it is still
// readable: see pins.hold.
//
// That a segment has no further frame is usual: the record then begins the next one. Where
// there is no next one either, the frame is missing, since mayRead has seen that the record
// was appended: a cut has come since, or it is damage. fetch tells the two apart.
func (l *Log) read(r *Reader) error {
	err := r.cur.Seek(r.next)
	for errors.Is(err, segment.ErrNoFrame) {
		further, gerr := l.goOn(r)
		if gerr != nil {
			return gerr
		}
		if !further {
			break
		}
		err = r.cur.Seek(r.next)
	}
	if err != nil {
		return err
	}
	if r.lent {
		r.pin(r.cur.view)
		if l.store.pins.hold(r, r.next) {
			if l.unchanged(r) { // otherwise a cut has begun that did not see the hold
				r.rec, err = r.cur.Lend()
			}
			return err
		}
	}
	r.buf, err = r.cur.Copy(r.buf)
	r.rec = r.buf
	return err
}

// position brings the cursor to a place before the record that is next, in a
// mapping that is pinned then.
//
// Where the mapping that the cursor stood in was released since, pin fails, and the way is
// that of a new Reader, except that lookUp still knows the place.
func (l *Log) position(r *Reader) error {
	c := &r.cur
	if c.view.ref != nil && c.LSN == r.next-1 && c.view.ref.pin() {
		return nil // the chain is carried on from the place, into the next segment too
	}
	indexed, err := l.enterSegment(r)
	if err != nil || indexed {
		return err
	}
	if c.Place, err = l.nearest(c.view, r.next, r.epoch); err != nil {
		c.view.ref.unpin()
	}
	return err
}

// enterSegment brings the cursor into the segment of the record that is next, in a
// mapping that is pinned then, and reports whether it knew a place there: otherwise
// the cursor is at the start. Mapping a segment may take long and is done without the
// lock. By the time it is mapped the list may be another, or the mapping evicted again,
// so each attempt searches from the start.
func (l *Log) enterSegment(r *Reader) (indexed bool, err error) {
	for {
		missing, indexed, err := l.lookUp(r)
		if missing == nil || err != nil {
			return indexed, err
		}
		if err = l.store.mapIn(missing); err != nil {
			return false, err
		}
	}
}

// lookUp is the part of enterSegment that runs with the lock held, and so must not
// wait for the disk. Where a segment has to be mapped first, it returns that.
func (l *Log) lookUp(r *Reader) (missing *stored, indexed bool, err error) {
	c, t := &r.cur, &l.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed.Load() {
		return nil, false, ErrClosed
	}
	if st := c.view.st; st != nil && c.LSN == r.next-1 && slices.Contains(t.list, st) {
		// The mapping that the place lay in was released since.
		if !st.readable() {
			return st, false, nil
		}
		c.enter(st.pinnedView(), c.Place)
		return nil, true, nil
	}
	st, missing, err := t.find(r.next)
	if missing != nil || err != nil {
		return missing, false, err
	}
	v := st.pinnedView()
	at, indexed := st.before(r.next)
	if !indexed {
		at = v.start
	}
	c.enter(v, at)
	return nil, indexed, nil
}

// goOn moves the cursor, and the pin, to the start of the next segment, if there is
// one and it goes on from the place. Its mapping is pinned before the old one is
// unpinned. Where it does not continue the chain, the log was cut at the same time,
// which the caller finds by the epoch, or the segment is damaged. So the reader is never
// without a pin. fetch unpins the view that the cursor is in at the end.
func (l *Log) goOn(r *Reader) (bool, error) {
	c, t := &r.cur, &l.store
	for {
		v, missing, err := t.following(c.view.st)
		if err != nil {
			return false, err
		}
		if missing != nil {
			if err = t.mapIn(missing); err != nil {
				return false, err
			}
			continue
		}
		if v.st == nil {
			return false, nil
		}
		if !v.follows(c.Place) {
			v.ref.unpin()
			return false, nil
		}
		c.view.ref.unpin()
		c.enter(v, v.start)
		return true, nil
	}
}

// nearest returns a place before a record of a pinned segment, from the segment's
// base index, which it makes if need be. It is reached only where the live index and the
// base index know no place before the record: mostly in a segment that Open did not walk,
// at its first use.
func (l *Log) nearest(v view, lsn LSN, epoch uint64) (frame.Place, error) {
	base, err := l.baseIndex(v, epoch)
	if err != nil {
		return frame.Place{}, err
	}
	if p, ok := base.Before(lsn); ok {
		return p, nil
	}
	return v.start, nil
}

// baseIndex returns the index of what was in the segment when the log was opened.
// It is made when it is first needed, from the frames' headers, and kept unless
// there was a cut since.
//
// It walks the whole segment, and so may wait for the disk. st.scan keeps others from the
// same walk; in the order of locks it comes before segments.mu. An index that was
// made across a cut may hold places behind that: it serves this call only, and fetch, which
// finds the other epoch, reads again.
func (l *Log) baseIndex(v view, epoch uint64) (*segment.Index, error) {
	st, t := v.st, &l.store
	st.scan.Lock()
	defer st.scan.Unlock()
	if base := st.base.Load(); base != nil {
		return base, nil
	}
	base := new(segment.Index)
	base.Init(v.size)
	base.Add(v.start)
	scan := segment.Cursor{Window: segment.PopulateBytes, Passed: base.Add}
	scan.Enter(v.mem, v.size, v.seed, v.start)
	// No frame has that LSN, unless one is appended during the walk: so all frames that were
	// there are passed.
	if err := scan.Seek(l.readable(false) + 1); !errors.Is(err, segment.ErrNoFrame) && err != nil {
		return nil, err
	}
	base = segment.Merged(maxIndexMarks, base)
	t.mu.Lock()
	if uint64(t.epoch.Load()) == epoch && st.base.Load() == nil { // settleIndex may have set it by now
		st.base.Store(base)
		t.boundIndexes()
	}
	t.mu.Unlock()
	return base, nil
}

// await implements source: it returns when something was appended or, for those
// who read what is durable, synced, and when the log was cut, closed or poisoned.
func (l *Log) await(ctx context.Context, r *Reader) error {
	b := &l.store.appends
	if r.durable {
		b = &l.store.syncs
	}
	event := b.join()
	defer b.leave()
	// An appender publishes its record before it checks for waiting readers, and this
	// reader counts as waiting before it checks for a record: so either the appender
	// sees the reader, or the reader sees the record.
	if l.news(r) {
		return nil
	}
	if p := l.poison.Load(); p != nil {
		return p
	}
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// news reports whether a reader that found no record has to try again. A close, a cut at
// the back and a raised LSN notify after they have made their condition true.
// TruncateFront need not: all before the new front is appended and durable by then, and
// those who waited for it were notified of that.
func (l *Log) news(r *Reader) bool {
	t := &l.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed.Load() || uint64(t.epoch.Load()) != r.epoch || r.next < l.FirstLSN() || r.next <= l.readable(r.durable)
}

// drop implements source. Only the hold on the record ends; the pin on its mapping stays
// for the records behind it, until the Reader enters another segment, finds no record, or
// is closed (Reader.unpin).
func (l *Log) drop(r *Reader) {
	if r.lent {
		l.store.pins.release(r)
	}
}

// leave implements source.
func (l *Log) leave(r *Reader) {
	if r.lent {
		l.store.pins.leave(r)
	}
}
