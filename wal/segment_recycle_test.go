package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// afterwards is what happens to a segment between its truncation and its use as
// another one, and whether it is used then.
type afterwards struct {
	then  wal.Options // when it is opened again
	harm  func(t *testing.T, path string)
	again bool
}

// rewritten changes the bytes of a file.
func rewritten(change func(b []byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o644)
		}
		must(t, err)
	}
}

var usedAgain = map[string]afterwards{
	"as it was": {again: true},
	"another size of writes": {
		then: wal.Options{FillBytes: 8 << 10},
	},
	"smaller segments": {
		then: wal.Options{SegmentBytes: wal.MinSegmentBytes},
	},
	"larger segments": {
		then: wal.Options{SegmentBytes: 256 << 10},
	},
	"another log's": {
		harm: rewritten(func(b []byte) []byte {
			h, _ := frame.DecodeHeader(b)
			h.UUID[0]++
			head := h.Encode()
			copy(b, head[:])
			return b
		}),
	},
	"another segment": {
		harm: rewritten(func(b []byte) []byte {
			h, _ := frame.DecodeHeader(b)
			h.Ordinal++
			head := h.Encode()
			copy(b, head[:])
			return b
		}),
	},
	"not a segment": {
		harm: rewritten(func(b []byte) []byte { b[0]++; return b }),
	},
	"longer": {
		harm: rewritten(func(b []byte) []byte { return append(b, b[:4096]...) }),
	},
	"holes": {
		harm: func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, b[:frame.DataOffset], 0o644))
			must(t, os.Truncate(path, int64(len(b))))
		},
	},
	"another name": {
		harm: func(t *testing.T, path string) {
			if err := os.Link(path, filepath.Join(filepath.Dir(filepath.Dir(path)), "backup")); err != nil {
				t.Skipf("no hard links here: %v", err)
			}
		},
	},
	"gone": {
		harm: func(t *testing.T, path string) { must(t, os.Remove(path)) },
	},
}

// TestWhatIsUsedAgain truncates a segment away and lets something happen to its
// file, or to the options, before it is used again: only what a new segment
// would be like as well, and is this log's and nobody else's, is.
func TestWhatIsUsedAgain(t *testing.T) {
	for name, c := range usedAgain {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := wal.Options{SegmentBytes: 128 << 10, SegmentsAhead: 1, FillBytes: 4096}
			l, dir := newTestLog(t, o)
			turn(t, l)
			must(t, l.Close())
			if c.then.SegmentBytes != 0 {
				o.SegmentBytes = c.then.SegmentBytes
			}
			if c.then.FillBytes != 0 {
				o.FillBytes = c.then.FillBytes
			}
			l = openLog(t, dir, o)
			turn(t, l)
			awaitReady(t, l, dir, 1)
			prepared := l.Stats().Prepared
			must(t, l.TruncateFront(l.Segments()[1].FirstLSN)) // keeps the first
			if c.harm != nil {
				c.harm(t, filepath.Join(dir, firstName))
			}
			turn(t, l)
			awaitReady(t, l, dir, 1)
			if s := l.Stats(); s.Recycled == 1 != c.again || s.Recycled > 1 || s.Prepared != prepared+1 {
				t.Errorf("%d recycled, %d prepared of %d before", s.Recycled, s.Prepared, prepared)
			}
			if _, err := os.Stat(filepath.Join(dir, firstName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is there still: %v", err)
			}
			turn(t, l)
			must(t, l.Close())
			l = openLog(t, dir, o)
			wantRecords(t, l, l.FirstLSN(), l.LastLSN(), 20000)
		})
	}
}

// turn appends until the log goes on in another segment.
func turn(t *testing.T, l *wal.Log) {
	t.Helper()
	for before := l.Stats().Rotations; l.Stats().Rotations == before; {
		appendRecords(t, l, 1, 20000)
	}
}
