//go:build linux

package seawall

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// cut does one of the log's cuts: until it returns the log may be what it was or
// what it is to be, and from then on only that.
func (w *work) cut(what string, do func() error, becomes func(*Mark)) error {
	w.set(func(m *Mark) {
		next := *m
		becomes(&next)
		m.alt = &next
	})
	if err := do(); err != nil {
		return broken(what, err)
	}
	w.set(func(m *Mark) {
		*m = *m.alt
		m.altGrows = false
	})
	return nil
}

// truncateFront cuts some of the first records away, now and then all.
func (w *work) truncateFront() error {
	first, last := w.mark().front, w.mark().appended
	lsn := first + wal.LSN(w.rng.Uint64N(uint64(last-first+2)))
	if lsn <= first {
		return nil
	}
	err := w.cut(fmt.Sprintf("truncate the front to %d", lsn), func() error { return w.log.TruncateFront(lsn) },
		func(m *Mark) {
			m.front = lsn
			m.durable = max(m.durable, lsn-1)
		})
	if err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, m.appended) })
	}
	return err
}

// truncateBack cuts a few of the last records away, now and then all.
func (w *work) truncateBack() error {
	first, last := w.mark().front, w.mark().appended
	n := uint64(last - first + 1)
	if w.rng.IntN(4) > 0 {
		n = min(n, 6)
	}
	lsn := last - wal.LSN(w.rng.Uint64N(n+1))
	r, err := w.readerAt(last)
	if err != nil {
		return err
	}
	err = w.cut(fmt.Sprintf("truncate the back to %d", lsn), func() error { return w.log.TruncateBack(lsn) },
		func(m *Mark) { m.end(lsn) })
	w.turn(false)
	if r != nil {
		defer func() { _ = r.Close() }() // its error was looked at
	}
	if err == nil && r != nil && lsn < last {
		err = cutSeen(r, last)
	}
	return err
}

// readerAt returns a reader that has read that record, or nil where there is none,
// and in campaigns of package kill.
func (w *work) readerAt(lsn wal.LSN) (*wal.Reader, error) {
	if w.stage != nil || lsn < w.mark().front {
		return nil, nil
	}
	r := w.log.Reader(lsn)
	if !r.Next() {
		return nil, broken(fmt.Sprintf("reading record %d", lsn), errors.Join(r.Err(), r.Close()))
	}
	return r, nil
}

// cutSeen returns an error unless a reader notices that the record that it has read
// was cut away.
func cutSeen(r *wal.Reader, lsn wal.LSN) error {
	if !r.Next() && errors.Is(r.Err(), wal.ErrTruncated) {
		return nil
	}
	return &campaign.Broken{Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf(
		"a reader that has read record %d, which was cut away, goes on as if it was not: %v", lsn, r.Err())}
}

// reset empties the log. In campaigns of package kill it may go on with LSNs that it
// has had.
func (w *work) reset() error {
	last := w.mark().appended
	next := last + 1
	if w.stage != nil {
		next = max(1, next+wal.LSN(w.rng.IntN(60))-min(last, 30))
	} else {
		next += wal.LSN(w.rng.IntN(3) * w.rng.IntN(1000))
	}
	err := w.cut(fmt.Sprintf("reset to %d", next), func() error { return w.log.Reset(next) },
		func(m *Mark) { *m = emptyMark(next) })
	w.turn(false)
	return err
}
