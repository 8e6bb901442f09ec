package wal_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// fill appends records of n bytes until the log ends with the LSN.
func (f *life) fill(last wal.LSN, n int) {
	f.t.Helper()
	for f.log.LastLSN() < last {
		f.append(n)
	}
}

// ready waits until the segments ahead are prepared.
func (f *life) ready() {
	f.t.Helper()
	awaitReady(f.t, f.log, f.dir(), f.opts.SegmentsAhead)
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
	{"on into segments that were prepared before the cut", wal.Options{SegmentsAhead: 3}, func(f *life) {
		// One prepared after the cut follows two from before it when the log
		// goes on, and a crash tears the stamp of the first of these.
		f.open()
		f.fill(3, 9000)
		f.ready()
		f.truncateBack(2)
		for range 3 {
			f.fill(f.log.LastLSN()+4, 9000)
			f.ready()
		}
		f.reset(30)
		for range 2 {
			f.fill(f.log.LastLSN()+4, 9000)
			f.ready()
		}
		f.reset(3)
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

// TestCrashAtEveryEventOfACut crashes each of the cuts, and what comes before and
// behind it, at every event, with all that is not durable dropped, kept and mixed,
// and kills the process there. Where no budget is set, these are the moments of a
// life, and outside cuts each eighth of them.
func TestCrashAtEveryEventOfACut(t *testing.T) {
	for i, w := range cuts {
		for _, align := range aligns(i) {
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
				within, outside := 0, 0
				for at := range f.moments() {
					if f.known(at).or != nil {
						within++
					} else if outside++; outside%8 != 1 && !thorough() {
						continue
					}
					f.crashes(at, 2, func(c crash) { or.check(c) })
				}
				or.report(fmt.Sprintf("%d events, %d within cuts", f.rec.Len(), within))
			})
		}
	}
}

// cutStates bounds the states of one crash point of a cut that are enumerated.
func cutStates() int {
	if thorough() {
		return 300
	}
	return 15
}

// cutPoints bounds the crash points of one workload of cuts that are enumerated.
func cutPoints() int {
	if thorough() {
		return math.MaxInt
	}
	return 1
}

// withinCuts returns the crash points that lie within a cut.
func (f *life) withinCuts() (points []int) {
	for at := range f.moments() {
		if f.known(at).or != nil {
			points = append(points, at)
		}
	}
	return points
}

// TestCutExhaustively enumerates, for each crash point within each cut, all
// that power loss can leave: every subset of the unlinks, of the zeroed sectors,
// of the words of a slot on its way. Where there are too many combinations it
// begins with the first ones and goes on with random ones.
func TestCutExhaustively(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	points, whole, states, distinct := 0, 0, 0, 0
	for round := range rounds(t, 1, 15) {
		rng := newRand(seed + uint64(round))
		for _, w := range cuts {
			o := withMin(w.opts)
			o.Align = wal.Align(rng.IntN(3))
			f := newLife(t, o, rng)
			w.run(f)
			f.stop()
			or := newOracle(t, f.opts)
			within := f.withinCuts()
			for _, i := range rng.Perm(len(within))[:min(len(within), cutPoints())] {
				points++
				if or.enumerate(f, within[i], f.known(within[i])) {
					whole++
				}
			}
			states, distinct = states+or.states, distinct+or.distinct
			f.discard()
		}
	}
	t.Logf("%d crash points within cuts, %d of them with all states: %d states, %d distinct", points, whole, states, distinct)
}

// enumerate checks the states of one crash point, and reports whether it were
// all.
func (o *oracle) enumerate(f *life, at int, m mark) bool {
	o.t.Helper()
	var all durabilitytest.Odometer
	n := 0
	for all.Next() {
		if n++; n > cutStates() {
			f.crashes(at, cutStates()/10, func(c crash) { o.check(c) })
			return false
		}
		number := n
		o.check(crash{state: f.rec.Crash(f.root, at, &all), mark: m, words: func() string {
			return fmt.Sprintf("power loss after %d of %d events, combination %d:\n%s", at, f.rec.Len(), number, f.describe(at))
		}})
	}
	return true
}

// TestCrashDuringRecoveryOfACut crashes within a cut, recovers, and crashes the
// recovery, and what is done after it: two levels deep.
func TestCrashDuringRecoveryOfACut(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states, distinct := 0, 0
	for round := range rounds(t, 6, 12) {
		rng := newRand(seed + uint64(round))
		w := cuts[(int(seed%1000)+round)%len(cuts)]
		o := withMin(w.opts)
		o.Align = wal.Align(rng.IntN(3))
		f := newLife(t, o, rng)
		w.run(f)
		f.stop()
		or := newOracle(t, f.opts)
		most := 60
		if thorough() {
			most = 4000
		}
		for _, at := range rng.Perm(f.rec.Len() + 1) {
			if f.known(at).or == nil {
				continue
			}
			if or.states > most {
				break
			}
			f.crashes(at, 2, func(c crash) {
				if rng.IntN(4) == 0 {
					or.nest(f.opts, c, rng, 1+rng.IntN(2))
				}
			})
		}
		states, distinct = states+or.states, distinct+or.distinct
		f.discard()
	}
	t.Logf("%d states, %d distinct", states, distinct)
}

// TestCutThenTheSameAgain crashes within a cut, with any part of the zeroing
// done, recovers, appends the very bytes that the cut removes, and crashes
// again.
func TestCutThenTheSameAgain(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states := 0
	for round := range rounds(t, 1, 8) {
		rng := newRand(seed + uint64(round))
		o := withMin(wal.Options{SegmentsAhead: 1, Align: wal.Align(rng.IntN(3))})
		f := newLife(t, o, rng)
		tag := f.tag
		size := []int{300, 900, 9000}[rng.IntN(3)]
		f.open()
		f.fill(7, size)
		f.sync()
		from := f.rec.Len()
		f.truncateBack(wal.LSN(rng.IntN(6)))
		f.stop()
		or := newOracle(t, o)
		for at := from; at <= f.rec.Len(); at += f.step() {
			f.crashes(at, 1, func(c crash) {
				or.check(c)
				g := or.goOnFrom(f, c)
				g.tag = tag
				g.open()
				if rng.IntN(2) == 0 && g.log.LastLSN() > 1 {
					g.truncateBack(g.log.LastLSN() - 1)
				}
				g.fill(wal.LSN(4+rng.IntN(4)), size)
				if rng.IntN(2) == 0 {
					g.sync()
				}
				g.stop()
				for range 4 {
					g.crashes(rng.IntN(g.rec.Len()+1), 1, func(c crash) { or.check(c) })
				}
				g.discard()
			})
		}
		states += or.states
		f.discard()
	}
	t.Logf("%d states", states)
}
