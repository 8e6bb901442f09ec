package wal_test

import (
	"os"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// TestYoungLogHasOneSegment appends a few records, synced and not: nothing is prepared for a log
// that may never need it.
func TestYoungLogHasOneSegment(t *testing.T) {
	t.Parallel()
	l, dir := newTestLog(t, wal.Options{SegmentBytes: 16 << 20})
	for range 10 {
		_, err := l.Append(make([]byte, 100))
		must(t, err)
	}
	must(t, l.Sync())
	for range 20 { // the preparer would have begun by then, mostly
		time.Sleep(time.Millisecond)
		files, err := os.ReadDir(dir)
		must(t, err)
		if s := l.Stats(); s.Prepared != 0 || len(files) != 2 {
			t.Fatalf("%d segments were prepared for a log of ten records: %v", s.Prepared, files)
		}
	}
}

// TestSegmentIsPreparedBeforeItIsWanted fills a segment up to its last quarter, at any rate, and
// goes on in the next.
func TestSegmentIsPreparedBeforeItIsWanted(t *testing.T) {
	t.Parallel()
	l, _ := newTestLog(t, wal.Options{SegmentBytes: 16 << 20})
	record := make([]byte, 1<<20)
	for range 13 {
		_, err := l.Append(record)
		must(t, err)
	}
	for end := time.Now().Add(patience); l.Stats().Ready == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no segment is prepared for the end of the tail: %+v", l.Stats())
		}
	}
	for range 5 {
		_, err := l.Append(record)
		must(t, err)
	}
	if s := l.Stats(); s.Rotations != 1 || s.Waits != 0 {
		t.Errorf("%d rotations and %d waits, want 1 and none", s.Rotations, s.Waits)
	}
}

// TestSegmentsWanted looks at rates.
func TestSegmentsWanted(t *testing.T) {
	const size = 64 << 20
	for _, tt := range []struct {
		name   string
		left   int64
		perSec float64
		want   int
	}{
		{"nothing is known", size, 0, 0},
		{"slow, at the beginning", size, 1 << 20, 0},
		{"slow, at the end", size / 4, 1 << 10, 1},
		{"10 MB/s reach the end within the time", size, 10 << 20, 1},
		{"fast", size, 40 << 20, 6},
		{"as fast as memory", size, 8 << 30, 17},
	} {
		if got := wal.SegmentsWanted(size, tt.left, tt.perSec/float64(time.Second)); got != tt.want {
			t.Errorf("%s: %d segments, want %d", tt.name, got, tt.want)
		}
	}
	if got := wal.SegmentsWanted(1<<20, 1<<20, 0); got < wal.MaxSegmentsAhead {
		t.Errorf("%d small segments, want as many as there may be", got)
	}
}
