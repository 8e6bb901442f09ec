package durability_test

import (
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
)

// page is the size of a VM page on this machine.
var page = int64(os.Getpagesize())

// cannot ends a test that this environment cannot run: skipped, or, where CI
// promises the environment, failed.
func cannot(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatal("must run in CI: " + why)
	}
	t.Skip(why)
}

// newRand returns a generator for the test's choices. By default they are the
// same each time, and those of this test alone; SEAWALL_SEED, a number or the
// word random, chooses others.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name())) // it never fails
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
	return rand.New(rand.NewPCG(seed, 0))
}

// tries is how often a test asks again about pages that the kernel may write
// back or drop on its own account, between two calls of the test: anybody may
// call sync(2), and memory may be short. That this happens each time is no more
// likely than that the machine does nothing else.
const tries = 1000

// pagesUntil does something, and asks the page cache about n bytes at off, until
// the answer is one that nobody else's doing can have prevented.
func pagesUntil(t testing.TB, f *durability.File, off, n int64, do func() error, ok func(durability.PageCache) bool) {
	t.Helper()
	var pc durability.PageCache
	for range tries {
		must(t, do())
		var err error
		pc, err = f.PageCache(off, n)
		must(t, err)
		if pc.Known != durability.Known {
			cannot(t, "needs cachestat(2): "+pc.Reason)
		}
		if ok(pc) {
			return
		}
	}
	t.Errorf("%s [%d, +%d): after %d tries %+v", f.Name(), off, n, tries, pc)
}

// dropped drops a file from the page cache. A page that another processor still
// holds for a moment stays, and is asked for again.
func dropped(t testing.TB, f *durability.File) {
	t.Helper()
	pagesUntil(t, f, 0, 0, func() error { return f.DropCache(0, 0) },
		func(pc durability.PageCache) bool { return pc.Cached == 0 })
}

// newDir opens a new directory that ends with the test.
func newDir(t testing.TB, tracer durability.Tracer) *durability.Dir {
	t.Helper()
	return openDir(t, t.TempDir(), tracer)
}

// openDir opens a directory until the test ends.
func openDir(t testing.TB, path string, tracer durability.Tracer) *durability.Dir {
	t.Helper()
	d, err := durability.OpenDir(path, tracer)
	must(t, err)
	t.Cleanup(func() { closed(t, d.Close()) })
	return d
}

// newFile creates a file of zeros with blocks behind them.
func newFile(t testing.TB, d *durability.Dir, name string, size int64) *durability.File {
	t.Helper()
	f, err := d.Create(name, 0o644)
	must(t, err)
	t.Cleanup(func() { closed(t, f.Close()) })
	if size > 0 {
		must(t, f.Allocate(size, durability.AllocateOptions{}))
	}
	return f
}

// mapFile maps a file for writing until the test ends.
func mapFile(t testing.TB, f *durability.File, size int64) *durability.Mapping {
	t.Helper()
	m, err := f.Map(size, true)
	must(t, err)
	t.Cleanup(func() { must(t, m.Unmap()) })
	return m
}

// closed fails the test unless the close went well, or was done already.
func closed(t testing.TB, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, durability.ErrClosed) {
		t.Error(err)
	}
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErr fails the test unless the error matches the target and says all of
// the words.
func wantErr(t testing.TB, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want one that matches %q", err, target)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// equateErrors compares errors as errors.Is does.
var equateErrors = cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || errors.Is(b, a) })
