package wal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

const sectorBytes = 512

// rotated makes a closed log of four segments that hold records, 4 in each but
// the last, of 10,000 bytes, and two prepared ones.
func rotated(t testing.TB) *specimen {
	t.Helper()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 14, 10000)
	awaitPrepared(t, l, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return take(t, dir)
}

// TestRotatedSpecimen pins what the tests below rest on.
func TestRotatedSpecimen(t *testing.T) {
	s := rotated(t)
	for i, want := range []struct{ first, last wal.LSN }{{1, 4}, {5, 8}, {9, 12}, {13, 14}} {
		frames := s.frames(fmt.Sprintf("%016x.wal", i+1))
		if got := frames[0].LSN; got != want.first {
			t.Errorf("segment %d begins with record %d, want %d", i+1, got, want.first)
		}
		if got := frames[len(frames)-1].LSN; got != want.last {
			t.Errorf("segment %d ends with record %d, want %d", i+1, got, want.last)
		}
	}
	s.analyze(small(), finding{last: 14, durable: 14, size: 10000})
}

// TestTruncatedAtEverySector cuts the last segment short at every sector: a
// segment under its final name that is shorter than its size is damage, and
// what is lost is told.
func TestTruncatedAtEverySector(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 40, 1000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 1, 1000)
	l.Close()
	base := take(t, dir)
	frames := base.frames(firstName)
	var cuts []int64
	for n := int64(0); n < wal.MinSegmentBytes; n += sectorBytes {
		cuts = append(cuts, n)
	}
	for n := frames[2].off - 9; n <= frames[3].off+40; n += 7 { // also within a header, a payload, a padding
		cuts = append(cuts, n)
	}
	t.Run("checkpoint kept", func(t *testing.T) { take(t, dir).truncateAt(cuts, true) })
	t.Run("none kept", func(t *testing.T) {
		s := take(t, dir)
		s.forgetCheckpoint()
		s.truncateAt(cuts, false)
	})
}

// truncateAt cuts the first segment short at each of some places. Whether the lock
// file keeps a checkpoint decides what is known to be lost.
func (s *specimen) truncateAt(cuts []int64, kept bool) {
	t, frames := s.t, s.frames(firstName)
	for _, n := range cuts {
		whole := s.get(firstName)
		s.put(firstName, whole[:n])
		want := wal.Damage{File: firstName, Reason: fmt.Sprintf("short: %d of %d bytes", n, wal.MinSegmentBytes)}
		if n == 0 {
			want.Reason = "empty file"
		}
		last := wal.LSN(0)
		if kept {
			want.FirstLSN, want.LastLSN = 1, 41
		}
		want.Unknown = !kept && n < frame.DataOffset
		if n >= frame.DataOffset { // the checkpoint records are there
			want.Offset = n
			want.LastLSN = 41
			end := int64(frame.DataOffset)
			for _, f := range frames {
				if f.end() <= n {
					end = f.end()
				}
				if f.Kind == frame.KindRecord && f.end() <= n {
					last = f.LSN
				}
			}
			if want.FirstLSN = last + 1; last == 41 {
				want.FirstLSN, want.LastLSN = 0, 0
			}
			// Behind zeros in place of a header there was no record.
			want.Unknown = end < frames[len(frames)-1].end() || n < end+frame.HeaderBytes
		}
		rep, err := wal.Verify(s.dir)
		if err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if rep.Verdict != wal.Damaged || len(rep.Damage) != 1 || rep.Damage[0] != want || rep.LastLSN != last {
			t.Fatalf("cut to %d bytes: %v, last %d, damage %+v, want %+v", n, rep.Verdict, rep.LastLSN, rep.Damage, want)
		}
		if len(rep.Behind) != 0 {
			t.Fatalf("cut to %d bytes: intact records %v behind the tail, want none", n, rep.Behind)
		}
		if n%(16*sectorBytes) == 0 {
			s.refused(small(), rep.Damage)
		}
		s.put(firstName, whole)
	}
}

// zeroSectors zeroes each sector of the segments' used bytes in turn. Where it is
// zero already, nothing would change: one such sector in each block is enough.
func zeroSectors(w *studied, name string, end int64, look func(off int64)) {
	w.t.Helper()
	data := w.get(name)
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_RDWR, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for off := int64(0); off < end; off += sectorBytes {
		zero := !slices.ContainsFunc(data[off:off+sectorBytes], func(b byte) bool { return b != 0 })
		if zero && off%frame.BlockBytes != 0 && !thorough() {
			continue
		}
		if _, err := f.WriteAt(make([]byte, sectorBytes), off); err != nil {
			w.t.Fatal(err)
		}
		look(off)
		if _, err := f.WriteAt(data[off:off+sectorBytes], off); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestEverySectorZeroed zeroes each sector of a log in turn.
func TestEverySectorZeroed(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T) *specimen
	}{
		{"one segment, closed", func(t *testing.T) *specimen { return varied(t, false).specimen }},
		{"one segment, not synced", func(t *testing.T) *specimen { return varied(t, true).specimen }},
		{"synced, no checkpoint", func(t *testing.T) *specimen { return synced(t, 60, 70) }},
		{"rotated, closed", func(t *testing.T) *specimen { return rotated(t) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := study(tt.make(t))
			w.t = t
			then := readDir(t, w.dir)
			n := 0
			for _, name := range w.segments() {
				data := then[name]
				end := int64(frame.DataOffset)
				if _, _, err := stampOf(data); err == nil {
					frames := framesOf(t, data)
					end = frames[len(frames)-1].end()
				}
				zeroSectors(w, name, end, func(off int64) {
					now := map[string][]byte{}
					for n, d := range then {
						now[n] = append([]byte(nil), d...)
					}
					clear(now[name][off : off+sectorBytes])
					proved := w.proved(now, then)
					what := fmt.Sprintf("%s: sector at %d zeroed", name, off)
					rep := w.lawful(what, proved)
					if off == 0 && rep.Verdict != wal.Damaged {
						t.Fatalf("%s: %v, and the header is gone", what, rep.Verdict)
					}
					if n++; n%3 == 1 || off == 0 || thorough() {
						w.openAgrees(what, rep)
					}
				})
			}
		})
	}
}

// stampOf decodes the stamp of a segment.
func stampOf(data []byte) (frame.Stamp, frame.Link, error) {
	h, err := frame.DecodeHeader(data)
	if err != nil {
		return frame.Stamp{}, 0, err
	}
	return frame.DecodeStamp(data[frame.StampOffset:], &h)
}

// openAgrees opens a copy of the log. What Verify calls damaged, Open refuses
// with nothing changed, unless the damage lies before what it needs to look
// at; anything else it opens, with the records that Verify saw.
func (w *studied) openAgrees(what string, rep *wal.Report) {
	w.t.Helper()
	s := &specimen{t: w.t, dir: filepath.Join(fastDir(w.t), "log")}
	before := readDir(w.t, w.dir)
	s.fill(before)
	l, err := wal.Open(s.dir, small())
	if err != nil {
		if rep.Verdict != wal.Damaged || !errors.Is(err, wal.ErrCorrupt) {
			w.t.Fatalf("%s: %v, and open: %v", what, rep.Verdict, err)
		}
		unchanged(w.t, what+": open", s.dir, before)
		return
	}
	defer l.Close()
	last := l.LastLSN()
	if rep.Verdict == wal.Damaged {
		// The newest checkpoint record stands: nothing behind it was touched.
		if l.Recovery().Trimmed || last < rep.DurableLSN {
			w.t.Fatalf("%s: damaged, and open goes on with record %d of %d", what, last, rep.DurableLSN)
		}
		return
	}
	if last != rep.LastLSN {
		w.t.Fatalf("%s: open ends at record %d, verify at %d", what, last, rep.LastLSN)
	}
	r := l.Reader(1)
	for r.Next() {
		if string(r.Record()) != string(w.records[r.LSN()]) {
			w.t.Fatalf("%s: record %d is not what was appended", what, r.LSN())
		}
	}
	if r.Err() != nil || r.LSN() != last {
		w.t.Fatalf("%s: reading ended at record %d of %d: %v", what, r.LSN(), last, r.Err())
	}
}
