package wal_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestHeads damages and zeroes the header, the stamp and the slots of each
// segment of a closed log: 14 records in four segments, and two prepared ones.
func TestHeads(t *testing.T) {
	type block struct {
		name   string
		off, n int64
	}
	header := block{"header", frame.HeaderOffset, frame.SegmentHeaderBytes}
	stamp := block{"stamp", frame.StampOffset, frame.StampBytes}
	slot := func(i int64) block {
		return block{fmt.Sprintf("slot %d", i), frame.SlotOffset + i*frame.BlockBytes, frame.SlotBytes}
	}
	flip := func(s *specimen, name string, b block) { s.flip(name, b.off+b.n/2) }
	zero := func(s *specimen, name string, b block) { s.zero(name, b.off, b.off+b.n) }
	noneKept := func(hurt func(*specimen, string, block)) func(*specimen, string, block) {
		return func(s *specimen, name string, b block) {
			s.forgetCheckpoint()
			hurt(s, name, b)
		}
	}
	clean := finding{last: 14, durable: 14}
	all := []wal.Range{{First: 1, Last: 14}}
	damaged := func(last wal.LSN, name string, off int64, from, to wal.LSN, reason string, behind ...wal.Range) finding {
		return finding{
			verdict: wal.Damaged, last: last, durable: 14, anyTorn: true, behind: behind,
			damage: []wal.Damage{{File: name, Offset: off, FirstLSN: from, LastLSN: to, Reason: reason}},
		}
	}
	const (
		badHeader, zeroHeader = "header does not validate", "header is zero"
		badStamp              = "the segment's stamp does not validate"
		zeroStamp             = "the segment's stamp is zero"
	)
	tests := []struct {
		file string
		block
		hurt func(*specimen, string, block)
		want finding
	}{
		{firstName, header, flip, damaged(0, firstName, 0, 0, 0, badHeader, all...)},
		{firstName, header, zero, damaged(0, firstName, 0, 0, 0, zeroHeader, all...)},
		{secondName, header, flip, damaged(4, secondName, 0, 0, 0, badHeader, wal.Range{First: 5, Last: 14})},
		{secondName, header, zero, damaged(4, secondName, 0, 0, 0, zeroHeader, wal.Range{First: 5, Last: 14})},
		{fourthName, header, flip, damaged(12, fourthName, 0, 0, 0, badHeader, wal.Range{First: 13, Last: 14})},
		{fourthName, header, zero, damaged(12, fourthName, 0, 0, 0, zeroHeader, wal.Range{First: 13, Last: 14})},
		{fifthName, header, flip, damaged(14, fifthName, 0, 0, 0, badHeader)},
		{sixthName, header, zero, damaged(14, sixthName, 0, 0, 0, zeroHeader)},

		{firstName, stamp, flip, damaged(0, firstName, frame.StampOffset, 0, 0, badStamp, all...)},
		{firstName, stamp, zero, damaged(0, firstName, frame.StampOffset, 0, 0, zeroStamp, all...)},
		{secondName, stamp, flip, damaged(4, secondName, frame.StampOffset, 0, 0, badStamp, wal.Range{First: 5, Last: 14})},
		{secondName, stamp, zero, damaged(4, secondName, frame.StampOffset, 0, 0, zeroStamp, wal.Range{First: 5, Last: 14})},
		{fourthName, stamp, flip, damaged(12, fourthName, frame.StampOffset, 0, 0, badStamp, wal.Range{First: 13, Last: 14})},
		{fourthName, stamp, zero, damaged(12, fourthName, frame.StampOffset, 0, 0, zeroStamp, wal.Range{First: 13, Last: 14})},
		// No record can be in a prepared segment that nothing was stored to but a
		// broken stamp: what a crash leaves of a rotation.
		{fifthName, stamp, flip, finding{verdict: wal.Torn, last: 14, durable: 14}},

		{firstName, slot(0), flip, clean},
		{fourthName, slot(1), flip, clean},
		{fifthName, slot(0), flip, clean},
		// The lock file has the checkpoint, too.
		{fourthName, slot(0), flip, clean},
		{fourthName, slot(0), zero, clean},
		// Nothing was synced before it: without both, nothing is proved.
		{fourthName, slot(0), noneKept(flip), finding{last: 14}},
		{fourthName, slot(0), noneKept(zero), finding{last: 14}},
	}
	base := rotated(t)
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.name, func(t *testing.T) {
			s := take(t, base.dir)
			tt.hurt(s, tt.file, tt.block)
			tt.want.size = 10000
			s.analyze(small(), tt.want)
		})
	}
}

// TestBlocksTogether damages more than one block of a log.
func TestBlocksTogether(t *testing.T) {
	s := rotated(t)
	s.flip(fourthName, frame.SlotOffset)
	s.flip(fourthName, frame.StampOffset)
	s.analyze(small(), finding{
		verdict: wal.Damaged, last: 12, durable: 14, size: 10000, anyTorn: true,
		behind: []wal.Range{{First: 13, Last: 14}},
		damage: []wal.Damage{{File: fourthName, Offset: frame.StampOffset, Reason: "the segment's stamp does not validate"}},
	})
	// Nothing says that 13 and 14 were ever durable: that is what a crash leaves.
	s.forgetCheckpoint()
	s.analyze(small(), finding{
		verdict: wal.Torn, last: 12, size: 10000, anyTorn: true,
		behind: []wal.Range{{First: 13, Last: 14}}, saved: []string{"lost/0001/" + fourthName},
	})
}
