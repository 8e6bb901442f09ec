//go:build linux

package seawall

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// Held is what recovery found in one state.
type Held struct {
	// First and Last are the log's; From is where its judgement began.
	First, Last, From wal.LSN

	sums []uint64 // of the records From to Last
}

// illegal tells of what may not be there.
func illegal(format string, args ...any) error {
	return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf(format, args...)}
}

// add counts a record that was read.
func (h *Held) add(lsn wal.LSN, p []byte) error {
	if h.From == 0 {
		h.From, h.Last = lsn, lsn-1
	}
	if lsn != h.Last+1 {
		return illegal("record %d where %d should be", lsn, h.Last+1)
	}
	h.Last = lsn
	h.sums = append(h.sums, recordSum(p))
	return nil
}

// finish completes what was read with the range that the judgement names.
func (h *Held) finish(first, last wal.LSN) error {
	switch {
	case h.From == 0:
		h.First, h.Last, h.From = first, last, last+1
	case h.Last != last:
		return illegal("records up to %d were read, the judgement says %d", h.Last, last)
	}
	h.First = first
	return nil
}

// same reports whether two hold the same records.
func (h *Held) same(o *Held) bool {
	return h.First == o.First && h.Last == o.Last && slices.Equal(h.sums, o.sums)
}

// Present implements campaign.Found.
func (h *Held) Present(k campaign.Known, killed bool) error {
	m := markOf(k)
	err := h.present(m, killed)
	if err == nil || m.or == nil {
		return err
	}
	return neither(err, h.present(m.or, killed))
}

// Legal implements campaign.Found. While a cut is under way, the log is wholly
// what it was or what it is to be.
func (h *Held) Legal(k campaign.Known, killed bool) error {
	m := markOf(k)
	if m.or == nil {
		return h.legal(m)
	}
	was, is := errors.Join(h.legal(m), h.present(m, killed)), errors.Join(h.legal(m.or), h.present(m.or, killed))
	if was == nil || is == nil {
		return nil
	}
	return illegal("%s", neither(was, is).(*campaign.Broken).What)
}

// neither tells of a log that is broken by what it was before a cut that is under
// way, and by what it is to be after it, if it is.
func neither(was, is error) error {
	if is == nil {
		return nil
	}
	b := *campaign.AsBroken(was, campaign.Illegal)
	b.What = fmt.Sprintf("a cut is under way, and this is neither the old log (%s) nor the new one (%s)",
		b.What, campaign.AsBroken(is, campaign.Illegal).What)
	return &b
}

func (h *Held) present(m *Mark, killed bool) error {
	must, clause := m.durable, campaign.Clause("C2")
	if killed && m.appended > must {
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
	if i < 0 && len(h.sums) > 0 {
		return illegal("nobody appended record %d", h.From)
	}
	for i = max(i, 0); i < len(m.runs); i++ {
		to := h.Last
		if i+1 < len(m.runs) {
			to = min(to, m.runs[i+1].from-1)
		}
		if err := h.compareRun(&m.runs[i], to); err != nil {
			return err
		}
	}
	return nil
}

// compareRun compares the records of a run, up to an LSN, with what they are to
// hold.
func (h *Held) compareRun(r *run, to wal.LSN) error {
	for lsn := max(r.from, h.From); lsn <= to; lsn++ {
		sum := r.sum
		if sum == 0 {
			sum = recordSum(r.record(lsn))
		}
		if h.sums[lsn-h.From] != sum {
			return illegal("record %d is not what was appended", lsn)
		}
	}
	return nil
}
