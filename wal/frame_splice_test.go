package wal_test

import (
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// spliced is a log whose first segment is from before a cut, and all others from
// after it, as a copy may be that was made during the cut: record by record it looks
// whole. It returns the LSN with which the second segment begins.
func spliced(t *testing.T) (*specimen, wal.LSN) {
	t.Helper()
	l, dir := newTestLog(t, small())
	for len(l.Segments()) < 2 {
		appendRecords(t, l, 1, 500)
	}
	next := l.Segments()[1].FirstLSN
	awaitPrepared(t, l, dir) // no file is being made while the directory is read
	before := readDir(t, dir)[firstName]
	if err := l.TruncateBack(next - 5); err != nil {
		t.Fatal(err)
	}
	for len(l.Segments()) < 4 {
		if _, err := l.Append(record(l.LastLSN()+1000, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Segments()[1].FirstLSN; got != next {
		t.Fatalf("the second segment begins with %d, before the cut it did with %d", got, next)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := take(t, dir)
	s.put(firstName, before)
	return s, next
}

// TestReadersCarryTheChain reads a log whose second segment does not follow from
// its first: no reader, of a Log or of a LogReader, goes on from one to the other,
// whether or not what it read last is still mapped.
func TestReadersCarryTheChain(t *testing.T) {
	t.Parallel()
	s, next := spliced(t)
	if rep, err := wal.Verify(s.dir); err != nil || rep.Verdict != wal.Damaged {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
	wantEnd := func(what string, r *wal.Reader, err error) {
		t.Helper()
		for err == nil && r.Next() {
		}
		var c *wal.CorruptError
		if err = errors.Join(err, r.Err()); r.LSN() != next-1 || !errors.As(err, &c) {
			t.Errorf("%s: read up to %d, the second segment begins with %d: %v", what, r.LSN(), next, err)
		}
		if err = r.Close(); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: close: %v", what, err)
		}
	}
	o := openReader(t, s.dir)
	wantEnd("OpenReader", o.Reader(0), nil)
	wantEnd("OpenReader, from the segment's end", o.Reader(next-1), nil)
	l, err := wal.Open(s.dir, small())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer l.Close()
	wantEnd("Reader", l.Reader(0), nil)
	wantEnd("Reader, from the segment's end", l.Reader(next-1), nil)
	wantEnd("Reader without a copy", l.Reader(0).ZeroCopy(), nil)
	r := l.Reader(next - 1)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	wal.Unmap(l)
	wantEnd("Reader whose segment was unmapped", r, nil)
}
