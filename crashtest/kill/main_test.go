//go:build linux

package kill_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// labEnv makes this binary a process that runs a campaign below the directory
// that it names, until it is ended.
const labEnv = "SEAWALL_KILL_TEST_LAB"

// TestMain lets the campaigns' children, which are this binary, do their work.
func TestMain(m *testing.M) {
	kill.BeChild(slices.Collect(maps.Values(subjects()))...)
	if dir := os.Getenv(labEnv); dir != "" {
		_, err := kill.Run(context.Background(), kill.Options{
			Limits: campaign.Limits{Dir: dir}, Subject: &seawall.Log{}, Blind: true,
			OnKill: func(kill.Kill) { fmt.Println("killed") },
		})
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newSeed returns a test's seed: always the same one, unless SEAWALL_SEED is
// another, or random. It prints it where the test fails.
func newSeed(t testing.TB) uint64 {
	t.Helper()
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name()))
	seed := uint64(h.Sum32())
	switch s := os.Getenv("SEAWALL_SEED"); s {
	case "":
	case "random":
		seed = uint64(rand.Uint32())
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

// thorough reports whether a test is to do all that it can, and how long.
func thorough() bool { return os.Getenv("SEAWALL_BUDGET") != "" }

// times returns how often a test does a thing: less by default.
func times(usually, thoroughly uint64) uint64 {
	if thorough() {
		return thoroughly
	}
	return usually
}

// fastDir returns a directory in memory, where there is one: SIGKILL leaves the
// page cache alone, whatever lies below it. It must be empty when the test ends.
func fastDir(t testing.TB) string {
	t.Helper()
	base := "/dev/shm"
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "seawall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mustBeEmpty(t, dir)
		mustBeAlone(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mustBeEmpty fails the test where a campaign has left files.
func mustBeEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind in %s: %v, %v", dir, entries, err)
	}
}

// mustBeAlone fails the test where a campaign has left processes.
func mustBeAlone(t testing.TB, dir string) {
	t.Helper()
	if left := processesOf(dir); len(left) > 0 {
		t.Errorf("left behind: processes %v", left)
	}
}

// processesOf returns the processes, zombies aside, that have a directory in their
// environment's lives or in their arguments.
func processesOf(dir string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		child := strings.Contains(string(env), "SEAWALL_KILL_CHILD=") && strings.Contains(string(env), dir+"/")
		if child || strings.Contains(string(args), dir+"/") {
			found = append(found, p)
		}
	}
	return found
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cannot ends a test that this environment cannot run: skipped, or, where CI
// promises the environment, failed.
func cannot(t testing.TB, why any) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatalf("must run in CI: %v", why)
	}
	t.Skip(why)
}

// mustTrace ends a test that needs kills within a copy, where ptrace is not
// permitted.
func mustTrace(t testing.TB, r *kill.Result) {
	t.Helper()
	for _, note := range r.Notes {
		if strings.HasPrefix(note, "ptrace ") {
			cannot(t, note)
		}
	}
}
