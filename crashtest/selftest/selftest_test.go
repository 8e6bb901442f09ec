//go:build linux

package selftest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/selftest"
	"github.com/seawall-wal/seawall/crashtest/truncate"
)

// search has one variant searched.
func search(t *testing.T, v selftest.Variant, states int64) *selftest.Outcome {
	t.Helper()
	outcomes, err := selftest.Run(t.Context(), []selftest.Variant{v}, selftest.Options{Seed: 1, States: states, TwinStates: 100})
	if err != nil || len(outcomes) != 1 {
		t.Fatal(outcomes, err)
	}
	return &outcomes[0]
}

// named returns the variant of a name.
func named(t *testing.T, name string) selftest.Variant {
	t.Helper()
	all := selftest.Variants()
	i := slices.IndexFunc(all, func(v selftest.Variant) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("no variant is called %s", name)
	}
	return all[i]
}

// TestVariants: the list has what it is to have. That each is found is for
// `seawall crash selftest` to show.
func TestVariants(t *testing.T) {
	variants := selftest.Variants()
	if len(variants) < 30 {
		t.Errorf("%d variants", len(variants))
	}
	broken := map[campaign.Clause]bool{}
	seen := map[string]bool{}
	for _, v := range variants {
		if v.What == "" || v.Campaign() == "model" && (v.Subject().Name() != v.Name || selftest.Find(v.Name) == nil || selftest.Find(v.Twin().Name()) == nil) {
			t.Errorf("%+v", v)
		}
		for _, key := range []string{v.Name, v.What} {
			if seen[key] {
				t.Errorf("there are two of %q", key)
			}
			seen[key] = true
		}
		broken[v.Clause] = true
	}
	for n := 1; n <= 10; n++ {
		if c := campaign.Clause(fmt.Sprintf("C%d", n)); !broken[c] {
			t.Errorf("none breaks %s", c)
		}
	}
}

// TestFoundAgain finds one of each kind, nothing in their twins, and the same again by
// their tokens.
func TestFoundAgain(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rename-before-fsync", "sync-retried", "files-unchecked", "cut-unseen"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := search(t, named(t, name), 20_000)
			if !o.Passed() {
				t.Fatalf("%+v, %+v", o.Finding, o.TwinFinding)
			}
			f, err := model.Replay(t.Context(), o.Token, "", selftest.Find)
			if err != nil || f == nil || f.Summary != o.Finding.Summary {
				t.Errorf("replayed: %+v, %v; found: %s", f, err, o.Finding.Summary)
			}
		})
	}
}

// TestTruncated finds what is searched by changing files, and nothing in its twin, and the
// same again by its token.
func TestTruncated(t *testing.T) {
	t.Parallel()
	o := search(t, named(t, truncate.Unguarded), 400)
	if !o.Passed() || o.Campaign != "truncate" || o.TwinStates != 18 {
		t.Fatalf("%+v, %+v", o.Finding, o.TwinFinding)
	}
	r, err := truncate.Replay(t.Context(), o.Token, truncate.Options{})
	if err != nil || len(r.Findings) == 0 {
		t.Errorf("replayed: %+v, %v; found: %s", r, err, o.Finding.Summary)
	}
}

// TestMain lets a campaign's children, which are this binary, do their work.
func TestMain(m *testing.M) {
	truncate.BeChild()
	if blockdev.Ready() == nil { // no test of another package copies the mounts of this one then
		if err := blockdev.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestPlanted plants a fault that is not listed, and sees it found.
func TestPlanted(t *testing.T) {
	t.Parallel()
	if o := search(t, selftest.Planted(), 20_000); !o.Passed() {
		t.Errorf("%+v, %+v", o.Finding, o.TwinFinding)
	}
}

// TestMended takes a listed fault away, and sees the self-test fail.
func TestMended(t *testing.T) {
	t.Parallel()
	if o := search(t, selftest.Mended(named(t, "no-msync")), 300); o.Passed() || o.Found || !o.TwinClean || o.Token != "" {
		t.Errorf("%+v", o)
	}
}

// TestAccepting has an oracle accept everything, and sees the self-test fail.
func TestAccepting(t *testing.T) {
	t.Parallel()
	if o := search(t, selftest.Accepting(named(t, "no-msync")), 300); o.Passed() || o.Found {
		t.Errorf("%+v", o)
	}
}

// TestCancelled ends a self-test.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o := selftest.Options{Seed: 1, States: 20_000, TwinStates: 50, Progress: func(int, int, *selftest.Outcome) { cancel() }}
	outcomes, err := selftest.Run(ctx, selftest.Variants()[:3], o) // one may end together with the first
	if !errors.Is(err, context.Canceled) || len(outcomes) == 0 || len(outcomes) == 3 {
		t.Errorf("%d outcomes, %v", len(outcomes), err)
	}
}

// TestSameOnAnyCores searches a log whose lives end with what the kernel refuses on
// one processor and on two: it tells the same.
func TestSameOnAnyCores(t *testing.T) {
	var want string
	for _, procs := range []int{1, 2, 2} {
		before := runtime.GOMAXPROCS(procs)
		o := search(t, named(t, "poison-forgotten"), 5000)
		runtime.GOMAXPROCS(before)
		if o.Finding == nil {
			t.Fatal("nothing is found")
		}
		got := fmt.Sprintf("%d states: %s, %s", o.States, o.Finding.Summary, o.Token)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("with %d processors: %s\nbefore: %s", procs, got, want)
		}
	}
}

// TestOldFaults puts back two faults that the log had, and that reading found before
// the lab did: a head that Open believed unsynced, and a front that only a removed file
// named. They are found from every seed: of twenty with SEAWALL_BUDGET, else of one for
// the one that shows soon. `make selftest` finds both from a seed of its own.
func TestOldFaults(t *testing.T) {
	t.Parallel()
	names, seeds := []string{"head-unsynced"}, 1
	if os.Getenv("SEAWALL_BUDGET") != "" {
		names, seeds = append(names, "front-unnamed"), 20
	}
	for _, name := range names {
		for n := range seeds {
			o := selftest.Options{Seed: uint64(7 + n), States: 200_000, TwinStates: 50}
			outcomes, err := selftest.Run(t.Context(), []selftest.Variant{named(t, name)}, o)
			if err != nil || len(outcomes) != 1 || !outcomes[0].Passed() {
				t.Fatalf("%s, seed %d: %+v, %v", name, o.Seed, outcomes, err)
			}
			t.Logf("%s, seed %d: %d states", name, o.Seed, outcomes[0].States)
		}
	}
}
