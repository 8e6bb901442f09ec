package wal_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// tornState is a log with a hole between what is durable and intact records
// behind it, over several segments: what trims it has all its steps to do.
func tornState(t *testing.T, align wal.Align) (durabilitytest.Files, mark) {
	t.Helper()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1, Align: align}), newRand(uint64(align)))
	f.open()
	for range 3 {
		f.append(2000)
	}
	f.sync()
	for range 12 {
		f.append(9000)
	}
	f.stop()
	at := f.rec.Len()
	state := f.rec.CrashAs(durabilitytest.Keep, f.root, at, nil)
	seg := state[logName+"/0000000000000001.wal"]
	from := 28 << 10 // within record 4, behind the records that were synced
	clear(seg[from : from+4096])
	return state, f.known(at)
}

// TestCrashTrimAtEveryEvent crashes a trim between any two of its steps: the
// copies that it saves, the slot with the cut, the removal of each later
// segment, the zeros, the second slot; by Open and by Repair.
func TestCrashTrimAtEveryEvent(t *testing.T) {
	trims := []struct {
		name string
		trim func(*life)
	}{
		{"open", func(f *life) { f.open() }},
		{"repair", func(f *life) {
			f.t.Helper()
			rep, err := wal.Repair(f.dir(), wal.RepairOptions{Tracer: f.rec})
			if err != nil || !rep.Trimmed || len(rep.Saved) == 0 {
				f.t.Fatalf("repair: %+v, %v", rep, err)
			}
			f.open()
		}},
	}
	for i, c := range trims {
		for _, align := range aligns(2 * i) {
			t.Run(fmt.Sprintf("%s/%d", c.name, align), func(t *testing.T) {
				t.Parallel()
				rng := newRand(newSeed(t))
				state, m := tornState(t, align)
				o := withMin(wal.Options{SegmentsAhead: 1, Align: align})
				m.appended = m.durable
				f := newLifeAfter(t, o, rng, state, m, fastDir(t))
				c.trim(f)
				if n := f.log.LastLSN(); n != 3 {
					t.Fatalf("trimmed to %d records, want 3", n)
				}
				f.append(30)
				f.sync()
				f.appendBatch(7000, 7000)
				f.stop()
				or := newOracle(t, o)
				for at := range f.moments() {
					f.crashes(at, 2, func(c crash) {
						or.check(c)
						if rng.IntN(400) == 0 {
							or.nest(o, c, rng, 1)
						}
					})
				}
				or.report(fmt.Sprintf("%d events", f.rec.Len()))
			})
		}
	}
}
