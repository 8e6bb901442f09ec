package wal_test

import (
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// openReader opens a log for reading.
func openReader(t testing.TB, dir string) *wal.LogReader {
	t.Helper()
	o, err := wal.OpenReader(dir)
	if err != nil {
		t.Fatalf("open reader: %v", err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil && !errors.Is(err, wal.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return o
}

// wantBeside reads all records that a LogReader has, and gets them.
func wantBeside(t *testing.T, what string, o *wal.LogReader, first, last wal.LSN, size int) {
	t.Helper()
	if o.FirstLSN() != first || o.LastLSN() != last {
		t.Fatalf("%s: %d to %d, want %d to %d", what, o.FirstLSN(), o.LastLSN(), first, last)
	}
	r := o.Reader(0)
	defer r.Close()
	for lsn := first; lsn <= last; lsn++ {
		if !r.Next() || r.LSN() != lsn {
			t.Fatalf("%s: record %d of %d is not there: %v", what, lsn, last, r.Err())
		}
		wantRecord(t, lsn, size, r.Record())
		p, err := o.Get(lsn)
		if err != nil {
			t.Fatalf("%s: get of %d: %v", what, lsn, err)
		}
		wantRecord(t, lsn, size, p)
	}
	if r.Next() || r.Err() != nil {
		t.Fatalf("%s: behind %d: %d, %v", what, last, r.LSN(), r.Err())
	}
	if _, err := o.Get(last + 1); !errors.Is(err, wal.ErrNotFound) {
		t.Fatalf("%s: get of %d: %v", what, last+1, err)
	}
	if _, err := o.Get(first - 1); !errors.Is(err, wal.ErrTruncated) {
		t.Fatalf("%s: get of %d: %v", what, first-1, err)
	}
}

// TestOpenReader reads along concurrently with a writer that rotates, cuts at both ends, is
// reset, closes and comes again.
func TestOpenReader(t *testing.T) {
	const size = 9000
	l, dir := newTestLog(t, small())
	o := openReader(t, dir)
	if !o.Live() {
		t.Error("the log has a writer")
	}
	wantBeside(t, "empty", o, 1, 0, size)
	r := o.Reader(0)
	defer r.Close()
	for lsn := wal.LSN(1); lsn <= 30; lsn++ {
		appendRecords(t, l, 1, size)
		if !r.Next() || r.LSN() != lsn {
			t.Fatalf("record %d is not there: %v", lsn, r.Err())
		}
		wantRecord(t, lsn, size, r.Record())
		if r.Next() || r.Err() != nil {
			t.Fatalf("record %d is there: %v", r.LSN(), r.Err())
		}
	}
	wantBeside(t, "appended", o, 1, 30, size)
	wantBeside(t, "opened late", openReader(t, dir), 1, 30, size)
	for _, c := range []struct {
		what        string
		cut         func() error
		first, last wal.LSN
	}{
		{"front", func() error { return l.TruncateFront(8) }, 8, 30},
		{"back", func() error { return l.TruncateBack(29) }, 8, 29},
		{"back, over segments", func() error { return l.TruncateBack(15) }, 8, 15},
		{"both ends", func() error { return errors.Join(l.TruncateFront(12), l.TruncateBack(13)) }, 12, 13},
		{"reset ahead", func() error { return l.Reset(100) }, 100, 99},
		{"reset back", func() error { return l.Reset(1) }, 1, 0},
		{"all of the front", func() error { return l.TruncateFront(l.LastLSN() + 1) }, 11, 10},
		{"all of the back", func() error { return l.TruncateBack(l.FirstLSN() - 1) }, 11, 10},
	} {
		if err := c.cut(); err != nil {
			t.Fatal(err)
		}
		wantBeside(t, c.what, o, c.first, c.last, size)
		wantBeside(t, c.what+", opened late", openReader(t, dir), c.first, c.last, size)
		appendRecords(t, l, 10, size)
		wantBeside(t, c.what+", appended", o, c.first, c.last+10, size)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	first, last := l.FirstLSN(), l.LastLSN()
	if o.Live() {
		t.Error("the log has no writer")
	}
	wantBeside(t, "closed", o, first, last, size)
	late := openReader(t, dir)
	wantBeside(t, "closed, opened late", late, first, last, size)
	if late.DurableLSN() != last {
		t.Errorf("durable is %d of %d", late.DurableLSN(), last)
	}
	l = openLog(t, dir, small())
	appendRecords(t, l, 20, size)
	for _, o := range []*wal.LogReader{o, late} {
		wantBeside(t, "reopened", o, first, last+20, size)
	}
}

// TestReaderBesideLosesItsPlace cuts where a reader in another process would
// be: it goes on, or ends with ErrTruncated, as one in the writer's does.
func TestReaderBesideLosesItsPlace(t *testing.T) {
	type cuts func(*wal.Log) error
	for name, c := range map[string]struct {
		cut   cuts
		next  wal.LSN // that a reader behind 6 goes on with; 0: it ends
		fresh bool    // one that returned nothing goes on with 7, too
	}{
		"front, behind it":     {func(l *wal.Log) error { return l.TruncateFront(5) }, 7, true},
		"front, up to it":      {func(l *wal.Log) error { return l.TruncateFront(7) }, 7, true},
		"front, before it":     {func(l *wal.Log) error { return l.TruncateFront(8) }, 0, false},
		"back, before it":      {func(l *wal.Log) error { return l.TruncateBack(7) }, 7, true},
		"back, up to it":       {func(l *wal.Log) error { return l.TruncateBack(6) }, 7, true},
		"back, behind it":      {func(l *wal.Log) error { return l.TruncateBack(5) }, 0, true},
		"back, far behind it":  {func(l *wal.Log) error { return l.TruncateBack(1) }, 0, true},
		"reset to its next":    {func(l *wal.Log) error { return l.Reset(7) }, 0, true},
		"reset behind it":      {func(l *wal.Log) error { return l.Reset(2) }, 0, true},
		"reset before it":      {func(l *wal.Log) error { return l.Reset(40) }, 0, false},
		"back and front again": {func(l *wal.Log) error { return errors.Join(l.TruncateBack(3), more(l, 9), l.TruncateFront(7)) }, 0, true},
	} {
		for _, size := range []int{100, 20000} { // in one segment, in several
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dir := fastDir(t) + "/log"
				l := openLog(t, dir, small())
				o := openReader(t, dir)
				if err := moreOf(l, 9, size); err != nil {
					t.Fatal(err)
				}
				placed, fresh, local := o.Reader(5), o.Reader(7), l.Reader(5)
				defer placed.Close()
				defer fresh.Close()
				for range 2 {
					if !placed.Next() || !local.Next() {
						t.Fatal(placed.Err(), local.Err())
					}
				}
				if err := c.cut(l); err != nil {
					t.Fatal(err)
				}
				if err := moreOf(l, 20, size); err != nil {
					t.Fatal(err)
				}
				for what, r := range map[string]*wal.Reader{"placed": placed, "local": local} {
					switch {
					case c.next == 0 && (r.Next() || !errors.Is(r.Err(), wal.ErrTruncated)):
						t.Fatalf("%s: record %d, %v, want ErrTruncated", what, r.LSN(), r.Err())
					case c.next != 0 && (!r.Next() || r.LSN() != c.next):
						t.Fatalf("%s: record %d, %v, want %d", what, r.LSN(), r.Err(), c.next)
					}
				}
				switch {
				case c.fresh && (!fresh.Next() || fresh.LSN() != 7):
					t.Fatalf("fresh: record %d, %v", fresh.LSN(), fresh.Err())
				case !c.fresh && (fresh.Next() || !errors.Is(fresh.Err(), wal.ErrTruncated)):
					t.Fatalf("fresh: record %d, %v, want ErrTruncated", fresh.LSN(), fresh.Err())
				case c.fresh:
					want, err := l.Get(7)
					if err != nil || string(want) != string(fresh.Record()) {
						t.Fatalf("fresh: another record 7, %v", err)
					}
				}
			})
		}
	}
}

// more and moreOf append records that differ from those before them.
func more(l *wal.Log, n int) error { return moreOf(l, n, 100) }

func moreOf(l *wal.Log, n, size int) error {
	for range n {
		p := record(l.LastLSN()+1, size)
		p[0] = byte(l.Stats().Records)
		if _, err := l.Append(p); err != nil {
			return err
		}
	}
	return nil
}
