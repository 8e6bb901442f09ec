//go:build linux

package seawall

import (
	"fmt"
	"hash/maphash"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// sumSeed makes the checksums of one process comparable.
var sumSeed = maphash.MakeSeed()

// recordSum returns a checksum of a record under its LSN. Sums of records are
// added up: a run of records has the sum of its records.
func recordSum(lsn wal.LSN, p []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	for i := range 8 {
		_ = h.WriteByte(byte(lsn >> (8 * i)))
	}
	_, _ = h.Write(p)
	return h.Sum64()
}

// Mark is what is known of a log at one moment. It is never changed: what
// becomes known makes a new one.
type Mark struct {
	base    wal.LSN  // the first of records has the LSN behind it
	records []record // whose append had begun: what the log may hold
	front   wal.LSN  // the log's first LSN

	// Durable is what was acknowledged as such: what power loss must leave.
	// Appended is up to where Append had returned: what a kill must leave.
	durable, appended wal.LSN

	// or is what the log may be instead, while a cut is under way. It has beside set
	// where what is appended meanwhile follows that, too.
	or     *Mark
	beside bool

	situation int // that a campaign counts; 0 is none
}

// record is one that was handed to Append.
type record struct {
	sum   uint64 // of all from the first of the Mark's on
	batch int64  // records of one batch share it; 0 is none
}

// newMark returns what is known of a log that is not there yet.
func newMark() *Mark { return &Mark{front: 1} }

// markOf returns what is known, before anything is known, too.
func markOf(k campaign.Known) *Mark {
	if m, ok := k.(*Mark); ok {
		return m
	}
	return newMark()
}

// begun returns the last LSN whose append had begun.
func (m *Mark) begun() wal.LSN { return m.base + wal.LSN(len(m.records)) }

// sum returns the sum of all records up to the LSN.
func (m *Mark) sum(lsn wal.LSN) uint64 {
	if lsn <= m.base {
		return 0
	}
	return m.records[lsn-m.base-1].sum
}

// String tells what was acknowledged.
func (m *Mark) String() string {
	text := fmt.Sprintf("records up to %d were acknowledged, up to %d appended, up to %d begun", m.durable, m.appended, m.begun())
	if m.front > 1 {
		text += fmt.Sprintf(", the first is %d", m.front)
	}
	if m.or != nil {
		text += fmt.Sprintf("; a cut to records %d to %d is under way", m.or.front, m.or.begun())
	}
	return text
}

// Forget implements campaign.Forgetful.
func (m *Mark) Forget() campaign.Known {
	n := *m
	n.appended = n.durable
	if n.or != nil {
		n.or = n.or.Forget().(*Mark)
	}
	return &n
}

// begin returns a Mark that knows of records that are about to be appended.
func (m *Mark) begin(ps [][]byte, batch int64) *Mark {
	n := *m
	// What another Mark shares stays: records behind its own are none of its.
	n.records = n.records[:len(n.records):len(n.records)]
	sum := n.sum(n.begun())
	for _, p := range ps {
		sum += recordSum(n.begun()+1, p)
		n.records = append(n.records, record{sum: sum, batch: batch})
	}
	if n.or != nil && n.or.beside {
		n.or = n.or.begin(ps, batch)
	}
	return &n
}

// Situation implements campaign.Situated.
func (m *Mark) Situation() int { return m.situation - 1 }

// returned notes in a copy that an append returned.
func (m *Mark) returned(last wal.LSN) {
	m.appended = last
	if m.or != nil && m.or.beside {
		or := *m.or
		or.returned(last)
		m.or = &or
	}
}

// until returns the records up to the LSN.
func (m *Mark) until(lsn wal.LSN) []record {
	n := lsn - m.base
	return m.records[:n:n]
}

// Held is what recovery found in one state.
type Held struct {
	// First and Last are the log's; From is where its judgement began: sum is over
	// From to Last.
	First, Last, From wal.LSN
	sum               uint64
}

// add counts a record that was read.
func (h *Held) add(lsn wal.LSN, p []byte) error {
	if h.From == 0 {
		h.From, h.Last = lsn, lsn-1
	}
	if lsn != h.Last+1 {
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("record %d where %d should be", lsn, h.Last+1)}
	}
	h.Last = lsn
	h.sum += recordSum(lsn, p)
	return nil
}

// finish completes what was read with the range that the judgement names.
func (h *Held) finish(first, last wal.LSN) error {
	switch {
	case h.From == 0:
		h.First, h.Last, h.From = first, last, last+1
	case h.Last != last:
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("records up to %d were read, the judgement says %d", h.Last, last)}
	}
	h.First = first
	return nil
}

// Present implements campaign.Found.
func (h *Held) Present(k campaign.Known, killed bool) error {
	m := markOf(k)
	err := h.present(m, killed)
	if err != nil && m.or != nil && h.present(m.or, killed) == nil {
		return nil
	}
	return err
}

// Legal implements campaign.Found. While a cut is under way, the log is wholly
// what it was or what it is to be.
func (h *Held) Legal(k campaign.Known, killed bool) error {
	m := markOf(k)
	err := h.legal(m)
	switch {
	case m.or == nil || err == nil && h.present(m, killed) == nil:
		return err
	case h.legal(m.or) == nil && h.present(m.or, killed) == nil:
		return nil
	case err == nil:
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: "a cut is under way, and this is neither the old log nor the new one"}
	}
	return err
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
	illegal := func(format string, args ...any) error {
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf(format, args...)}
	}
	switch {
	case h.First != m.front:
		return illegal("the first record is %d, not %d", h.First, m.front)
	case h.Last > m.begun():
		return illegal("record %d is there, and was never appended: %d was the last", h.Last, m.begun())
	case h.Last < m.base:
		return illegal("the last record is %d, before the log's beginning", h.Last)
	case h.sum != m.sum(h.Last)-m.sum(h.From-1):
		return illegal("of the records %d to %d, one is not what was appended", h.From, h.Last)
	}
	n := h.Last
	if n > m.base && n < m.begun() {
		last, next := m.records[n-m.base-1], m.records[n-m.base]
		if last.batch != 0 && last.batch == next.batch {
			return illegal("of the batch of record %d, a part was recovered", n)
		}
	}
	return nil
}
