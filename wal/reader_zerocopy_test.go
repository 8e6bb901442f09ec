package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// Records are read where they lie, inside durability.Guard: a file that
// another process truncates at that time is an error and not the end of the process.
func ExampleReader_ZeroCopy() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, s := range []string{"set x 1", "set y 2", "del x"} {
		if _, err := l.Append([]byte(s)); err != nil {
			log.Fatal(err)
		}
	}
	r := l.Reader(0).ZeroCopy()
	defer func() { _ = r.Close() }()
	sets := 0
	for r.Next() {
		err := durability.Guard(func() error {
			if bytes.HasPrefix(r.Record(), []byte("set ")) {
				sets++
			}
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(sets, "sets,", r.Err())
	// Output: 2 sets, <nil>
}

// TestZeroCopyTruncatedFile truncates the file below a record that is held: the
// caller's own load is an error in Guard, and names the file.
func TestZeroCopyTruncatedFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	appendRecords(t, l, 2, 20000)
	r := l.Reader(2).ZeroCopy()
	defer r.Close()
	if !r.Next() {
		t.Fatal(r.Err())
	}
	if err = os.Truncate(filepath.Join(dir, firstName), 4096); err != nil {
		t.Fatal(err)
	}
	sum := 0
	err = durability.Guard(func() error {
		for _, b := range r.Record() {
			sum += int(b)
		}
		return nil
	})
	var fault *durability.FaultError
	if !errors.As(err, &fault) || !strings.HasSuffix(fault.File, firstName) {
		t.Fatalf("a load of what is gone: %v, sum %d", err, sum)
	}
}

// wantHeld wants a record that a reader holds to be what it was.
func wantHeld(t *testing.T, what string, r *wal.Reader, lsn wal.LSN, size int) {
	t.Helper()
	err := durability.Guard(func() error {
		if r.LSN() != lsn || !bytes.Equal(r.Record(), record(lsn, size)) {
			return errors.New("it is another")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: record %d that is held: %v", what, lsn, err)
	}
}

// TestZeroCopyPins holds a record while its segment is retired, evicted,
// truncated, and would be recycled, and the log closed.
func TestZeroCopyPins(t *testing.T) {
	const size = 20000
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, size)
	tail := l.Reader(1).ZeroCopy()
	if !tail.Next() {
		t.Fatal(tail.Err())
	}
	appendRecords(t, l, 3*(wal.MaxMapped+10), size)
	if err = l.Sync(); err != nil { // retires all but the tail
		t.Fatal(err)
	}
	wantHeld(t, "retired", tail, 1, size)
	old := l.Reader(4).ZeroCopy() // mapped for reading
	if !old.Next() {
		t.Fatal(old.Err())
	}
	wantRecords(t, l, 1, l.LastLSN(), size) // evicts
	wantHeld(t, "evicted", old, 4, size)
	wantHeld(t, "evicted", tail, 1, size)
	for range 20 {
		if err = l.TruncateFront(l.FirstLSN() + 3); err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 3, size)
	}
	if l.Stats().Recycled == 0 {
		t.Error("no segment was recycled")
	}
	wantHeld(t, "truncated", old, 4, size)
	wantHeld(t, "truncated", tail, 1, size)
	last := l.Reader(l.LastLSN()).ZeroCopy()
	if !last.Next() {
		t.Fatal(last.Err())
	}
	lsn := last.LSN()
	before := mappings(t, dir)
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, "closed", old, 4, size)
	wantHeld(t, "closed", tail, 1, size)
	wantHeld(t, "closed", last, lsn, size)
	if n := mappings(t, dir); n != 3 {
		t.Errorf("%d mappings of the closed log, %d before: three readers hold one each", n, before)
	}
	if tail.Next() || !errors.Is(tail.Err(), wal.ErrClosed) || tail.Record() != nil {
		t.Errorf("next of a closed log: %v", tail.Err())
	}
	if err = errors.Join(old.Close(), last.Close()); err != nil {
		t.Error(err)
	}
	if n := mappings(t, dir); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

// mappings counts this process's mappings of a directory's segments.
func mappings(t *testing.T, dir string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skipf("no list of mappings: %v", err)
	}
	n := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, dir+"/") {
			n++
		}
	}
	return n
}

// TestZeroCopyHoldsCutsUp cuts behind a record that is held: the cut waits for
// its holder, and one that spares it does not.
func TestZeroCopyHoldsCutsUp(t *testing.T) {
	for name, cut := range map[string]func(*wal.Log) error{
		"back":  func(l *wal.Log) error { return l.TruncateBack(4) },
		"reset": func(l *wal.Log) error { return l.Reset(2) },
	} {
		for _, size := range []int{100, 20000} { // in one segment, in several
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				l, _ := newTestLog(t, small())
				appendRecords(t, l, 9, size)
				r := l.Reader(5).ZeroCopy()
				if !r.Next() {
					t.Fatal(r.Err())
				}
				if err := l.TruncateBack(5); err != nil {
					t.Fatal(err)
				}
				wantHeld(t, "cut behind it", r, 5, size)
				done := startBlocked(t, "awaitUnheld", func() error { return cut(l) })
				wantHeld(t, "during the cut", r, 5, size)
				must(t, r.Close())
				must(t, <-done)
				appendRecords(t, l, 3, size)
			})
		}
	}
}
