package wal_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestAlign compares the files' bytes before and after later appends: what a
// sync made durable lies in sectors, or folios, that are not stored to again.
func TestAlign(t *testing.T) {
	tests := []struct {
		align wal.Align
		unit  int64
		fill  int
	}{
		{wal.AlignFrame, frame.Alignment, 0},
		{wal.AlignSector, 512, 0},
		{wal.AlignFolio, int64(os.Getpagesize()), 0},
		{wal.AlignFolio, 16 << 10, 16 << 10},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d of %d", tt.align, tt.unit), func(t *testing.T) {
			o := small()
			o.SegmentBytes, o.Align, o.FillBytes = 1<<20, tt.align, tt.fill
			l, dir := newTestLog(t, o)
			rng := newRand(newSeed(t))
			type state struct {
				data []byte
				ends map[int]int64 // per segment, what is durable
			}
			var was *state
			for round := range 30 {
				for range 1 + rng.IntN(3) {
					appendOne(t, l, rng.IntN(1500))
				}
				if round%7 == 3 { // closed and opened: what was appended is durable then
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					l = openLog(t, dir, o)
				} else if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(dir + "/" + firstName)
				if err != nil {
					t.Fatal(err)
				}
				if was != nil {
					for i, end := range was.ends {
						// The unit in which the last durable byte lies, whole.
						end = (end + tt.unit - 1) / tt.unit * tt.unit
						if i != 0 || bytes.Equal(data[frame.DataOffset:end], was.data[frame.DataOffset:end]) {
							continue
						}
						t.Fatalf("round %d: bytes before %d, in units that held durable records, were stored to", round, end)
					}
				}
				end := int64(frame.DataOffset)
				for _, f := range framesOf(t, data) {
					if f.Kind == frame.KindRecord {
						end = f.end()
					}
				}
				was = &state{data, map[int]int64{0: end}}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if rep, err := wal.Verify(dir); err != nil || rep.Verdict != wal.Clean {
				t.Errorf("verify: %+v, %v", rep, err)
			}
		})
	}
}

// appendOne appends one record of that size.
func appendOne(t testing.TB, l *wal.Log, size int) {
	t.Helper()
	if _, err := l.Append(record(l.LastLSN()+1, size)); err != nil {
		t.Fatal(err)
	}
}

// TestAlignFolioOfLargePages asks on which pages a segment's first records share a
// folio with its head, as the comment of AlignFolio says: with 4 KiB none does.
func TestAlignFolioOfLargePages(t *testing.T) {
	for page, end := range map[int64]int64{4 << 10: 0, 16 << 10: 32 << 10, 64 << 10: 64 << 10} {
		shared := (frame.DataOffset + page - 1) / page * page
		if shared == frame.DataOffset {
			shared = 0
		}
		if shared != end {
			t.Errorf("with pages of %d bytes records up to %d share one with the head, not up to %d", page, shared, end)
		}
	}
}
