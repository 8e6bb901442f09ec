package wal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// randomOptions returns some of the options that change what is on the disk.
func randomOptions(rng *rand.Rand) wal.Options {
	o := withMin(wal.Options{
		Align:         wal.Align(rng.IntN(3)),
		SegmentsAhead: 1 + rng.IntN(3),
	})
	switch rng.IntN(4) {
	case 0:
		o.Sync = wal.SyncEach
	case 1:
		o.Sync = wal.SyncEvery(200 * time.Microsecond)
	}
	if rng.IntN(3) == 0 {
		o.SegmentBytes += 4096 * int64(rng.IntN(8))
	}
	return o
}

// size returns a record's size: mostly small, sometimes one that fills pages or
// nearly a segment.
func size(rng *rand.Rand) int {
	switch rng.IntN(12) {
	case 0:
		return 0
	case 1:
		return 8 * rng.IntN(30)
	case 2, 3:
		return rng.IntN(9000)
	case 4:
		return rng.IntN(40000)
	default:
		return rng.IntN(400)
	}
}

// work does n random things to the log.
func (f *life) work(n int) {
	f.t.Helper()
	for range n {
		switch f.rng.IntN(20) {
		case 0, 1, 2:
			f.sync()
		case 3:
			f.checkpoint()
		case 4:
			f.close()
			f.change()
			f.open()
		case 8:
			f.cutRandomly()
		case 5, 6, 7:
			sizes := make([]int, 2+f.rng.IntN(4))
			for i := range sizes {
				sizes[i] = size(f.rng) / 4
			}
			f.appendBatch(sizes...)
		default:
			f.append(size(f.rng))
		}
	}
}

// cutRandomly cuts the log at one of its ends, or resets it.
func (f *life) cutRandomly() {
	f.t.Helper()
	first, last := f.log.FirstLSN(), f.log.LastLSN()
	n := f.rng.IntN(int(last-first) + 2)
	switch f.rng.IntN(5) {
	case 0, 1:
		f.truncateFront(first + wal.LSN(n))
	case 2, 3:
		f.truncateBack(last - wal.LSN(n))
	default:
		f.reset(1 + wal.LSN(f.rng.IntN(50)))
	}
}

// change changes options that a log may be reopened with.
func (f *life) change() {
	f.opts.SegmentsAhead = 1 + f.rng.IntN(3)
	f.opts.Align = wal.Align(f.rng.IntN(3))
	f.opts.SegmentBytes = wal.MinSegmentBytes + 4096*int64(f.rng.IntN(3))
}

// TestCrashRandom crashes random lives at random events, in generations: each
// recovers what the one before it left and goes on.
func TestCrashRandom(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states, distinct, lives := 0, 0, 0
	points := 8
	if thorough() {
		points = 30
	}
	for round := range rounds(t, 2, 25) {
		rng := newRand(seed + uint64(round))
		o := randomOptions(rng)
		f := newLife(t, o, rng)
		or := newOracle(t, o)
		for range 3 {
			lives++
			f.open()
			f.work(4 + rng.IntN(30))
			f.stop()
			var next crash
			for range points {
				f.crashes(rng.IntN(f.rec.Len()+1), 4, func(c crash) {
					or.check(c)
					if rng.IntN(40) == 0 || next.state == nil {
						next = c
					}
				})
			}
			f = or.goOnFrom(f, next)
		}
		states, distinct = states+or.states, distinct+or.distinct
	}
	t.Logf("%d lives, %d states, %d distinct", lives, states, distinct)
}

// goOnFrom returns a life that begins with the state that f's crash left.
func (o *oracle) goOnFrom(f *life, c crash) *life {
	o.t.Helper()
	m := c.mark
	if !c.killed {
		m.forget()
	}
	m.records = m.until(m.begun())
	next := newLifeAfter(o.t, f.opts, f.rng, c.state, m, fastDir(o.t))
	next.before = c.words
	return next
}

// TestCrashHoldsBackOne crashes a small life at each event with everything
// kept but one sector, word, size or directory operation: the single omission
// is what a missing sync or a wrong order shows in.
func TestCrashHoldsBackOne(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), rng)
	f.open()
	f.append(100)
	f.sync()
	f.appendBatch(20, 900, 40)
	f.checkpoint()
	f.append(30000)
	f.sync()
	f.append(30000)
	f.append(10)
	f.sync()
	f.append(20)
	f.close()
	f.open()
	f.append(30)
	f.stop()
	or := newOracle(t, f.opts)
	places := rng.Perm(f.rec.Len() + 1)
	done := 0
	for n := range rounds(t, 15, 10) {
		if n >= len(places) {
			break
		}
		done++
		or.holdBackEach(f, places[n])
	}
	or.report(fmt.Sprintf("%d of %d events", done, len(places)))
}

// holdBackEach judges what a power loss after so many events leaves, with
// everything kept but one choice, for each of them.
func (o *oracle) holdBackEach(f *life, at int) {
	o.t.Helper()
	for i := 0; o.holdBack(f, at, i); {
		i++
	}
}

// holdBack judges what a power loss after so many events leaves, with everything
// kept but one choice, and reports whether there are so many. Names come first.
func (o *oracle) holdBack(f *life, at, choice int) bool {
	o.t.Helper()
	hold := &durabilitytest.HoldBack{Index: choice}
	state := f.rec.Crash(f.root, at, hold)
	if !hold.Hit() {
		return false
	}
	o.check(crash{state: state, mark: f.known(at), words: func() string {
		return fmt.Sprintf("power loss after %d of %d events, choice %d held back:\n%s", at, f.rec.Len(), choice, f.describe(at))
	}})
	return true
}

// TestCrashThenTheSameAgain appends behind a recovery the very bytes that it
// cut: what was behind them must not be chained to them again.
func TestCrashThenTheSameAgain(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states := 0
	points := 3
	if thorough() {
		points = 10
	}
	for round := range rounds(t, 2, 10) {
		rng := newRand(seed + uint64(round))
		o := withMin(wal.Options{SegmentsAhead: 1, Align: wal.Align(rng.IntN(3))})
		f := newLife(t, o, rng)
		f.open()
		tag := f.tag
		n := []int{3, 40}[round%2]
		f.append(500)
		f.sync()
		for range n {
			f.append(900)
		}
		f.stop()
		or := newOracle(t, o)
		for range points {
			at := f.rec.Len() - rng.IntN(2*n)
			f.crashes(at, 2, func(c crash) {
				or.check(c)
				g := or.goOnFrom(f, c)
				g.tag = tag
				g.open()
				for range 1 + rng.IntN(2*n) {
					g.append(900)
				}
				if rng.IntN(2) == 0 {
					g.sync()
				}
				g.stop()
				for range 6 {
					g.crashes(rng.IntN(g.rec.Len()+1), 2, func(c crash) { or.check(c) })
				}
				g.discard()
			})
		}
		states += or.states
	}
	t.Logf("%d states", states)
}
