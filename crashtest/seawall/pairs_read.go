//go:build linux

package seawall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// readCall reads the log from its first record to its last, which are copied or lent.
func (w *work) readCall(lends bool, m *meeting) *call {
	c := &call{name: "read", effect: func(*Mark) (wal.LSN, error) { return 0, nil }}
	c.do = none(func() error { return m.read(lends, func() {}) })
	return c
}

// makeReading is make for a reading, during which the second call begins at a record.
func (m *meeting) makeReading(lends bool, nth int, begin func(alone bool)) error {
	if now := m.w.mark(); m.w.rng.IntN(4) > 0 { // or near the log's end, where records are cut away
		nth = max(1, int(now.appended+2-now.front)-m.w.rng.IntN(2))
	}
	m.begin(0)
	err := m.read(lends, func() {
		if nth--; nth == 0 {
			begin(!lends) // then nothing waits for the reader
		}
	})
	return m.end(0, 0, err)
}

// read reads the log, and checks what it is given. It calls before ahead of each record, with
// a reader that holds the record before it, if it lends.
func (m *meeting) read(lends bool, before func()) error {
	r := m.w.log.Reader(0)
	if lends {
		r = r.ZeroCopy()
	}
	last := wal.LSN(0)
	for {
		before()
		worlds := m.w.mark().worlds() // all that the log may be until Next returns: no call begins in it
		if !r.Next() {
			return readEnd(last, worlds, errors.Join(r.Err(), r.Close()))
		}
		if last != 0 && r.LSN() != last+1 {
			return errors.Join(illegal("a reader was given record %d behind record %d", r.LSN(), last), r.Close())
		}
		if last == 0 && !slices.ContainsFunc(worlds, func(m *Mark) bool { return r.LSN() == m.front }) {
			return errors.Join(illegal("a reader of the whole log began with record %d", r.LSN()), r.Close())
		}
		last = r.LSN()
		s := seen{last, Sum(r.Record())}
		if !slices.ContainsFunc(worlds, func(m *Mark) bool { return m.holds(s) }) {
			return errors.Join(&campaign.Broken{
				Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf("a reader was given what is not record %d", last),
			}, r.Close())
		}
	}
}

// readEnd checks how a reading ended that was given records up to last, or none for 0, of a log
// that was one of these worlds.
func readEnd(last wal.LSN, worlds []*Mark, err error) error {
	broken := func(kind campaign.Kind, clause campaign.Clause, format string, args ...any) error {
		return &campaign.Broken{Kind: kind, Clause: clause, What: fmt.Sprintf(format, args...)}
	}
	switch {
	case errors.Is(err, wal.ErrTruncated):
		if slices.ContainsFunc(worlds, func(m *Mark) bool { return m.cutBelow(last) }) {
			return nil
		}
		return broken(campaign.Illegal, "C9", "a reader that was given record %d was told of a cut, and there was none there: %v", last, err)
	case err != nil:
		return err
	}
	ended, most := false, wal.LSN(0) // in one of the worlds; where the others would have had it go on to
	for _, m := range worlds {
		switch {
		case !m.goesOnBehind(last):
		case max(last, m.front-1) >= m.appended:
			ended = true
		default:
			most = m.appended
		}
	}
	switch {
	case ended:
		return nil
	case most > 0:
		return broken(campaign.Lost, "C1", "a reader ended behind record %d, and %d was appended", last, most)
	}
	return broken(campaign.Illegal, "C9", "a reader that was given record %d was not told of a cut", last)
}

// goesOnBehind reports whether a reader that was given records up to last, or none for 0, has all
// that it needs in a log that is m.
func (m *Mark) goesOnBehind(last wal.LSN) bool {
	return last == 0 || last <= m.begun && last+1 >= m.front
}

// cutBelow reports whether a log that is m lacks the record that such a reader was given last:
// it cannot know then what comes next. One that was given none begins with whatever is the first.
func (m *Mark) cutBelow(last wal.LSN) bool {
	return last != 0 && (last > m.begun || last < m.front)
}

// seen is a record that a reader was given.
type seen struct {
	lsn wal.LSN
	sum uint64
}

// holds reports whether a log that is m has a record.
func (m *Mark) holds(s seen) bool {
	runs := between(m.runs, s.lsn, s.lsn)
	if len(runs) == 0 || s.lsn < m.front || s.lsn > m.begun {
		return false
	}
	if sum := runs[0].sum; sum != 0 {
		return sum == s.sum
	}
	return Sum(runs[0].record(uint64(s.lsn))) == s.sum
}
