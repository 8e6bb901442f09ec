package durabilitytest_test

import (
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// thorough reports whether there is a budget, and nothing is to be left out.
func thorough() bool { return os.Getenv("SEAWALL_BUDGET") != "" }

// seeds are those of a test that goes through many: a few, the same each time,
// or all of them where a budget is set. Under the race detector, which makes each
// ten times as slow, a tenth of the few will do: it has nothing to find in what one
// goroutine does after another. SEAWALL_SEED, a number or the word random,
// is where they begin instead of 0, and fixed is false then: what the test's own
// seeds are known to come to need not be asked of others.
func seeds(t *testing.T, few, all uint64) (each iter.Seq[uint64], fixed bool) {
	t.Helper()
	first, n := uint64(0), few
	sparse := raceDetector && !thorough()
	switch {
	case thorough():
		n = all
	case sparse:
		n = (few + 9) / 10
	}
	switch s := os.Getenv("SEAWALL_SEED"); s {
	case "":
		fixed = !sparse
	case "random":
		first = rand.Uint64N(1 << 32)
	default:
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEAWALL_SEED: %v", err)
		}
	}
	return func(yield func(uint64) bool) {
		for seed := first; seed < first+n; seed++ {
			if !yield(seed) {
				if t.Failed() {
					t.Logf("seed: SEAWALL_SEED=%d", seed)
				}
				return
			}
		}
	}, fixed
}
