//go:build linux

package seawall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// Held is what recovery found in one state.
type Held struct {
	// First and Last are the log's; From is where recovery began.
	First, Last, From wal.LSN

	records []heldRecord // from From to Last
	bytes   int64        // of these
	tail    []byte       // what lies behind the last frame, where that was looked at
	after   []run        // what was appended behind Last since, a record each
}

// heldRecord is a record that is there.
type heldRecord struct {
	sum    uint64
	number uint64 // that it names, if it is of several writers
}

// illegal tells of what may not be there.
func illegal(format string, args ...any) error {
	return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf(format, args...)}
}

// Add counts a record that was read.
func (h *Held) Add(lsn wal.LSN, p []byte) error {
	if h.From == 0 {
		h.From, h.Last = lsn, lsn-1
	}
	if lsn != h.Last+1 {
		return illegal("record %d where %d should be", lsn, h.Last+1)
	}
	h.Last = lsn
	r := heldRecord{sum: Sum(p)}
	if len(p) >= 8 {
		r.number = binary.LittleEndian.Uint64(p)
	}
	h.records = append(h.records, r)
	h.bytes += int64(len(p))
	return nil
}

// Count returns how many records were read.
func (h *Held) Count() int { return len(h.records) }

// Finish completes what was read with the range that recovery names.
func (h *Held) Finish(first, last wal.LSN) error {
	switch {
	case h.From == 0:
		h.First, h.Last, h.From = first, last, last+1
	case h.Last != last:
		return illegal("records up to %d were read, recovery says %d", h.Last, last)
	}
	h.First = first
	return nil
}

// FinishAll is Finish for what was read from the log's first record on.
func (h *Held) FinishAll(first, last wal.LSN) error {
	if err := h.Finish(first, last); err != nil {
		return err
	}
	if h.From != first {
		return illegal("records from %d on were read, recovery says %d", h.From, first)
	}
	return nil
}

// Same reports whether two hold the same records.
func (h *Held) Same(o *Held) bool {
	return h.First == o.First && h.Last == o.Last && slices.Equal(h.records, o.records)
}

// Present implements campaign.Found.
func (h *Held) Present(k campaign.Known, killed bool) error {
	return anyOf(markOf(k), killed, func(m *Mark) error { return h.present(m, killed) })
}

// Legal implements campaign.Found. While a cut is under way, the log is wholly
// what it was or what it is to be.
func (h *Held) Legal(k campaign.Known, killed bool) error {
	m := markOf(k)
	if m.alt == nil {
		return h.legal(m)
	}
	return anyOf(m, killed, func(m *Mark) error { return h.is(m, killed) })
}

// is returns an error unless the log is one that m may be.
func (h *Held) is(m *Mark, killed bool) error {
	return errors.Join(h.present(m, killed), h.legal(m))
}

// anyOf returns nil if one of all that the log may be passes a test.
func anyOf(m *Mark, killed bool, test func(*Mark) error) error {
	was := test(m)
	if was == nil {
		return nil
	}
	var is error // what the last of them lacks, in which all that is in progress has happened
	for _, alt := range m.worlds()[1:] {
		if killed && alt.unseen {
			continue
		}
		if is = test(alt); is == nil {
			return nil
		}
	}
	if is == nil {
		return was
	}
	return neither(m.during, was, is)
}

// neither tells of a log that is broken by what it was before the calls in progress, which are a
// cut unless they have names, and by what it is to be after them.
func neither(during string, was, is error) error {
	if during == "" {
		during = "a cut"
	}
	b := *campaign.AsBroken(was, campaign.Illegal)
	b.What = fmt.Sprintf("during %s: this is neither the old log (%s) nor the new one (%s)",
		during, b.What, campaign.AsBroken(is, campaign.Illegal).What)
	return &b
}

func (h *Held) present(m *Mark, killed bool) error {
	must, clause := m.durable, campaign.Clause("C2")
	if killed && m.appended >= must {
		must, clause = m.appended, "C1"
	}
	if h.Last < must && must >= m.front {
		return &campaign.Broken{Kind: campaign.Lost, Clause: clause, What: lostWords(max(h.Last+1, m.front), must)}
	}
	if h.First > m.front && m.front <= must {
		return &campaign.Broken{Kind: campaign.Lost, Clause: clause, What: lostWords(m.front, min(h.First-1, must))}
	}
	return nil
}

// lostWords names lost records.
func lostWords(first, last wal.LSN) string {
	if first == last {
		return fmt.Sprintf("record %d was acknowledged and is gone", first)
	}
	return fmt.Sprintf("records %d to %d were acknowledged and are gone", first, last)
}

func (h *Held) legal(m *Mark) error {
	switch {
	case h.First < m.front:
		return illegal("the log begins with record %d, which was cut away: %d is the first", h.First, m.front)
	case h.First > m.front:
		return illegal("the first record is %d, not %d", h.First, m.front)
	case h.Last > m.begun:
		return illegal("record %d is there, and was never appended: %d was the last", h.Last, m.begun)
	case h.Last < m.front-1:
		return illegal("the last record is %d, before the log's beginning", h.Last)
	}
	for _, b := range m.batches {
		if b.first <= h.Last && h.Last < b.last {
			return illegal("of the batch of records %d to %d, a part was recovered, up to %d", b.first, b.last, h.Last)
		}
	}
	return h.compare(m)
}

// compare compares the records with what they are to hold.
func (h *Held) compare(m *Mark) error {
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].from > h.From }) - 1
	if i < 0 && len(h.records) > 0 {
		return illegal("nobody appended record %d", h.From)
	}
	for i = max(i, 0); i < len(m.runs); i++ {
		to := h.Last
		if i+1 < len(m.runs) {
			to = min(to, m.runs[i+1].from-1)
		}
		var writers []writer
		if i+1 == len(m.runs) {
			writers = m.writers
		}
		if err := h.compareRun(&m.runs[i], to, writers); err != nil {
			return err
		}
	}
	return nil
}

// compareRun compares the records of a run, up to an LSN, with what they are to
// hold, and those of each writer at work with what that one knows of them.
func (h *Held) compareRun(r *run, to wal.LSN, writers []writer) error {
	var have map[uint64]uint64 // records of each writer
	if r.many {
		have = map[uint64]uint64{}
	}
	for lsn := max(r.from, h.From); lsn <= to; lsn++ {
		held, n, sum := h.records[lsn-h.From], uint64(lsn), r.sum
		if r.many {
			n = held.number
			w := n >> 48
			if count, seen := have[w]; (seen || r.from >= h.From) && n != number(int(w), count) {
				return illegal("record %d is not the next of writer %d", lsn, w)
			}
			have[w] = n&(1<<48-1) + 1
		}
		if sum == 0 {
			sum = Sum(r.record(n))
		}
		if held.sum != sum {
			return illegal("record %d is not what was appended", lsn)
		}
	}
	for w, known := range writers {
		if n := have[uint64(w)]; r.from >= h.From && n < known.appended {
			return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: fmt.Sprintf("of writer %d, %d records are there, %d were appended", w, n, known.appended)}
		} else if n > known.begun {
			return illegal("of writer %d, %d records are there, %d were begun", w, n, known.begun)
		}
	}
	return nil
}
