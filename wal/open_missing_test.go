package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
)

// TestMustExist opens what is there, and makes nothing where nothing is.
func TestMustExist(t *testing.T) {
	o := small()
	o.MustExist = true
	root := t.TempDir()
	missing, empty, other := filepath.Join(root, "missing"), filepath.Join(root, "empty"), filepath.Join(root, "other")
	for _, dir := range []string{empty, other} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(other, "notes.txt"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := readDir(t, root)
	for _, dir := range []string{missing, empty, other} {
		if _, err := wal.Open(dir, o); !errors.Is(err, wal.ErrMissing) {
			t.Errorf("open of %s: %v", dir, err)
		}
	}
	unchanged(t, "the refused open", root, before)
	// What a first Open left that died early is no log either.
	for _, name := range []string{lockFile, "0000000000000001.tmp"} {
		if err := os.WriteFile(filepath.Join(empty, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := wal.Open(empty, o); !errors.Is(err, wal.ErrMissing) {
			t.Errorf("open of a directory with %s: %v", name, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}

	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, o)
	wantRecords(t, l, 1, 3, 10)
}

// TestSegments lists segments as records fill them, as a cut takes them away,
// and as they are found again.
func TestSegments(t *testing.T) {
	l, dir := newTestLog(t, small())
	want := func(l *wal.Log, want ...wal.Segment) {
		t.Helper()
		for i := range want {
			want[i].Bytes = wal.MinSegmentBytes
		}
		if d := cmp.Diff(want, l.Segments()); d != "" {
			t.Errorf("segments (-want +got):\n%s", d)
		}
	}
	want(l, wal.Segment{Name: firstName, FirstLSN: 1})
	appendRecords(t, l, 5, 20000) // two fill a segment
	want(l, wal.Segment{Name: firstName, FirstLSN: 1}, wal.Segment{Name: secondName, FirstLSN: 3}, wal.Segment{Name: thirdName, FirstLSN: 5})
	if err := l.TruncateFront(3); err != nil {
		t.Fatal(err)
	}
	want(l, wal.Segment{Name: secondName, FirstLSN: 3}, wal.Segment{Name: thirdName, FirstLSN: 5})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	want(l, wal.Segment{Name: secondName, FirstLSN: 3}, wal.Segment{Name: thirdName, FirstLSN: 5})
	if err := l.TruncateBack(3); err != nil {
		t.Fatal(err)
	}
	want(l, wal.Segment{Name: secondName, FirstLSN: 3})
}
