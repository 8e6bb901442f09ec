package durabilitytest

import "fmt"

// Rand makes the choices of a crash state: IntN returns a number in [0, n).
// *rand.Rand of math/rand/v2 is one.
//
// A crash state asks only where there is something to choose, n being at least
// 2, in an order that depends on nothing but the trace, the position and the
// answers given before. The options go from the oldest, 0, to the newest, n-1:
// of a sector's contents, of a file's sizes, and of "missing" and "there". So a
// Rand that always answers n-1 crashes with everything persisted.
type Rand interface {
	IntN(n int) int
}

// CrashMode says how a crash state is chosen among the legal ones.
type CrashMode uint8

const (
	// Mix chooses every sector, word, size and directory operation by itself,
	// with the Rand that is given.
	Mix CrashMode = iota

	// Drop leaves the oldest legal content everywhere: only what syncs made
	// durable.
	Drop

	// Keep leaves the newest content everywhere, operations that were under way
	// included: as if the machine had stopped right after a sync of everything.
	Keep
)

// rand returns the Rand that chooses as the mode says.
func (m CrashMode) rand(rng Rand) Rand {
	switch m {
	case Mix:
		return rng
	case Drop:
		return oldest{}
	case Keep:
		return newest{}
	}
	panic(fmt.Sprintf("durabilitytest: crash mode %d does not exist: use Mix, Drop or Keep", m))
}

type oldest struct{}

func (oldest) IntN(int) int { return 0 }

type newest struct{}

func (newest) IntN(n int) int { return n - 1 }

// HoldBack is a Rand that keeps everything but one choice: the one with the
// number Index, counted from 0, gets its oldest option. Running Index up from 0
// until Hit is false holds back each sector, each word of a store in flight,
// each size and each directory operation once. A HoldBack serves one state.
type HoldBack struct {
	Index int
	calls int
}

// IntN implements Rand.
func (h *HoldBack) IntN(n int) int {
	h.calls++
	if h.calls-1 == h.Index {
		return 0
	}
	return n - 1
}

// Hit reports whether the state had a choice with the number Index.
func (h *HoldBack) Hit() bool { return h.calls > h.Index }

// Odometer is a Rand that runs through every combination of choices, for crash
// states that are few enough to be visited exhaustively:
//
//	var all durabilitytest.Odometer
//	for all.Next() {
//		state := recorder.Crash(dir, at, &all)
//		…
//	}
//
// Different combinations may give the same state. The zero value is ready; it
// must not be used by several goroutines at once.
type Odometer struct {
	wheels  []wheel
	next    int
	started bool
}

// wheel is one choice: its present answer, and the number of its options.
type wheel struct{ answer, n int }

// Next moves on to the next combination, and reports whether there is one.
func (o *Odometer) Next() bool {
	o.next = 0
	if !o.started {
		o.started = true
		return true
	}
	for len(o.wheels) > 0 {
		last := &o.wheels[len(o.wheels)-1]
		if last.answer+1 < last.n {
			last.answer++
			return true
		}
		o.wheels = o.wheels[:len(o.wheels)-1]
	}
	return false
}

// IntN implements Rand. It panics when the same answers lead to another
// question than before: what is enumerated is then not deterministic.
func (o *Odometer) IntN(n int) int {
	if o.next == len(o.wheels) {
		o.wheels = append(o.wheels, wheel{n: n})
	}
	w := o.wheels[o.next]
	if w.n != n {
		panic(fmt.Sprintf("durabilitytest: choice %d had %d options before and has %d now: the state depends on more than the choices", o.next, w.n, n))
	}
	o.next++
	return w.answer
}

// choose asks rng for one of n options; where there is one only, it is taken
// without a question.
func choose(rng Rand, n int) int {
	if n < 2 {
		return 0
	}
	return rng.IntN(n)
}
