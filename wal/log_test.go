package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
)

// small are options under which a few records rotate.
func small() wal.Options { return wal.Options{SegmentBytes: wal.MinSegmentBytes} }

// openLog opens a log and sees to it that it is closed, and then verified in
// full.
func openLog(t testing.TB, dir string, o wal.Options) *wal.Log {
	t.Helper()
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, wal.ErrClosed) && !errors.Is(err, wal.ErrPoisoned) {
			t.Errorf("close: %v", err)
		}
		rep, err := wal.Verify(dir)
		if err != nil {
			t.Errorf("verify: %v", err)
		} else if rep.Verdict != wal.Clean && !t.Failed() {
			t.Errorf("verify after the test: %v, damage %+v", rep.Verdict, rep.Damage)
		}
	})
	return l
}

// logDir returns a directory for a log or its copy. It is in memory, and on the
// disk where a budget is set: most tests ask what a log makes of its bytes, and
// would wait for the disk for nothing. Those that ask for the disk make their own.
func logDir(t testing.TB) string {
	t.Helper()
	if thorough() {
		return t.TempDir()
	}
	return fastDir(t)
}

// newTestLog opens a new log in a directory of its own.
func newTestLog(t testing.TB, o wal.Options) (*wal.Log, string) {
	t.Helper()
	dir := filepath.Join(logDir(t), "log")
	return openLog(t, dir, o), dir
}

// newDiskLog is newTestLog for what only a disk has: pages that are not in the
// page cache.
func newDiskLog(t testing.TB, o wal.Options) (*wal.Log, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	return openLog(t, dir, o), dir
}

// record makes the payload of a record, different for each LSN.
func record(lsn wal.LSN, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(uint64(lsn)*31 + uint64(i)*7 + uint64(i>>8))
	}
	return p
}

// appendRecords appends n records of that size.
func appendRecords(t testing.TB, l *wal.Log, n, size int) {
	t.Helper()
	for range n {
		lsn := l.LastLSN() + 1
		got, err := l.Append(record(lsn, size))
		if err != nil || got != lsn {
			t.Fatalf("append of record %d: LSN %d, %v", lsn, got, err)
		}
	}
}

// wantRecord compares a record with the one that appendRecords makes.
func wantRecord(t testing.TB, lsn wal.LSN, size int, got []byte) {
	t.Helper()
	if want := record(lsn, size); got == nil || !bytes.Equal(want, got) {
		t.Fatalf("record %d differs: %s", lsn, cmp.Diff(want, got))
	}
}

// wantRecords reads all records from first on and compares them with those
// that appendRecords makes.
func wantRecords(t testing.TB, l *wal.Log, first, last wal.LSN, size int) {
	t.Helper()
	r := l.Reader(first)
	defer r.Close()
	want := first
	for r.Next() {
		if r.LSN() != want {
			t.Fatalf("read LSN %d, want %d", r.LSN(), want)
		}
		wantRecord(t, want, size, r.Record())
		want++
	}
	if r.Err() != nil || want != last+1 {
		t.Fatalf("reading ended before record %d of %d: %v", want, last, r.Err())
	}
}

func TestAppendReopenRead(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 100, 4096, 30000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 40, size)
			wantRecords(t, l, 1, 40, size)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				l = openLog(t, dir, small())
				if l.FirstLSN() != 1 || l.LastLSN()%40 != 0 || l.DurableLSN() != l.LastLSN() {
					t.Fatalf("reopened: %d to %d, durable %d", l.FirstLSN(), l.LastLSN(), l.DurableLSN())
				}
				wantRecords(t, l, 1, l.LastLSN(), size)
				appendRecords(t, l, 40, size)
				wantRecords(t, l, 1, l.LastLSN(), size)
				for lsn := wal.LSN(1); lsn <= l.LastLSN(); lsn += 7 {
					p, err := l.Get(lsn)
					if err != nil {
						t.Fatalf("get %d: %v", lsn, err)
					}
					wantRecord(t, lsn, size, p)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			rep, err := wal.Verify(dir)
			if err != nil || rep.Verdict != wal.Clean || rep.Records != 160 || rep.DurableLSN != 160 {
				t.Fatalf("verify: %+v, %v", rep, err)
			}
		})
	}
}

func TestSyncMakesDurable(t *testing.T) {
	l, _ := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	if l.DurableLSN() != 0 {
		t.Fatalf("durable %d before any sync", l.DurableLSN())
	}
	if err := l.Commit(context.Background(), 2); err != nil || l.DurableLSN() < 2 {
		t.Fatalf("commit: durable %d, %v", l.DurableLSN(), err)
	}
	appendRecords(t, l, 900, 100)
	if err := l.Sync(); err != nil || l.DurableLSN() != 903 {
		t.Fatalf("sync: durable %d, %v", l.DurableLSN(), err)
	}
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentAppendersShareSyncs(t *testing.T) {
	o := small()
	o.Sync = wal.SyncEach
	l, dir := newTestLog(t, o)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := l.Append(make([]byte, 100)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if l.DurableLSN() != 800 {
		t.Fatalf("durable %d of 800", l.DurableLSN())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if rep, err := wal.Verify(dir); err != nil || rep.Verdict != wal.Clean || rep.LastLSN != 800 {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
	ents, _ := os.ReadDir(dir)
	t.Log(len(ents), l.Stats())
}

// TestAppendDoesNotAllocate holds appends within a segment to no allocation.
func TestAppendDoesNotAllocate(t *testing.T) {
	l, dir := newTestLog(t, wal.Options{SegmentBytes: 4 << 20})
	p := record(1, 100)
	appendRecords(t, l, 1, 100)
	awaitPrepared(t, l, dir)
	allocs := testing.AllocsPerRun(2000, func() {
		if _, err := l.Append(p); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("an append allocates %v times", allocs)
	}
}
