//go:build linux

package seawall

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// Mark is what is known of a log at one moment. It is never changed: what
// becomes known makes a new one.
type Mark struct {
	front wal.LSN // the log's first LSN
	begun wal.LSN // the last one whose append had begun: what the log may hold

	// Durable is what was acknowledged as such: what power loss must leave.
	// Appended is up to where Append had returned: what a kill must leave.
	durable, appended wal.LSN

	runs    []run    // say what the records hold, each up to the next one's beginning
	batches []batch  // of which the log holds all records or none
	writers []writer // at work on the last run; none where it is one alone

	// alt is what the log may be instead, while a cut is in progress, or two calls are, which
	// makes several; nil otherwise.
	// It has altGrows set where records that are appended during the cut follow it,
	// too.
	alt      *Mark
	altGrows bool

	calls  [2]outcome // what has become of two calls in progress, in this world
	closed bool       // by one of them
	reused bool       // LSNs that one of them has cut away may name other records
	unseen bool       // only power loss can show this world
	during string     // the calls, for people

	situation int // that a campaign counts; 0 is none
}

// run is records in a row. What one holds follows from the run and its LSN or,
// where several writers were at work at once, from the run, the writer, and how
// many that one had appended before, which the record itself names.
type run struct {
	from wal.LSN
	tag  uint64
	size int  // of its only record; or sizeByTag
	many bool // writers

	// sum is that of its only record, where that was looked at; 0 otherwise. It is
	// worth nothing in another process.
	sum uint64
}

// writer is one of several at work at once: its records, counted.
type writer struct{ begun, appended uint64 }

// number names a record of one of several writers.
func number(writer int, n uint64) uint64 { return uint64(writer)<<48 | n }

// sizeByTag has the sizes of records follow from the run's tag, too: so that what
// many of them hold is known by a few bytes, which a process in a kill campaign
// hands on at each step.
const sizeByTag = -1

// tagClass is the part of a tag that chooses the sizes of its records.
const tagClass = 3

// sizes are the least and the most bytes of a record, by class.
var sizes = [tagClass + 1][2]int{{0, 64}, {16, 300}, {100, 3000}, {500, 9000}}

// record returns what a record of the run holds: number is its LSN, or what names
// it among several writers. Where the size follows from the tag no byte is zero but
// for the number in the beginning, so that what is missing of it can be told.
func (r *run) record(number uint64) []byte {
	rng, size, set := rand.NewPCG(r.tag, number), r.size, uint64(0)
	if size == sizeByTag {
		class := sizes[r.tag&tagClass]
		size, set = class[0]+int(rng.Uint64()%uint64(class[1]-class[0]+1)), 0x0101010101010101
	}
	p := make([]byte, 0, size+16)
	if r.many {
		p, size = binary.LittleEndian.AppendUint64(p, number), max(size, 8)
	}
	for len(p) < size {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64()|set)
	}
	return p[:size]
}

// batch is the records from its first to its last.
type batch struct{ first, last wal.LSN }

// sumSeed makes the checksums of one process comparable.
var sumSeed = maphash.MakeSeed()

// Sum returns a checksum of a record, which is worth nothing in another process.
func Sum(p []byte) uint64 { return maphash.Bytes(sumSeed, p) }

// newMark returns what is known of a log that is not there yet.
func newMark() *Mark { return &Mark{front: 1} }

// emptyMark returns what is known of a log that holds nothing, and goes on with
// that record.
func emptyMark(next wal.LSN) Mark {
	return Mark{front: next, begun: next - 1, durable: next - 1, appended: next - 1}
}

// Begun is a record whose append had begun.
type Begun struct {
	Sum   uint64
	Batch int64 // records in a row of which the log holds all or none share it; 0 is none
}

// NewMark returns what is known of a log whose life is not one of this package: its
// first LSN, what is durable and what is appended, and the records behind an LSN. alt
// is what the log may be instead, while a cut is in progress, or nil.
func NewMark(front, durable, appended, behind wal.LSN, records []Begun, alt *Mark) *Mark {
	m := &Mark{front: front, begun: behind + wal.LSN(len(records)), durable: durable, appended: appended, alt: alt}
	m.runs = make([]run, len(records))
	for i, r := range records {
		lsn := behind + 1 + wal.LSN(i)
		m.runs[i] = run{from: lsn, sum: r.Sum}
		switch {
		case r.Batch == 0:
		case i > 0 && records[i-1].Batch == r.Batch:
			m.batches[len(m.batches)-1].last = lsn
		default:
			m.batches = append(m.batches, batch{lsn, lsn})
		}
	}
	return m
}

// markOf returns what is known, before anything is known, too.
func markOf(k campaign.Known) *Mark {
	if m, ok := k.(*Mark); ok && m != nil {
		return m
	}
	return newMark()
}

// String tells what was acknowledged.
func (m *Mark) String() string {
	text := fmt.Sprintf("records up to %d were acknowledged, up to %d appended, up to %d begun", m.durable, m.appended, m.begun)
	if m.front > 1 {
		text += fmt.Sprintf(", the first is %d", m.front)
	}
	if m.during != "" {
		text += "; in progress: " + m.during
	} else if m.alt != nil {
		text += fmt.Sprintf("; a cut to records %d to %d is under way", m.alt.front, m.alt.begun)
	}
	return text
}

// Forget implements campaign.Forgetful.
func (m *Mark) Forget() campaign.Known {
	n := *m
	n.appended = n.durable
	if n.alt != nil {
		n.alt = n.alt.Forget().(*Mark)
	}
	return &n
}

// Overstate returns what is known by a subject that takes all that was begun for
// durable: a lie that the lab has to find.
func Overstate(k campaign.Known) campaign.Known { return markOf(k).overstate(true) }

// OverstateAppends is Overstate by a subject that takes it for appended only.
func OverstateAppends(k campaign.Known) campaign.Known { return markOf(k).overstate(false) }

func (m *Mark) overstate(durable bool) *Mark {
	n := *m
	if durable {
		n.durable = max(n.durable, n.begun)
	} else {
		n.appended = max(n.appended, n.begun)
	}
	if n.alt != nil {
		n.alt = n.alt.overstate(durable)
	}
	return &n
}

// begin returns a Mark that knows of so many records that are about to be appended,
// as a batch where they are several. Fresh are the runs that begin with them.
func (m *Mark) begin(n wal.LSN, fresh []run) *Mark {
	c := *m
	// What another Mark shares stays: what is behind its own is none of its.
	c.runs = append(slices.Clip(c.runs), fresh...)
	if n > 1 {
		c.batches = append(slices.Clip(c.batches), batch{c.begun + 1, c.begun + n})
	}
	c.begun += n
	if c.alt != nil && c.alt.altGrows {
		c.alt = c.alt.begin(n, fresh)
	}
	return &c
}

// Situation implements campaign.Situated.
func (m *Mark) Situation() int { return m.situation - 1 }

// returned notes in a copy that an append returned.
func (m *Mark) returned(last wal.LSN) {
	m.appended = last
	if m.alt != nil && m.alt.altGrows {
		alt := *m.alt
		alt.returned(last)
		m.alt = &alt
	}
}

// end notes in a copy that the log ends with a record, and that is durable.
func (m *Mark) end(last wal.LSN) {
	m.runs = between(m.runs, 0, last)
	n := len(m.batches)
	for n > 0 && m.batches[n-1].last > last {
		n--
	}
	m.batches = m.batches[:n:n]
	m.begun, m.durable, m.appended = last, last, last
}

// between returns the runs of records that a log holds from the first to the last.
func between(runs []run, first, last wal.LSN) []run {
	for len(runs) > 0 && runs[len(runs)-1].from > last {
		runs = runs[:len(runs)-1]
	}
	for len(runs) > 1 && runs[1].from <= first {
		runs = runs[1:]
	}
	return slices.Clip(runs)
}
