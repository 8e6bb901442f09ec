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
	must := m.w.mark() // of the worlds the one in which nothing has happened yet, or one of those
	r := m.w.log.Reader(0)
	if lends {
		r = r.ZeroCopy()
	}
	last := wal.LSN(0)
	for {
		before()
		worlds, later := m.w.mark().worlds(), m.unfolded()
		if !r.Next() {
			return m.readEnd(must, last, worlds, errors.Join(r.Err(), r.Close()))
		}
		if last != 0 && r.LSN() != last+1 {
			return errors.Join(illegal("a reader was given record %d behind record %d", r.LSN(), last), r.Close())
		}
		last = r.LSN()
		s := seen{last, Sum(r.Record())}
		worlds = append(worlds, m.since(later)...)
		if !slices.ContainsFunc(worlds, func(m *Mark) bool { return m.holds(s) }) {
			return errors.Join(&campaign.Broken{
				Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf("a reader was given what is not record %d", last),
			}, r.Close())
		}
	}
}

// readEnd checks how a reading ended that was given records up to last, of a log that was one
// of these worlds.
func (m *meeting) readEnd(must *Mark, last wal.LSN, worlds []*Mark, err error) error {
	cutAway := last != 0 && !slices.ContainsFunc(worlds, func(m *Mark) bool { return last <= m.begun && last+1 >= m.front })
	switch {
	case err == nil && cutAway:
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf("a reader that was given record %d was not told of a cut", last)}
	case m.cuts && (err == nil || errors.Is(err, wal.ErrTruncated)):
		return nil
	case err == nil && max(last, must.front-1) < must.appended:
		return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: fmt.Sprintf("a reader ended behind record %d, and %d was appended", last, must.appended)}
	}
	return err
}

// unfolded returns how many worlds there have been.
func (m *meeting) unfolded() int {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return len(m.worlds)
}

// since returns the worlds that there have been besides so many.
func (m *meeting) since(n int) []*Mark {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return slices.Clone(m.worlds[n:])
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
