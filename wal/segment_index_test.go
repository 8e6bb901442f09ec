package wal_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// TestIndexesAreBounded appends over many segments, reads records at random, also of
// the log opened again, cuts it and goes on: each record is found, and the places
// that are kept stay within their bounds.
func TestIndexesAreBounded(t *testing.T) {
	const all, thin, last = 24, 2, 1200
	defer wal.SetIndexBounds(all, thin)()
	dir := filepath.Join(fastDir(t), logName)
	rng := newRand(newSeed(t))
	l := openLog(t, dir, small())
	appendRecords(t, l, last, 1000)
	must(t, l.Sync())
	wantBounded(t, l, rng, 1, last, all, thin)
	must(t, l.Close())

	l = openLog(t, dir, small())
	wantBounded(t, l, rng, 1, last, all, thin)
	must(t, l.TruncateBack(last/2))
	appendRecords(t, l, 300, 1000)
	must(t, l.Sync())
	wantBounded(t, l, rng, 1, last/2+300, all, thin)
	must(t, l.TruncateFront(last/4))
	wantBounded(t, l, rng, last/4, last/2+300, all, thin)
}

// wantBounded reads records at random.
func wantBounded(t *testing.T, l *wal.Log, rng *rand.Rand, first, last wal.LSN, all, thin int) {
	t.Helper()
	for range 400 {
		lsn := first + wal.LSN(rng.Int64N(int64(last-first+1)))
		p, err := l.Get(lsn)
		must(t, err)
		wantRecord(t, lsn, 1000, p)
	}
	marks := wal.IndexMarks(l)
	if len(marks) < 5 {
		t.Fatalf("places are kept of %d segments", len(marks))
	}
	sum := 0
	for i := len(marks) - 1; i >= 0; i-- {
		if sum += marks[i]; sum > all && marks[i] > thin {
			t.Errorf("%d places of a segment, behind %d of newer ones", marks[i], sum-marks[i])
		}
	}
}

// TestIndexOfASegmentThatWasCutInto cuts a log back into a segment that was full when
// it was opened, and appends until that is full again: places before the cut are
// known, or found when they are needed, and kept.
func TestIndexOfASegmentThatWasCutInto(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), logName)
	l := openLog(t, dir, small())
	appendRecords(t, l, 200, 1000)
	must(t, l.Close())
	l = openLog(t, dir, small())
	must(t, l.TruncateBack(60))
	appendRecords(t, l, 100, 1000)
	must(t, l.Sync())
	appendRecords(t, l, 1, 1000)
	must(t, l.Sync())
	for lsn := wal.LSN(161); lsn > 0; lsn-- {
		p, err := l.Get(lsn)
		must(t, err)
		wantRecord(t, lsn, 1000, p)
	}
	for i, n := range wal.IndexMarks(l) {
		if n < 3 { // 16 KiB apart, in 44 KiB
			t.Errorf("%d places are known of segment %d", n, i)
		}
	}
}
