package wal

import (
	"context"
	"errors"
	"slices"
)

var _ source = (*Log)(nil)

// readable returns the last LSN that readers may read.
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
	r := Reader{src: l, next: lsn, cur: cursor{window: 2 * indexStep}}
	ok, err := l.fetch(context.Background(), &r)
	if err == nil && !ok {
		err = notThere(lsn, l.readable(false))
	}
	return r.rec, err
}

// fetch implements source.
func (l *Log) fetch(_ context.Context, r *Reader) (bool, error) {
	for {
		ok, missing, err := l.tryFetch(r)
		if missing == nil {
			return ok, err
		}
		// No lock was held meanwhile: all is looked at anew.
		if err := l.store.mapIn(missing); err != nil {
			return false, err
		}
	}
}

// tryFetch is fetch as long as no segment has to be mapped first: then it
// returns that. The lock that it holds is the one that every cut takes for
// writing: what may be read, and where, does not change meanwhile.
func (l *Log) tryFetch(r *Reader) (ok bool, missing *stored, err error) {
	t := &l.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	if ok, err = l.mayRead(r); !ok {
		return false, nil, err
	}
	if missing, err = l.position(r); missing != nil || err != nil {
		return false, missing, err
	}
	for {
		err = r.cur.seek(r.next)
		if !errors.Is(err, errNoFrame) {
			break
		}
		var v view
		if v, missing = t.following(r.cur.view.st); missing != nil {
			return false, missing, nil
		}
		if v.st == nil || !v.follows(r.cur.at) {
			break
		}
		r.cur.enter(v, v.start)
	}
	if err == nil && r.lent {
		r.rec, err = r.cur.lend()
	} else if err == nil {
		r.buf, err = r.cur.copyOut(r.buf)
		r.rec = r.buf
	}
	if err != nil {
		r.rec = nil
		if isBad(err) {
			err = r.cur.damage(l.dirPath, r.next, err)
		}
		return false, nil, err
	}
	if r.lent {
		r.pin(r.cur.view)
		t.pins.hold(r, r.next)
	}
	return true, nil, nil
}

// mayRead looks whether the record that is next may be read, and whether the
// place that the reader has is still one of the log.
func (l *Log) mayRead(r *Reader) (bool, error) {
	t := &l.store
	if t.closed {
		return false, ErrClosed // the mapping at hand may be gone
	}
	if r.next == 0 {
		r.next = l.FirstLSN()
	}
	if epoch := uint64(t.epoch); epoch != r.epoch {
		if low, cut := t.cuts.lowest(uint32(r.epoch)); cut && low < r.last {
			return false, cutAway(r.last)
		}
		r.epoch = epoch
		r.cur.view = view{} // the place is looked for anew
	}
	if first := l.FirstLSN(); r.next < first {
		return false, truncated(r.next, first)
	}
	return r.next <= l.readable(r.durable), nil
}

// position brings the cursor to the segment of the record that is next, and the
// place to a frame that is not behind it. It returns a segment that has to be
// mapped first, or nil.
func (l *Log) position(r *Reader) (missing *stored, err error) {
	c := &r.cur
	if st := c.view.st; st != nil && c.at.lsn == r.next-1 {
		// The chain is carried on from the place, into the next segment too. The
		// view may be of a mapping that was given up meanwhile.
		switch {
		case st.mapped():
			if v := st.view(); v.mem != c.view.mem {
				c.enter(v, c.at)
			}
			return nil, nil
		case slices.Contains(l.store.list, st):
			return st, nil
		}
	}
	v, missing, err := l.store.find(r.next)
	if missing != nil || err != nil {
		return missing, err
	}
	at, err := l.nearest(v, r.next)
	c.enter(v, at)
	return nil, err
}

// nearest returns a place before a record: one of those noted while records
// were appended or, for older ones, when the segment was first looked at.
func (l *Log) nearest(v view, lsn LSN) (place, error) {
	if v.st.live != nil {
		if p, ok := v.st.live.before(lsn); ok {
			return p, nil
		}
	}
	base, err := l.baseIndex(v)
	if err != nil {
		return place{}, err
	}
	if p, ok := base.before(lsn); ok {
		return p, nil
	}
	return v.start, nil
}

// baseIndex returns the index of what was in the segment when the log was
// opened. It is made when it is first needed, from the frames' headers.
func (l *Log) baseIndex(v view) (*index, error) {
	st := v.st
	st.scan.Lock()
	defer st.scan.Unlock()
	if st.base != nil {
		return st.base, nil
	}
	base := new(index)
	base.init(v.size)
	base.add(v.start)
	scan := cursor{window: populateBytes, notes: base.add}
	scan.enter(v, v.start)
	if err := scan.seek(l.readable(false) + 1); !errors.Is(err, errNoFrame) && err != nil {
		return nil, err
	}
	st.base = base
	return base, nil
}

// await implements source: it returns when something was appended or, for those
// who read what is durable, synced, and when the log was cut, closed or poisoned.
func (l *Log) await(ctx context.Context, r *Reader) error {
	b := &l.store.appends
	if r.durable {
		b = &l.store.syncs
	}
	rung := b.join()
	defer b.leave()
	// Whoever appends looks for those who wait after it has published: either it
	// sees this one, or this one sees the record.
	if l.news(r) {
		return nil
	}
	if p := l.poison.Load(); p != nil {
		return p
	}
	select {
	case <-rung:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// news reports whether a reader has to look again.
func (l *Log) news(r *Reader) bool {
	t := &l.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed || uint64(t.epoch) != r.epoch || r.next < l.FirstLSN() || r.next <= l.readable(r.durable)
}

// drop implements source.
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
