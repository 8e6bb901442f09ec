package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestGet reads records in no order, from all segments, before and after the
// log is opened again, by many at once.
func TestGet(t *testing.T) {
	const n, size = 3000, 700
	l, dir := newTestLog(t, small())
	appendRecords(t, l, n, size)
	check := func(l *wal.Log) {
		t.Helper()
		rng := newRand(newSeed(t))
		for range 4 {
			order := rng.Perm(n)
			var wg sync.WaitGroup
			for part := range 4 {
				wg.Go(func() {
					for _, i := range order[part*200 : part*200+200] {
						lsn := wal.LSN(i + 1)
						p, err := l.Get(lsn)
						if err != nil || string(p) != string(record(lsn, size)) {
							t.Errorf("get of record %d: %d bytes, %v", lsn, len(p), err)
							return
						}
					}
				})
			}
			wg.Wait()
		}
		for _, lsn := range []wal.LSN{1, 2, n - 1, n} {
			if p, err := l.Get(lsn); err != nil || string(p) != string(record(lsn, size)) {
				t.Errorf("get of record %d: %v", lsn, err)
			}
		}
		if _, err := l.Get(0); !errors.Is(err, wal.ErrTruncated) {
			t.Errorf("get of record 0: %v, want ErrTruncated", err)
		}
		for _, lsn := range []wal.LSN{n + 1, 1 << 63} {
			if _, err := l.Get(lsn); !errors.Is(err, wal.ErrNotFound) {
				t.Errorf("get of record %d: %v, want ErrNotFound", lsn, err)
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	check(l)
	appendRecords(t, l, 1, size)
	if p, err := l.Get(n + 1); err != nil || string(p) != string(record(n+1, size)) {
		t.Errorf("get of the new record: %v", err)
	}
	// A copy is the caller's.
	p, err := l.Get(5)
	if err != nil {
		t.Fatal(err)
	}
	clear(p)
	if p, err = l.Get(5); err != nil || string(p) != string(record(5, size)) {
		t.Errorf("get of record 5 again: %v", err)
	}
}

// TestGetReadsNoMoreThanItNeeds ruins, under an open log, what a record's
// reading has no business with: all segments but its own, and in its own, once
// it was read from, all but its surroundings.
func TestGetReadsNoMoreThanItNeeds(t *testing.T) {
	s := rotated(t)
	l, err := wal.Open(s.dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ruin := func(name string, from, to int64) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		junk := make([]byte, to-from)
		for i := range junk {
			junk[i] = 0xbb
		}
		if _, err := f.WriteAt(junk, from); err != nil {
			t.Fatal(err)
		}
	}
	get := func(lsn wal.LSN) {
		t.Helper()
		p, err := l.Get(lsn)
		if err != nil {
			t.Fatalf("get of record %d: %v", lsn, err)
		}
		wantRecord(t, lsn, 10000, p)
	}
	ruin(firstName, frame.DataOffset, wal.MinSegmentBytes)
	ruin(secondName, frame.DataOffset, wal.MinSegmentBytes)
	get(12)
	ruin(thirdName, frame.DataOffset, frame.DataOffset+10024)
	get(12)
	get(14)
	var c *wal.CorruptError
	if _, err := l.Get(6); !errors.As(err, &c) || c.File != secondName || c.Offset != frame.DataOffset || c.FirstLSN != 6 {
		t.Errorf("get of a ruined record: %v", err)
	}
}

// TestReader reads along with the appender, from any place.
func TestReader(t *testing.T) {
	l, dir := newTestLog(t, small())
	r := l.Reader(0)
	if r.Next() || r.Err() != nil {
		t.Fatalf("an empty log has record %d, %v", r.LSN(), r.Err())
	}
	for lsn := wal.LSN(1); lsn <= 40; lsn++ {
		appendRecords(t, l, 1, 5000)
		if !r.Next() || r.LSN() != lsn {
			t.Fatalf("record %d is not there: %v", lsn, r.Err())
		}
		wantRecord(t, lsn, 5000, r.Record())
		if r.Next() || r.Err() != nil {
			t.Fatalf("record %d is there: %v", r.LSN(), r.Err())
		}
	}
	if err := r.Close(); err != nil || r.Next() {
		t.Errorf("closed: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	for first := wal.LSN(1); first <= 40; first += 3 {
		wantRecords(t, l, first, 40, 5000)
	}
	future := l.Reader(42)
	if future.Next() || future.Err() != nil {
		t.Fatalf("record 42: %v", future.Err())
	}
	appendRecords(t, l, 3, 5000)
	for _, lsn := range []wal.LSN{42, 43} {
		if !future.Next() || future.LSN() != lsn {
			t.Fatalf("record %d: %d, %v", lsn, future.LSN(), future.Err())
		}
		wantRecord(t, lsn, 5000, future.Record())
	}
}

// TestDamagedHeadIsNamed gets a record from a segment whose stamp was damaged
// under an open log: the error says in which file of which directory.
func TestDamagedHeadIsNamed(t *testing.T) {
	l, dir := newTestLog(t, small())
	for len(l.Segments()) < 4 {
		appendRecords(t, l, 50, 500)
	}
	if err := l.Sync(); err != nil { // which gives up the mappings of full segments
		t.Fatal(err)
	}
	s := &specimen{t: t, dir: dir}
	before := s.get(firstName)
	f, err := os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err = f.WriteAt([]byte("x"), frame.StampOffset); err != nil {
		t.Fatal(err)
	}
	var c *wal.CorruptError
	_, err = l.Get(1)
	if !errors.As(err, &c) || c.Dir != dir || c.File != firstName || c.Offset != frame.StampOffset {
		t.Errorf("get: %v, %+v", err, c)
	}
	if _, err = f.WriteAt(before[:frame.DataOffset], 0); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, l, 1, l.LastLSN(), 500)
}

// TestGetBehindACutAfterAMark cuts where places that Get starts from were noted
// before the cut: the one behind the last record that stays lay behind a mark,
// which the cut took.
func TestGetBehindACutAfterAMark(t *testing.T) {
	o := small()
	o.Align = wal.AlignSector
	l, dir := newTestLog(t, o)
	size := 16<<10 - 8 - frame.HeaderBytes // the mark behind it ends 16 KiB farther
	appendRecords(t, l, 1, size)
	must(t, l.Sync())
	appendRecords(t, l, 2, 20000) // the second one in another segment
	must(t, l.Close())
	l = openLog(t, dir, o)
	get := func(lsn wal.LSN, size int) {
		t.Helper()
		p, err := l.Get(lsn)
		must(t, err)
		wantRecord(t, lsn, size, p)
	}
	get(1, size)
	must(t, l.TruncateBack(1))
	appendRecords(t, l, 1, 50)
	get(2, 50)
}
