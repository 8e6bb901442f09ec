package wal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// workload is a life of a log whose every event is a place to crash at. The
// steps of birth, rotation, trimming and recovery are events: a crash between
// any two of them is among the states.
type workload struct {
	name string
	opts wal.Options
	run  func(*life)
}

// workloads are small: each of their events is crashed at.
var workloads = []workload{
	{"birth", wal.Options{}, func(f *life) {
		f.open()
		f.close()
	}},
	{"manual", wal.Options{}, func(f *life) {
		f.open()
		for i := range 12 {
			f.append(1 + 100*i)
			if i%5 == 4 {
				f.sync()
			}
		}
		f.appendBatch(10, 600, 0, 30)
		f.sync()
		f.appendBatch(700, 700)
		f.append(20)
	}},
	{"each", wal.Options{Sync: wal.SyncEach}, func(f *life) {
		f.open()
		for i := range 5 {
			f.append(50 * i)
			f.appendBatch(100, 500, 3)
		}
		f.close()
	}},
	{"checkpoints", wal.Options{}, func(f *life) {
		f.open()
		for i := range 6 {
			f.append(300)
			f.append(40)
			if i%2 == 0 {
				f.sync()
			}
			f.append(9)
			f.checkpoint()
		}
		f.append(1)
		f.close()
	}},
	{"rotations", wal.Options{SegmentsAhead: 1}, func(f *life) {
		f.open()
		for i := range 10 {
			f.append(15000)
			f.append(100)
			if i%4 == 3 {
				f.sync()
			}
		}
		f.appendBatch(20000, 9000)
		f.checkpoint()
		f.append(10)
	}},
	{"reopened", wal.Options{SegmentsAhead: 1}, func(f *life) {
		for range 3 {
			f.open()
			f.append(9000)
			f.appendBatch(30, 3000)
			f.sync()
			f.append(5000)
			f.close()
		}
	}},
}

// withMin returns options with the smallest segments.
func withMin(o wal.Options) wal.Options {
	o.SegmentBytes = wal.MinSegmentBytes
	return o
}

func TestCrashAtEveryEvent(t *testing.T) {
	for i, w := range workloads {
		for _, align := range aligns(i) {
			t.Run(fmt.Sprintf("%s/%d", w.name, align), func(t *testing.T) {
				t.Parallel()
				rng := newRand(newSeed(t))
				o := withMin(w.opts)
				o.Align = align
				f := newLife(t, o, rng)
				w.run(f)
				f.stop()
				or := newOracle(t, f.opts)
				for at := range f.moments() {
					f.crashes(at, 3, func(c crash) { or.check(c) })
				}
				or.report(fmt.Sprintf("%d events", f.rec.Len()))
			})
		}
	}
}

// TestCrashDuringRecovery crashes, recovers, and crashes the recovery and what
// is appended after it at every event: the cut, the removal of later segments,
// the zeros behind the tail, both slots. Two levels deep, and three for a few.
func TestCrashDuringRecovery(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	for round := range rounds(t, len(workloads)-1, 25) {
		rng := newRand(seed + uint64(round))
		w := workloads[1:][round%(len(workloads)-1)]
		o := withMin(w.opts)
		o.Align = wal.Align(rng.IntN(3))
		f := newLife(t, o, rng)
		w.run(f)
		f.stop()
		or := newOracle(t, f.opts)
		places := 3
		if thorough() {
			places = 12
		}
		for range places {
			f.crashes(1+rng.IntN(f.rec.Len()), 1, func(c crash) {
				if rng.IntN(3) == 0 {
					or.nest(f.opts, c, rng, 1+rng.IntN(2))
				}
			})
		}
		or.report(fmt.Sprintf("round %d, %s", round, w.name))
	}
}

// nest recovers from a state under a recorder, goes on appending, and crashes
// that at its events again.
func (o *oracle) nest(opts wal.Options, c crash, rng *rand.Rand, depth int) {
	o.t.Helper()
	if out := o.check(c); out.err != nil {
		return
	}
	root, err := os.MkdirTemp(o.scratch, "nest-")
	if err != nil {
		o.t.Fatal(err)
	}
	defer os.RemoveAll(root)
	m := c.mark
	if !c.killed {
		m.forget()
	}
	m.records = m.until(m.begun())
	f := newLifeAfter(o.t, opts, rng, c.state, m, filepath.Join(root, "base"))
	f.before = c.words
	f.open()
	recovered := f.rec.Len()
	f.append(10)
	f.appendBatch(600, 5)
	f.sync()
	f.append(2000)
	f.stop()
	for at := range f.moments() {
		if at > recovered && rng.IntN(3) > 0 {
			continue
		}
		f.crashes(at, 1, func(c crash) {
			o.check(c)
			if depth > 1 && rng.IntN(60) == 0 {
				o.nest(opts, c, rng, depth-1)
			}
		})
	}
}
