package wal_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestOptions opens with options within their ranges and beyond.
func TestOptions(t *testing.T) {
	page := os.Getpagesize()
	tests := []struct {
		name string
		o    wal.Options
		ok   bool
	}{
		{"smallest segments", wal.Options{SegmentBytes: wal.MinSegmentBytes}, true},
		{"a page more", wal.Options{SegmentBytes: wal.MinSegmentBytes + int64(page)}, true},
		{"too small", wal.Options{SegmentBytes: wal.MinSegmentBytes - int64(page)}, false},
		{"negative", wal.Options{SegmentBytes: -1}, false},
		{"half a page", wal.Options{SegmentBytes: wal.MinSegmentBytes + int64(page)/2}, false},
		{"too large", wal.Options{SegmentBytes: wal.MaxSegmentBytes + int64(page)}, false},
		{"far too large", wal.Options{SegmentBytes: math.MaxInt64 &^ 0xffff}, false},
		{"most ahead", wal.Options{SegmentsAhead: wal.MaxSegmentsAhead}, true},
		{"too many ahead", wal.Options{SegmentsAhead: wal.MaxSegmentsAhead + 1}, false},
		{"negative ahead", wal.Options{SegmentsAhead: -1}, false},
		{"each", wal.Options{Sync: wal.SyncEach}, true},
		{"every", wal.Options{Sync: wal.SyncEvery(time.Nanosecond)}, true},
		{"every 0", wal.Options{Sync: wal.SyncEvery(0)}, false},
		{"every -1", wal.Options{Sync: wal.SyncEvery(-1)}, false},
		{"folio", wal.Options{Align: wal.AlignFolio}, true},
		{"unknown alignment", wal.Options{Align: wal.AlignFolio + 1}, false},
		{"fill a page", wal.Options{FillBytes: page}, true},
		{"fill most", wal.Options{FillBytes: 2 << 20}, true},
		{"fill more", wal.Options{FillBytes: 2<<20 + page}, false},
		{"fill half a page", wal.Options{FillBytes: page / 2}, false},
		{"fill negative", wal.Options{FillBytes: -page}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ok && tt.o.SegmentBytes == 0 {
				tt.o.SegmentBytes = wal.MinSegmentBytes
			}
			dir := filepath.Join(fastDir(t), "log")
			l, err := wal.Open(dir, tt.o)
			if !tt.ok {
				if !errors.Is(err, wal.ErrOptions) {
					t.Errorf("%v, want ErrOptions", err)
				}
				if _, err = os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the directory was made: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append([]byte("x")); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDefaults pins what the zero Options give.
func TestDefaults(t *testing.T) {
	if wal.DefaultSegmentBytes != 64<<20 || wal.MinSegmentBytes != 64<<10 || wal.MaxSegmentBytes != 4<<30 {
		t.Errorf("segments: %d, %d to %d", wal.DefaultSegmentBytes, wal.MinSegmentBytes, int64(wal.MaxSegmentBytes))
	}
	dir := filepath.Join(fastDir(t), "a", "b", "log")
	l := openLog(t, dir, wal.Options{})
	if got, want := l.MaxRecordBytes(), int64(64<<20-frame.DataOffset-2*frame.HeaderBytes-frame.MarkBytes); got != want {
		t.Errorf("the largest record has %d bytes, want %d", got, want)
	}
	st, err := os.Stat(filepath.Join(dir, firstName))
	if err != nil || st.Size() != wal.DefaultSegmentBytes || st.Mode().Perm() != 0o644 {
		t.Errorf("segment: %v, %v", st, err)
	}
	if st, err = os.Stat(filepath.Dir(dir)); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("directory: %v, %v", st, err)
	}
}

// TestModes opens with modes of its own.
func TestModes(t *testing.T) {
	o := small()
	o.FileMode, o.DirMode = 0o600, 0o700
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 1, 1)
	awaitPrepared(t, l, dir)
	for _, name := range []string{firstName, secondName, lockFile} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st, err)
	}
}

// TestOptionsChange opens a log with other options each time: what is there
// stays as it is, what is new follows the new ones.
func TestOptionsChange(t *testing.T) {
	dir := filepath.Join(fastDir(t), "log")
	tests := []wal.Options{
		{SegmentBytes: 64 << 10},
		{SegmentBytes: 256 << 10, SegmentsAhead: 5},
		{SegmentBytes: 128 << 10, SegmentsAhead: 1, Align: wal.AlignFolio},
		{SegmentBytes: 64 << 10, Align: wal.AlignSector, FillBytes: 64 << 10},
		{SegmentBytes: 64 << 10, Sync: wal.SyncEach, FillBytes: 4 << 10},
		{SegmentBytes: 64 << 10, Sync: wal.SyncEvery(time.Millisecond)},
	}
	last := wal.LSN(0)
	for i, o := range tests {
		l, err := wal.Open(dir, o)
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if l.LastLSN() != last {
			t.Fatalf("round %d: last %d, want %d", i, l.LastLSN(), last)
		}
		appendRecords(t, l, 20, 9000)
		last += 20
		wantRecords(t, l, 1, last, 9000)
		if err = l.Close(); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		rep, err := wal.Verify(dir)
		if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != last {
			t.Fatalf("round %d: %+v, %v", i, rep, err)
		}
		newest := rep.Segments[0]
		for _, s := range rep.Segments {
			if s.Records > 0 {
				newest = s
			}
		}
		if st, err := os.Stat(filepath.Join(dir, newest.Name)); err != nil || st.Size() != o.SegmentBytes {
			t.Errorf("round %d: the newest segment has %d bytes, want %d", i, st.Size(), o.SegmentBytes)
		}
	}
}

// TestRecordSizes appends records and batches around the limits.
func TestRecordSizes(t *testing.T) {
	l, dir := newTestLog(t, small())
	most := l.MaxRecordBytes()
	largest := record(1, int(most))
	if lsn, err := l.Append(largest); err != nil || lsn != 1 {
		t.Fatalf("largest: LSN %d, %v", lsn, err)
	}
	for _, n := range []int64{most + 1, most + 4096, wal.MinSegmentBytes * 3} {
		if _, err := l.Append(make([]byte, n)); !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("record of %d bytes: %v, want ErrTooLarge", n, err)
		}
		if _, err := l.AppendBatch([][]byte{{}, make([]byte, n)}); !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("batch of %d bytes: %v, want ErrTooLarge", n, err)
		}
	}
	// A batch of many small records, as many as fit.
	var many [][]byte
	for i := range most/frame.HeaderBytes + 1 {
		_ = i
		many = append(many, nil)
	}
	if lsn, err := l.AppendBatch(many); err != nil || lsn != wal.LSN(1+len(many)) {
		t.Fatalf("batch of %d: LSN %d, %v", len(many), lsn, err)
	}
	if _, err := l.AppendBatch(append(many, nil, nil)); !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("batch of %d: %v, want ErrTooLarge", len(many)+2, err)
	}
	if lsn, err := l.AppendBatch(nil); err != nil || lsn != l.LastLSN() {
		t.Errorf("batch of none: LSN %d, %v", lsn, err)
	}
	last := l.LastLSN()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	if got, err := l.Get(1); err != nil || string(got) != string(largest) {
		t.Errorf("the largest record comes back with %d bytes, %v", len(got), err)
	}
	r := l.Reader(2)
	defer r.Close()
	for r.Next() {
		if r.Record() == nil || len(r.Record()) != 0 {
			t.Fatalf("record %d: %x", r.LSN(), r.Record())
		}
	}
	if r.Err() != nil || r.LSN() != last {
		t.Errorf("read up to %d of %d: %v", r.LSN(), last, r.Err())
	}
}

// TestSyncPolicyString pins the words of the command.
func TestSyncPolicyString(t *testing.T) {
	for want, p := range map[string]wal.SyncPolicy{
		"manual": wal.SyncManual, "each": wal.SyncEach, "100ms": wal.SyncEvery(100 * time.Millisecond),
	} {
		if got := fmt.Sprint(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
