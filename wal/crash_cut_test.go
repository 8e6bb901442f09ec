package wal_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// fill appends records of n bytes until the log ends with the LSN.
func (f *life) fill(last wal.LSN, n int) {
	f.t.Helper()
	for f.log.LastLSN() < last {
		f.append(n)
	}
}

// cuts are workloads around the cuts of a log, small enough that every event of
// each is crashed at. Segments of 64 KiB hold four records of 9000 bytes, or
// two of 20000.
var cuts = []workload{
	{"back in the last segment", wal.Options{}, func(f *life) {
		f.open()
		f.fill(6, 900)
		f.sync()
		f.fill(9, 900)
		f.truncateBack(4)
		f.append(10)
		f.sync()
		f.append(20)
	}},
	{"back over segments", wal.Options{SegmentsAhead: 2}, func(f *life) {
		f.open()
		f.fill(12, 9000)
		f.truncateBack(3)
		f.append(9000)
		f.append(9000)
		f.sync()
	}},
	{"back to a segment's end", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(9, 9000)
		f.truncateBack(4)
		f.append(30)
		f.sync()
		f.truncateBack(3)
		f.append(30)
	}},
	{"back into a batch", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.append(100)
		f.appendBatch(600, 10, 600, 20)
		f.append(5)
		f.truncateBack(3)
		f.append(7)
		f.appendBatch(1, 2, 3)
		f.truncateBack(5)
		f.sync()
		f.appendBatch(5000, 9000, 9000)
		f.fill(14, 9000)
		f.truncateBack(7)
		f.fill(13, 9000)
		f.sync()
		f.append(1)
	}},
	{"back and forth in one segment", wal.Options{}, func(f *life) {
		f.open()
		f.fill(8, 500)
		f.truncateBack(5)
		f.fill(9, 300)
		f.truncateBack(7)
		f.fill(8, 700)
		f.truncateBack(2)
		f.fill(4, 500)
		f.sync()
		f.truncateBack(3)
		f.append(40)
	}},
	{"back to nothing", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(5, 9000)
		f.truncateBack(0)
		f.fill(2, 9000)
		f.sync()
		f.truncateBack(0)
		f.close()
		f.open()
		f.append(3)
	}},
	{"front in a segment", wal.Options{}, func(f *life) {
		f.open()
		f.fill(6, 300)
		f.truncateFront(3)
		f.append(10)
		f.truncateFront(7)
		f.sync()
		f.truncateFront(8)
		f.append(20)
		f.sync()
	}},
	{"front over segments", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(14, 9000)
		f.truncateFront(11)
		f.fill(18, 9000)
		f.sync()
		f.truncateFront(16)
		f.fill(24, 9000)
		f.truncateFront(25)
		f.append(9000)
		f.append(9000)
		f.sync()
	}},
	{"front as soon as a segment is entered", wal.Options{SegmentsAhead: 2}, func(f *life) {
		f.open()
		f.fill(4, 9000)
		f.append(20000)
		f.truncateFront(5)
		f.append(20000)
		f.append(20000)
		f.truncateFront(7)
		f.append(10)
	}},
	{"both ends", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(10, 9000)
		f.truncateFront(6)
		f.truncateBack(7)
		f.fill(9, 9000)
		f.truncateBack(5)
		f.fill(7, 9000)
		f.sync()
		f.truncateFront(8)
		f.append(50)
		f.close()
		f.open()
		f.append(10)
	}},
	{"reset", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(7, 9000)
		f.reset(100)
		f.append(10)
		f.sync()
		f.reset(3)
		f.fill(9, 9000)
		f.truncateFront(8)
		f.reset(8)
		f.append(1)
		f.truncateBack(7)
		f.append(2)
		f.sync()
	}},
	{"reset of an empty log", wal.Options{}, func(f *life) {
		f.open()
		f.reset(50)
		f.close()
		f.open()
		f.append(10)
		f.reset(51)
		f.append(20)
	}},
	{"the same bytes again", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		f.fill(5, 900)
		f.sync()
		f.truncateBack(2)
		f.fill(5, 900) // a life's payloads follow from LSN and size
		f.sync()
		f.truncateBack(2)
		f.fill(4, 900)
	}},
}

// TestCrashAtEveryEventOfACut crashes each of the cuts, and what comes before
// and behind it, at every event, with all that is not durable dropped, kept and
// mixed, and kills the process there.
func TestCrashAtEveryEventOfACut(t *testing.T) {
	for _, w := range cuts {
		for _, align := range []wal.Align{wal.AlignFrame, wal.AlignSector, wal.AlignFolio} {
			t.Run(fmt.Sprintf("%s/%d", w.name, align), func(t *testing.T) {
				t.Parallel()
				rng := newRand(newSeed(t))
				o := withMin(w.opts)
				o.Align = align
				f := newLife(t, o, rng)
				w.run(f)
				f.check(false)
				f.close()
				f.wantFaithful()
				f.stop()
				or := newOracle(t, f.opts)
				for at := range f.rec.Len() + 1 {
					f.crashes(at, 2, func(c crash) { or.check(c) })
				}
				or.report(fmt.Sprintf("%d events", f.rec.Len()))
			})
		}
	}
}
