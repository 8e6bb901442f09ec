//go:build linux

package kill

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// logName is the name of the built-in subject.
const logName = "log"

// logSegment is the size of its segments, in bytes: small, so that short lives
// rotate.
const logSegment = 64 << 10

// logEnough is how many bytes a log may hold before a fresh one is begun: each
// death costs a look at all of it.
const logEnough = 1 << 20

// logSubject is the Seawall log. Each life opens it with options of its own.
type logSubject struct {
	name string
	// wrap, in tests, puts a wrong layer between the workload and the log.
	wrap func(appender) appender
	// judge, in tests, is asked in place of the oracles.
	judge func(k *logKnown, f *logFound) *campaign.Broken
}

// appender is what the workload appends to.
type appender interface {
	Append(p []byte) (wal.LSN, error)
	AppendBatch(ps [][]byte) (wal.LSN, error)
}

// NewLog returns the built-in subject: the Seawall log, under options that each
// life's seed chooses.
func NewLog() campaign.Subject { return &logSubject{name: logName} }

// Name implements campaign.Subject.
func (s *logSubject) Name() string { return s.name }

// PlaceOf implements Placer.
func (s *logSubject) PlaceOf(doing Place, e *durability.Event) Place {
	temporary := strings.HasSuffix(e.Name, ".tmp")
	switch {
	case doing == Recovery || doing == Cut:
		return doing
	case e.Op == durability.OpStore && e.Offset >= frame.DataOffset && doing == Append:
		return Copy
	case e.Op == durability.OpStore && e.Offset >= frame.StampOffset && e.Offset < frame.SlotOffset:
		return Rotation
	case e.Op == durability.OpStore:
		return doing
	case e.Op == durability.OpMsync || e.Op == durability.OpDatasync || e.Op == durability.OpSync && !temporary:
		return Sync
	}
	return Rotation
}

// logOptions chooses the options of a life.
func logOptions(rng *rand.Rand) wal.Options {
	o := wal.Options{
		SegmentBytes: logSegment, SegmentsAhead: 1 + rng.IntN(2), Align: wal.Align(rng.IntN(3)),
		FillBytes: []int{0, 64 << 10}[rng.IntN(2)],
	}
	switch rng.IntN(4) {
	case 0:
		o.Sync = wal.SyncEach
	case 1:
		o.Sync = wal.SyncEvery(time.Duration(1+rng.IntN(20)) * 100 * time.Microsecond)
	}
	return o
}

// logKnown is what is known of a log. It is not changed once it was noted.
type logKnown struct {
	first                    wal.LSN
	begun, appended, durable wal.LSN

	// batchFrom and batchTo are the batch in the making; 0 is none.
	batchFrom, batchTo wal.LSN

	// cut is under way, to cutTo: the log is what it was, or what it is to be.
	cut   cutKind
	cutTo wal.LSN

	// spans say what the records hold, each up to the next one's beginning.
	spans []span

	// writers are at work on the last span.
	writers []writer
}

// cutKind is a way to cut a log.
type cutKind uint64

const (
	cutNone cutKind = iota
	cutFront
	cutBack
	cutReset
)

// span is a run of records. What one holds follows from the span's tag and its
// own LSN; or, where several writers were at work, from the tag, the writer and
// how many it had appended before, which the record itself names.
type span struct {
	from wal.LSN
	tag  uint64
	many bool
}

// writer is one of several at work at once: its records, counted.
type writer struct{ begun, appended uint64 }

// newLogKnown returns what is known of a log before anything was noted.
func newLogKnown(k campaign.Known) *logKnown {
	if known, ok := k.(*logKnown); ok && known != nil {
		return known
	}
	return &logKnown{first: 1}
}

// Counts implements Counter.
func (s *logSubject) Counts(k campaign.Known) Counts {
	n := newLogKnown(k)
	return Counts{Begun: uint64(n.begun), Appended: uint64(n.appended), Acked: uint64(n.durable)}
}

// AppendKnown implements Codec.
func (s *logSubject) AppendKnown(b []byte, k campaign.Known) ([]byte, error) {
	n := newLogKnown(k)
	for _, v := range []uint64{
		uint64(n.first), uint64(n.begun), uint64(n.appended), uint64(n.durable),
		uint64(n.batchFrom), uint64(n.batchTo), uint64(n.cut), uint64(n.cutTo), uint64(len(n.spans)),
	} {
		b = binary.AppendUvarint(b, v)
	}
	for _, s := range n.spans {
		many := uint64(0)
		if s.many {
			many = 1
		}
		b = binary.AppendUvarint(b, uint64(s.from))
		b = binary.AppendUvarint(b, s.tag)
		b = binary.AppendUvarint(b, many)
	}
	b = binary.AppendUvarint(b, uint64(len(n.writers)))
	for _, w := range n.writers {
		b = binary.AppendUvarint(b, w.begun)
		b = binary.AppendUvarint(b, w.appended)
	}
	return b, nil
}

// ParseKnown implements Codec. It is given what AppendKnown made.
func (s *logSubject) ParseKnown(b []byte) (campaign.Known, error) {
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	lsn := func() wal.LSN { return wal.LSN(next()) }
	k := &logKnown{
		first: lsn(), begun: lsn(), appended: lsn(), durable: lsn(),
		batchFrom: lsn(), batchTo: lsn(), cut: cutKind(next()), cutTo: lsn(),
	}
	for n := next(); n > 0 && len(b) > 0; n-- {
		k.spans = append(k.spans, span{from: lsn(), tag: next(), many: next() == 1})
	}
	for n := next(); n > 0 && len(b) > 0; n-- {
		k.writers = append(k.writers, writer{next(), next()})
	}
	return k, nil
}

// Settle implements Settler: what is there is known exactly.
func (s *logSubject) Settle(k campaign.Known, f campaign.Found) campaign.Known {
	old := newLogKnown(k)
	found, ok := f.(*logFound)
	if !ok {
		return k
	}
	n := &logKnown{first: found.first, begun: found.last(), appended: found.last(), durable: min(old.durable, found.last())}
	n.spans = trimSpans(old.spans, found.first, found.last())
	return n
}

// Enough implements Bounded.
func (s *logSubject) Enough(f campaign.Found) bool {
	found, ok := f.(*logFound)
	return ok && found.bytes > logEnough
}

// trimSpans returns the spans of the records that are left, in a slice of its own.
func trimSpans(spans []span, first, last wal.LSN) []span {
	var kept []span
	for i, s := range spans {
		if s.from <= last && (i+1 == len(spans) || spans[i+1].from > first) {
			kept = append(kept, s)
		}
	}
	return slices.Clip(kept)
}

// tagClass is the part of a tag that chooses the sizes of its records.
const tagClass = 3

// logSizes are the least and the most bytes of a record, by class.
var logSizes = [tagClass + 1][2]int{{0, 64}, {16, 300}, {100, 3000}, {500, 9000}}

// record returns what a record of a span holds: number is its LSN, or what names
// it among several writers. No byte is zero but for the numbers in the beginning,
// so that what is missing of it can be told.
func (s span) record(number uint64) []byte {
	rng := rand.New(rand.NewPCG(s.tag, number))
	size := logSizes[s.tag&tagClass]
	n := size[0] + rng.IntN(size[1]-size[0]+1)
	if s.many {
		n = max(n, 8)
	}
	p := make([]byte, 0, n+8)
	if s.many {
		p = binary.LittleEndian.AppendUint64(p, number)
	}
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64()|0x0101010101010101)
	}
	return p[:n]
}

// number names a record of one of several writers.
func number(writer int, n uint64) uint64 { return uint64(writer)<<48 | n }
