package wal_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestSparseCopyGetsItsBlocks opens a copy of a log in which zeros are holes,
// as `cp --sparse=always` makes it: what is appended to has blocks again.
func TestSparseCopyGetsItsBlocks(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	s := takeLive(t, l, dir)
	for _, name := range []string{firstName, secondName} {
		data := s.get(name)
		s.remove(name)
		f, err := os.Create(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err = f.Truncate(int64(len(data))); err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(data); off += frame.BlockBytes {
			if p := data[off : off+frame.BlockBytes]; string(p) != string(make([]byte, len(p))) {
				if _, err = f.WriteAt(p, int64(off)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err = f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l = openLog(t, s.dir, small())
	wantRecords(t, l, 1, 3, 100)
	for _, name := range []string{firstName, secondName} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.dir, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 < st.Size {
			t.Errorf("%s has %d blocks of 512 bytes for %d bytes", name, st.Blocks, st.Size)
		}
	}
	appendRecords(t, l, 300, 400)
}

// TestEachCommitBeginsAtItsBoundary syncs behind records of every length: with
// AlignSector the next frame begins in a fresh sector.
func TestEachCommitBeginsAtItsBoundary(t *testing.T) {
	o := wal.Options{SegmentBytes: 1 << 20, Align: wal.AlignSector}
	l, dir := newTestLog(t, o)
	for size := range 64 {
		appendRecords(t, l, 1, 8*size)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, firstName))
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, f := range framesOf(t, data) {
		if f.Kind != frame.KindRecord {
			continue
		}
		records++
		if f.off%512 != 0 {
			t.Errorf("the frame of record %d begins at offset %d", f.LSN, f.off)
		}
	}
	if records != 64 {
		t.Fatalf("%d records", records)
	}
}

// TestOpenEndsACommit opens a log whose last record no sync has covered: Open
// has made it durable, so the next one begins at its boundary.
func TestOpenEndsACommit(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 1, 100)
	s := takeLive(t, l, dir)
	o := small()
	o.Align = wal.AlignSector
	l = openLog(t, s.dir, o)
	appendRecords(t, l, 1, 100)
	if f := s.frameOf(firstName, 2); f.off%512 != 0 {
		t.Errorf("the frame of record 2 begins at offset %d", f.off)
	}
}

// TestCutEndsACommit cuts behind a record that ends within a sector: what stays
// is durable, so the next record begins at its boundary.
func TestCutEndsACommit(t *testing.T) {
	o := small()
	o.Align = wal.AlignSector
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 9, 9000)
	for _, last := range []wal.LSN{7, 3, 0} { // in the last segment, before it, and nothing
		must(t, l.TruncateBack(last))
		appendRecords(t, l, 1, 9000)
		s := takeLive(t, l, dir)
		for _, seg := range l.Segments() {
			name := seg.Name
			for _, f := range s.frames(name) {
				if f.Kind == frame.KindRecord && f.LSN == last+1 && f.off%512 != 0 {
					t.Errorf("the frame of record %d begins at offset %d", f.LSN, f.off)
				}
			}
		}
	}
}

// putSparse writes a file again in which pages of zeros are holes.
func putSparse(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err = f.Truncate(int64(len(data))); err != nil {
		t.Fatal(err)
	}
	zeros := string(make([]byte, 4096))
	for off := 0; off < len(data); off += len(zeros) {
		p := data[off:min(off+len(zeros), len(data))]
		if string(p) == zeros {
			continue
		}
		if _, err = f.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
}
