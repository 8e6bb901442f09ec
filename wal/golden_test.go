package wal_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

var update = flag.Bool("update", false, "write the golden log of this format version again")

// goldenRow is how many bytes a row of a golden file shows. Rows of zeros are
// left out.
const goldenRow = 16

// goldenText writes files as text.
func goldenText(files map[string][]byte, names []string) string {
	var b strings.Builder
	for _, name := range names {
		data := files[name]
		fmt.Fprintf(&b, "file %s %d\n", name, len(data))
		for off := 0; off < len(data); off += goldenRow {
			row := data[off:min(off+goldenRow, len(data))]
			if !bytes.Equal(row, make([]byte, len(row))) {
				fmt.Fprintf(&b, "%6d  % x\n", off, row)
			}
		}
	}
	return b.String()
}

// goldenFiles reads the text again.
func goldenFiles(t *testing.T, text string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var data []byte
	for line := range strings.Lines(text) {
		var (
			name string
			n    int
		)
		if _, err := fmt.Sscanf(line, "file %s %d", &name, &n); err == nil {
			data = make([]byte, n)
			files[name] = data
			continue
		}
		off, row, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if _, err := fmt.Sscan(off, &n); err != nil {
			t.Fatal(err)
		}
		p, err := hex.DecodeString(strings.ReplaceAll(row, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(data[n:], p)
	}
	return files
}

// goldenRecords are the records of the golden log.
func goldenRecords() [][]byte {
	return [][]byte{
		[]byte("first"), []byte("one of a batch"), []byte("the other"),
		{},
		[]byte("checkpointed"),
		make([]byte, 44900), []byte("in the next segment"), []byte("last"),
	}
}

// goldenLog writes the golden log: appends, syncs, checkpoints, a rotation.
func goldenLog(t *testing.T) map[string][]byte {
	t.Helper()
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1, FillBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	r := goldenRecords()
	one := func(p []byte) func() error { return func() error { _, err := l.Append(p); return err } }
	for _, step := range []func() error{
		one(r[0]), l.Sync,
		func() error { _, err := l.AppendBatch(r[1:3]); return err },
		one(r[3]), l.Sync, one(r[4]), l.Checkpoint,
		one(r[5]), one(r[6]), l.Sync, one(r[7]), l.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return readDir(t, dir)
}

// TestGoldenLog compares a log that is written now with the golden one, in all
// bytes but those that are random: UUID and salts are taken from the golden
// one, and what hangs on them is computed again.
func TestGoldenLog(t *testing.T) {
	const path = "testdata/log-v1.golden"
	now := goldenLog(t)
	names := []string{firstName, secondName, lockFile}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil { //nolint:gosec // part of the source
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(goldenText(now, names)), 0o644); err != nil { //nolint:gosec // part of the source
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden := goldenFiles(t, string(text))
	previous := frame.Link(0)
	for _, name := range names[:2] {
		now[name], previous = transplant(t, now[name], golden[name], previous)
	}
	now[lockFile] = golden[lockFile]
	if d := cmp.Diff(goldenText(golden, names), goldenText(now, names)); d != "" {
		t.Errorf("the format has changed (-golden +now); a change is a new version, with a golden file of its own:\n%s", d)
	}
}

// TestGoldenLogOpens opens the log of each format version that there was.
func TestGoldenLogOpens(t *testing.T) {
	paths, err := filepath.Glob("testdata/log-v*.golden")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &specimen{t: t, dir: filepath.Join(fastDir(t), "log")}
			s.fill(goldenFiles(t, string(text)))
			rep := s.verify(finding{last: 8, durable: 8, recordsDiffer: true})
			if lock := string(s.get(lockFile)); lock != "seawall log "+rep.UUID.String()+"\n" {
				t.Errorf("the lock file says %q, the segments are of %v", lock, rep.UUID)
			}
			l := openLog(t, s.dir, small())
			r := l.Reader(1)
			for i, want := range goldenRecords() {
				if !r.Next() || r.LSN() != wal.LSN(i+1) || !bytes.Equal(r.Record(), want) {
					t.Fatalf("record %d is %.40q at LSN %d, want %.40q: %v", i+1, r.Record(), r.LSN(), want, r.Err())
				}
			}
			if lsn, err := l.Append([]byte("new")); err != nil || lsn != 9 {
				t.Errorf("append: LSN %d, %v", lsn, err)
			}
		})
	}
}

// transplant writes a segment again with another one's UUID and salt. It
// returns the bytes and the segment's final link.
func transplant(t *testing.T, data, donor []byte, previous frame.Link) ([]byte, frame.Link) {
	t.Helper()
	was, frames := headsOf(t, data), framesOf(t, data)
	like, err := frame.DecodeHeader(donor)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Clone(data)
	h, st := was.header, was.stamp
	h.UUID, h.Salt = like.UUID, like.Salt
	st.UUID, st.Salt, st.Previous = like.UUID, like.Salt, previous
	hb := h.Encode()
	sb, link := st.Encode()
	copy(out, hb[:])
	copy(out[frame.StampOffset:], sb[:])
	links := map[int64]frame.Link{frame.DataOffset: link} // by the offset behind a frame
	var buf frame.Buffer
	for _, f := range frames {
		p, next := buf.Encode(&f.Frame, h.Seed(), link, f.off)
		copy(out[f.off:], p)
		link = next
		links[f.end()] = link
	}
	for i := range frame.Slots {
		at := frame.SlotOffset + i*frame.BlockBytes
		slot, err := frame.DecodeSlot(data[at:], was.header.Seed())
		if err != nil {
			continue
		}
		slot.Link = links[int64(slot.Tail)]
		b := slot.Encode(h.Seed())
		copy(out[at:], b[:])
	}
	return out, link
}
