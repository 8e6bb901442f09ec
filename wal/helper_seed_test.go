package wal_test

import (
	"hash/fnv"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// By default the tests of this package are the same in every run: each has a
// seed of its own, and does a fixed number of rounds, whatever the machine is
// and does beside. Two variables of the environment change that:
//
//   - SEAWALL_SEED, a number or the word random, is the seed of all tests.
//   - SEAWALL_BUDGET, a duration, is how long all tests that can go on for ever
//     go on together. Where it is set, tests that enumerate leave nothing out.

// thorough reports whether a budget is set, and nothing is to be left out.
func thorough() bool { return os.Getenv("SEAWALL_BUDGET") != "" }

// deadline returns until when a test goes on, behind what it does in any case,
// that may take so many percent of the budget: a time that is over where none
// is set.
func deadline(t testing.TB, percent int) time.Time {
	t.Helper()
	if !thorough() {
		return time.Time{}
	}
	budget, err := time.ParseDuration(os.Getenv("SEAWALL_BUDGET"))
	if err != nil {
		t.Fatalf("SEAWALL_BUDGET: %v", err)
	}
	return time.Now().Add(budget * time.Duration(percent) / 100)
}

// rounds numbers the rounds of a test: n of them, which must do to reach all
// that the test asks for. Where a budget is set, more follow until so many
// percent of it are over.
func rounds(t testing.TB, n, percent int) iter.Seq[int] {
	t.Helper()
	end := deadline(t, percent)
	return func(yield func(int) bool) {
		for i := 0; i < n || time.Now().Before(end); i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// newSeed returns a test's seed: one that follows from its name, unless
// SEAWALL_SEED says otherwise. It is printed where the test fails.
func newSeed(t testing.TB) uint64 {
	t.Helper()
	h := fnv.New64a()
	_, _ = io.WriteString(h, t.Name())
	seed := h.Sum64()
	switch s := os.Getenv("SEAWALL_SEED"); s {
	case "":
	case "random":
		seed = rand.Uint64()
	default:
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEAWALL_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: SEAWALL_SEED=%d", seed)
		}
	})
	return seed
}

// newRand returns a generator for a seed.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// aligns returns the ways to align that workload i of a test is enumerated
// under: all where a budget is set, else one, so that each way has workloads.
func aligns(i int) []wal.Align {
	all := []wal.Align{wal.AlignFrame, wal.AlignSector, wal.AlignFolio}
	if thorough() {
		return all
	}
	i %= len(all)
	return all[i : i+1]
}

// step is by how many events the moments lie apart at which a life is crashed: one
// where a budget is set; otherwise three, which is less than the steps of a log
// that matter take; and six under the race detector, which makes all ten times as
// slow and has nothing to find in what one goroutine does after another.
func (f *life) step() int {
	switch {
	case thorough():
		return 1
	case raceDetector:
		return 6
	}
	return 3
}

// moments are the numbers of events after which a life is crashed: the first, the
// last, and those between, at steps that begin elsewhere for each life.
func (f *life) moments() iter.Seq[int] {
	step := f.step()
	return func(yield func(int) bool) {
		last := f.rec.Len()
		if !yield(0) {
			return
		}
		for at := 1 + int(f.tag%uint64(step)); at < last; at += step {
			if !yield(at) {
				return
			}
		}
		if last > 0 {
			yield(last)
		}
	}
}
