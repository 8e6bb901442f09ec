package wal_test

import (
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// TestCutWithNothingBehindIt cuts a segment, goes on in the next one, and cuts
// again there. The first record that is cut is chained to the last one that stays,
// for good: were it to come back, who reads on to the next segment would find it on
// the way, and once the second cut rules, recovery too.
func TestCutWithNothingBehindIt(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), newRand(newSeed(t)))
	f.open()
	f.fill(4, 9000)
	f.ready()
	f.truncateBack(2)
	f.append(40000) // there is no room for it behind record 2
	f.append(100)
	f.append(100)
	from := f.rec.Len()
	f.truncateBack(4)
	f.append(100)
	f.sync()
	f.stop()
	or := newOracle(t, f.opts)
	for at := from; at <= f.rec.Len(); at++ {
		f.crashes(at, 2, func(c crash) { or.check(c) })
	}
	or.report("two cuts")
}
