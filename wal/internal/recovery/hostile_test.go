package recovery_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// altered returns the files of a log of so many segments in which a byte of every
// second record is another: as many gaps as records, each of which is told.
func altered(segments int) (files []recovery.File, frames int) {
	s := newSample(1)
	for len(s.segments) < segments || s.off+200 < frame.MinSegmentBytes {
		if s.off+200 >= frame.MinSegmentBytes {
			s.sync()
			s.rotate()
		}
		s.batch(make([]byte, 8))
	}
	s.sync()
	s.slot()
	for _, p := range s.places {
		if p.Kind == frame.KindRecord && p.LSN%2 == 0 {
			s.segments[p.segment][p.off+frame.HeaderBytes] ^= 1
			frames++
		}
	}
	files, _ = s.files()
	return files, frames
}

// BenchmarkRecoverAltered recovers logs in which every second record is altered.
// The time for each of them does not grow with the log.
func BenchmarkRecoverAltered(b *testing.B) {
	for _, segments := range []int{1, 10, 100} {
		files, frames := altered(segments)
		b.Run(fmt.Sprintf("%d gaps", frames), func(b *testing.B) {
			for b.Loop() {
				res, err := recovery.Recover(files, recovery.Options{All: true})
				if err != nil || res.Verdict != recovery.Damaged || len(res.Damage) < frames-2 {
					b.Fatalf("%v, %v, %d places of %d", err, res.Verdict, len(res.Damage), frames)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/gap")
		})
	}
}

// TestEveryGapIsTold loses every second record: each gap is damage of its own, at
// the place where its record began.
func TestEveryGapIsTold(t *testing.T) {
	files, frames := altered(3)
	res, err := recovery.Recover(files, recovery.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Verdict != recovery.Damaged || len(res.Damage) != frames {
		t.Fatalf("%v with %d places, want %d", res.Verdict, len(res.Damage), frames)
	}
	for i, d := range res.Damage {
		if lsn := frame.LSN(2 * (i + 1)); d.First != lsn || d.Last != lsn {
			t.Fatalf("place %d is about records %d to %d, want %d", i, d.First, d.Last, lsn)
		}
	}
}

// TestBatchIsNotKept recovers batches of few and of many records: what recovery
// allocates does not depend on what a batch holds.
func TestBatchIsNotKept(t *testing.T) {
	allocated := func(records int) float64 {
		s := newSample(1)
		s.batch(make([][]byte, records)...)
		files, _ := s.files()
		visited := 0
		o := recovery.Options{All: true, Visit: func(recovery.Record) error { visited++; return nil }}
		n := testing.AllocsPerRun(5, func() {
			visited = 0
			if _, err := recovery.Recover(files, o); err != nil {
				t.Fatal(err)
			}
		})
		if visited != records {
			t.Errorf("%d of %d records were handed out", visited, records)
		}
		return n
	}
	if few, many := allocated(2), allocated(1500); many > few {
		t.Errorf("%v allocations for 1500 records, %v for 2", many, few)
	}
}

// shortHead is a file that has become longer since its head was read.
type shortHead struct {
	recovery.Bytes
	n int
}

// Head implements recovery.Bytes.
func (s shortHead) Head() ([]byte, error) {
	head, err := s.Bytes.Head()
	return head[:min(s.n, len(head))], err
}

// TestFileThatGrewBehindItsHead recovers a log of which each file in turn was truncated
// when its head was read, and is as long as before by now: whatever the length, it is
// an outcome and no panic, and the records of no other segment are lost.
func TestFileThatGrewBehindItsHead(t *testing.T) {
	for _, all := range []bool{false, true} {
		for i := range 3 {
			for n := 0; n <= frame.DataOffset; n += 256 {
				files, _ := long(3).files()
				files[i].Bytes = shortHead{files[i].Bytes, n}
				seen := map[frame.LSN]bool{}
				note := func(r recovery.Record) error { seen[r.LSN] = true; return nil }
				res, err := recovery.Recover(files, recovery.Options{All: all, Visit: note, Behind: note})
				if err != nil {
					t.Fatalf("file %d, %d bytes: %v", i, n, err)
				}
				if n == frame.DataOffset && (res.Verdict != recovery.Clean || res.Tail.LSN != 6) {
					t.Fatalf("file %d whole: %v, %+v", i, res.Verdict, res.Tail)
				}
				for lsn := frame.LSN(1); lsn <= 6 && all; lsn++ {
					if int(lsn-1)/2 != i && !seen[lsn] {
						t.Fatalf("file %d, %d bytes: record %d of another is lost: %v", i, n, lsn, res.Verdict)
					}
				}
			}
		}
	}
}
