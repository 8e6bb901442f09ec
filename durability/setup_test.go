package durability_test

import (
	"errors"
	"os"
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
