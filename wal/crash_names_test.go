package wal_test

import (
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// TestCrashWhereFewerAreAhead opens a log with fewer segments ahead than it has,
// and loses each of the removals at each event: where a segment's removal is lost
// and that of the one before it is not, the one before it looks missing.
func TestCrashWhereFewerAreAhead(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 4}), newRand(newSeed(t)))
	f.open()
	f.append(100)
	f.ready()
	f.close()
	f.opts.SegmentsAhead = 1
	from := f.rec.Len()
	f.open()
	f.append(100)
	f.stop()
	removals := 0
	or := newOracle(t, f.opts)
	for at := from; at <= f.rec.Len(); at++ {
		if e := f.event(at); e.Op == durability.OpRemove && e.Phase == durability.After {
			removals++
		}
		or.holdBackEach(f, at)
	}
	if removals != 3 {
		t.Errorf("%d segments were removed, the test wants 3", removals)
	}
}
