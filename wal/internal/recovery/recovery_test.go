package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// payload makes a payload of n bytes.
func payload(n int) []byte { return bytes.Repeat([]byte{0x11}, n) }

// facts are what a table compares of a recovery.
type facts struct {
	Verdict         recovery.Verdict
	Last, Watermark frame.LSN
	Damage          []recovery.Damage
	Behind          []recovery.Range
}

// wantFacts compares a recovery.
func wantFacts(t *testing.T, j recovered, want facts) {
	t.Helper()
	got := facts{j.Verdict, j.Tail.LSN, j.Watermark, j.Damage, j.Behind}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("recovered (-want +got):\n%s", d)
	}
	if n := len(j.seen); n > 0 && j.seen[n-1].LSN != want.Last {
		t.Errorf("the last record seen is %d, want %d", j.seen[n-1].LSN, want.Last)
	}
}

const one = "0000000000000001.wal"

// TestWatermarkSources takes away the last record that was synced, and has each kind
// of record of it, alone, tell that it was.
func TestWatermarkSources(t *testing.T) {
	build := func(record func(s *sample)) *sample {
		s := newSample(1)
		s.batch(payload(10))
		s.batch(payload(20))
		s.sync()
		record(s)
		p := s.places[1]
		clear(s.segments[0][p.off : p.off+p.Size()])
		return s
	}
	lost := []recovery.Damage{{File: one, Offset: frame.DataOffset + 40, First: 2, Last: 2, Reason: "zeros where a frame should be"}}
	tests := []struct {
		name   string
		record func(*sample)
		want   facts
	}{
		{"none", func(*sample) {}, facts{Verdict: recovery.Clean, Last: 1}},
		{"slot", func(s *sample) { s.slot() }, facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost}},
		{
			"stamp of the next segment", func(s *sample) { s.rotate() },
			facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost},
		},
		{
			"frame that its predecessor proves", func(s *sample) { s.batch(payload(1)); s.batch(payload(2)) },
			facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost, Behind: []recovery.Range{{First: 3, Last: 4}}},
		},
		{"frame that nothing proves", func(s *sample) { s.batch(payload(1)) }, facts{Verdict: recovery.Torn, Last: 1}},
		{
			"mark that its predecessor proves", func(s *sample) { s.durable = 0; s.batch(payload(1)); s.durable = 2; s.mark() },
			facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost, Behind: []recovery.Range{{First: 3, Last: 3}}},
		},
		{
			"mark of more than there is", func(s *sample) { s.durable = 0; s.batch(payload(1)); s.durable = 1 << 60; s.mark() },
			facts{Verdict: recovery.Damaged, Last: 1, Watermark: 3, Behind: []recovery.Range{{First: 3, Last: 3}}, Damage: lost},
		},
		{"frame of an older epoch behind the cut", func(s *sample) {
			s.batch(payload(1))
			s.batch(payload(2))
			s.cutAt(s.places[0])
		}, facts{Verdict: recovery.Torn, Last: 1, Watermark: 1}},
		{
			"slot of an older epoch", func(s *sample) { s.slot(); s.cutAt(s.places[0]) },
			facts{Verdict: recovery.Clean, Last: 1, Watermark: 1},
		},
		{"first frame of the next segment", func(s *sample) {
			s.durable = 0
			s.rotate()
			s.durable = 2
			s.batch(payload(1))
		}, facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost, Behind: []recovery.Range{{First: 3, Last: 3}}}},
		{"frames of the next segment, whose stamp is gone", func(s *sample) {
			s.durable = 0
			s.rotate()
			s.durable = 2
			s.batch(payload(1))
			s.batch(payload(2))
			clear(s.tail()[frame.StampOffset : frame.StampOffset+frame.StampBytes])
		}, facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Behind: []recovery.Range{{First: 3, Last: 4}}, Damage: []recovery.Damage{{
			File: "0000000000000002.wal", Offset: frame.StampOffset, First: 2, Last: 2, Reason: "the segment's stamp is zero",
		}}}},
		{
			"cut behind it", func(s *sample) { s.batch(payload(3)); s.cutAt(s.places[1]) },
			facts{Verdict: recovery.Damaged, Last: 1, Watermark: 2, Damage: lost},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantFacts(t, build(tt.record).recover(t, recovery.Options{All: true}), tt.want)
		})
	}
}

// TestChain are frames that are no part of the chain, though each is well
// formed and linked.
func TestChain(t *testing.T) {
	rec := func(lsn frame.LSN, p []byte) frame.Frame {
		return frame.Frame{
			Length: uint32(len(p)), PayloadCRC: frame.Checksum(p), LSN: lsn, Epoch: 1,
			Kind: frame.KindRecord, First: true, Last: true,
		}
	}
	p := payload(9)
	with := func(lsn frame.LSN, change func(*frame.Frame)) frame.Frame {
		f := rec(lsn, p)
		change(&f)
		return f
	}
	tests := []struct {
		name string
		bad  frame.Frame
		last frame.LSN
	}{
		{"the next", rec(4, p), 4},
		{"the same LSN again", rec(3, p), 3},
		{"an LSN left out", rec(5, p), 3},
		{"high half of the LSN", rec(4+1<<32, p), 3},
		{"a smaller epoch", with(4, func(f *frame.Frame) { f.Epoch = 0 }), 3},
		{"a greater epoch", with(4, func(f *frame.Frame) { f.Epoch = 2 }), 4},
		{"no first record of a batch", with(4, func(f *frame.Frame) { f.First = false }), 3},
		{"no last record of a batch", with(4, func(f *frame.Frame) { f.Last = false }), 3},
		{"payload changed", with(4, func(f *frame.Frame) { f.PayloadCRC++ }), 3},
		{"longer than the segment", with(4, func(f *frame.Frame) { f.Length = 1 << 31 }), 3},
		{"as long as can be", with(4, func(f *frame.Frame) { f.Length = 1<<32 - 1 }), 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSample(1)
			for range 3 {
				s.batch(payload(5))
			}
			s.note(tt.bad, p)
			off := s.off
			s.put(tt.bad, p)
			j := s.recover(t, recovery.Options{All: true})
			if j.Tail.LSN != tt.last || (j.Verdict == recovery.Clean) != (tt.last == 4) || j.Verdict == recovery.Damaged {
				t.Errorf("recovered %v, last %d, want %d", j.Verdict, j.Tail.LSN, tt.last)
			}
			if tt.last == 3 && j.Tail.Offset != off {
				t.Errorf("the tail is at %d, want %d", j.Tail.Offset, off)
			}
		})
	}
}

// TestBatchesInterrupted are batches that other frames interrupt.
func TestBatchesInterrupted(t *testing.T) {
	frameOf := func(s *sample, first, last bool) {
		p := payload(4)
		f := frame.Frame{
			Length: 4, PayloadCRC: frame.Checksum(p), LSN: s.lsn + 1, Epoch: 1,
			Kind: frame.KindRecord, First: first, Last: last,
		}
		s.note(f, p)
		s.put(f, p)
	}
	for name, build := range map[string]func(*sample){
		"by a mark":              func(s *sample) { frameOf(s, true, false); s.mark(); frameOf(s, false, true) },
		"by another batch":       func(s *sample) { frameOf(s, true, false); frameOf(s, true, true) },
		"by the segment's end":   func(s *sample) { frameOf(s, true, false); s.rotate(); frameOf(s, false, true) },
		"by nothing: never ends": func(s *sample) { frameOf(s, true, false); frameOf(s, false, false) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSample(1)
			s.batch(payload(5))
			build(s)
			j := s.recover(t, recovery.Options{All: true})
			if j.Verdict != recovery.Torn || j.Tail.LSN != 1 || j.Records != 1 {
				t.Errorf("recovered %v, last %d, %d records", j.Verdict, j.Tail.LSN, j.Records)
			}
		})
	}
}

// TestHighLSNs runs a log over the end of 32 bits.
func TestHighLSNs(t *testing.T) {
	first := frame.LSN(1<<32 - 3)
	s := newSample(first)
	for i := range 4 {
		s.batch(payload(i))
		s.sync()
	}
	s.rotate()
	s.batch(payload(3), payload(0))
	s.slot()
	wantFacts(t, s.recover(t, recovery.Options{All: true}), facts{Last: first + 5, Watermark: first + 3})
	p := s.places[1]
	s.segments[0][p.off] ^= 1
	j := s.recover(t, recovery.Options{All: true})
	wantFacts(t, j, facts{
		Verdict: recovery.Damaged, Last: first, Watermark: first + 3,
		Behind: []recovery.Range{{First: first + 2, Last: first + 5}},
		Damage: []recovery.Damage{{File: one, Offset: p.off, First: first + 1, Last: first + 1, Reason: "no valid frame header"}},
	})
}

// long makes a log of n segments with two records each, all synced but those
// of the last.
func long(n int) *sample {
	s := newSample(1)
	for i := range n {
		if i > 0 {
			s.sync()
			s.rotate()
		}
		s.batch(payload(100))
		s.batch(payload(200))
	}
	return s
}

// TestReadsFewSegments recovers without All: nothing before the newest proved
// segment is loaded, except for those that are asked for, or explain damage.
func TestReadsFewSegments(t *testing.T) {
	tests := []struct {
		name  string
		hurt  func(*sample)
		from  frame.LSN
		first int // index of the first segment that is loaded
		want  facts
	}{
		{"whole", func(*sample) {}, 0, 9, facts{Last: 20, Watermark: 18}},
		{"asked from 7", func(*sample) {}, 7, 3, facts{Last: 20, Watermark: 18}},
		{"asked from 8", func(*sample) {}, 8, 3, facts{Last: 20, Watermark: 18}},
		{"asked from 1", func(*sample) {}, 1, 0, facts{Last: 20, Watermark: 18}},
		{"asked from beyond", func(*sample) {}, 100, 9, facts{Last: 20, Watermark: 18}},
		{"newest without its stamp", func(s *sample) {
			clear(s.segments[9][frame.StampOffset:])
		}, 0, 8, facts{Last: 18, Watermark: 16}},
		{"damage before", func(s *sample) { s.segments[4][frame.DataOffset] ^= 1 }, 0, 9, facts{Last: 20, Watermark: 18}},
		{"empty file before", func(s *sample) { s.segments[4] = nil }, 0, 3, facts{
			Verdict: recovery.Damaged, Last: 8, Watermark: 18, Behind: []recovery.Range{{First: 11, Last: 20}},
			Damage: []recovery.Damage{{File: "0000000000000005.wal", First: 9, Last: 10, Gap: true, Reason: "empty file"}},
		}},
		{"stamp before damaged", func(s *sample) { s.segments[4][frame.StampOffset] ^= 1 }, 0, 3, facts{
			Verdict: recovery.Damaged, Last: 8, Watermark: 18, Behind: []recovery.Range{{First: 9, Last: 20}},
			Damage: []recovery.Damage{{File: "0000000000000005.wal", Offset: frame.StampOffset, Reason: "the segment's stamp does not validate"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := long(10)
			tt.hurt(s)
			wantFacts(t, s.recover(t, recovery.Options{From: tt.from}), tt.want)
			files, mems := s.files()
			if _, err := recovery.Recover(files, recovery.Options{From: tt.from}); err != nil {
				t.Fatal(err)
			}
			for i, m := range mems {
				if (m.loads > 0) != (i >= tt.first) {
					t.Errorf("segment %d was loaded %d times; the first to be loaded is %d", i, m.loads, tt.first)
				}
			}
		})
	}
}

// TestSearchIsLinear recovers a log of which nothing was ever synced: the search
// for a place to begin costs a few passes over it, not one for each segment.
func TestSearchIsLinear(t *testing.T) {
	const n = 64
	s := newSample(1)
	for i := range n {
		if i > 0 {
			s.rotate()
		}
		s.batch(payload(100))
	}
	files, mems := s.files()
	res, err := recovery.Recover(files, recovery.Options{})
	if err != nil || res.Verdict != recovery.Clean || res.Tail.LSN != n {
		t.Fatalf("recovered %+v, %v", res, err)
	}
	touched := int64(0)
	for _, m := range mems {
		touched += m.touched
	}
	if total := int64(n * frame.MinSegmentBytes); touched > 6*total {
		t.Errorf("touched %d bytes, %.1f times the log", touched, float64(touched)/float64(total))
	}
}

// TestCallbacks has each callback end recovery, and sums up the progress.
func TestCallbacks(t *testing.T) {
	boom := errors.New("boom")
	s := long(3)
	clear(s.segments[1][frame.DataOffset : frame.DataOffset+50])
	for name, o := range map[string]recovery.Options{
		"visit":  {Visit: func(recovery.Record) error { return boom }},
		"behind": {Behind: func(recovery.Record) error { return boom }},
		"stop":   {Stop: func() error { return boom }},
	} {
		o.All = true
		files, _ := s.files()
		if res, err := recovery.Recover(files, o); !errors.Is(err, boom) || res != nil {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
	files, mems := s.files()
	mems[2].fail = boom
	if res, err := recovery.Recover(files, recovery.Options{All: true}); !errors.Is(err, boom) || res != nil {
		t.Errorf("touch: %v, %v", res, err)
	}
	total := int64(0)
	files, mems = s.files()
	if _, err := recovery.Recover(files, recovery.Options{All: true, Progress: func(n int64) {
		if n <= 0 {
			t.Errorf("progress of %d bytes", n)
		}
		total += n
	}}); err != nil {
		t.Fatal(err)
	}
	if total < int64(len(mems))*(frame.MinSegmentBytes-frame.DataOffset) {
		t.Errorf("progress of %d bytes in all", total)
	}
}

// TestRefusals are files that belong to another log.
func TestRefusals(t *testing.T) {
	reheader := func(s *sample, i int, change func(*frame.Header)) {
		h := s.header(i)
		change(&h)
		b := h.Encode()
		copy(s.segments[i], b[:])
	}
	tests := []struct {
		name   string
		change func(*sample)
		uuid   frame.UUID
		want   error
		file   string
	}{
		{
			"another UUID", func(s *sample) { reheader(s, 1, func(h *frame.Header) { h.UUID[0]++ }) },
			frame.UUID{},
			recovery.ErrForeign, "0000000000000002.wal",
		},
		{"another UUID than known", func(*sample) {}, frame.UUID{9}, recovery.ErrForeign, one},
		{
			"unknown feature", func(s *sample) { reheader(s, 2, func(h *frame.Header) { h.Features = 1 }) },
			frame.UUID{},
			recovery.ErrVersion, "0000000000000003.wal",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := long(3)
			tt.change(s)
			_, err := s.try(recovery.Options{UUID: tt.uuid})
			var n *recovery.NameError
			if !errors.As(err, &n) || n.Name != tt.file || !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v of %s", err, tt.want, tt.file)
			}
		})
	}
}

// TestSeveralCuts cuts twice in one segment, with one slot damaged or none: the
// remains of all epochs stay remains.
func TestSeveralCuts(t *testing.T) {
	for _, slot := range []int{-1, 0, 1} {
		t.Run(fmt.Sprint(slot), func(t *testing.T) {
			s := newSample(1)
			for i := range 12 {
				s.batch(payload(10 + i))
				s.sync()
			}
			s.slot()
			s.cutAt(s.places[7])
			s.slot() // both slots say so
			s.batch(payload(100))
			s.batch(payload(100))
			s.cutAt(s.places[3])
			s.slot()
			if slot >= 0 {
				s.segments[0][frame.SlotOffset+slot*frame.BlockBytes+20] ^= 1
			}
			j := s.recover(t, recovery.Options{All: true})
			wantFacts(t, j, facts{Verdict: recovery.Torn, Last: 4, Watermark: 4})
			if j.Epoch != 3 || j.Cut.LSN != 4 {
				t.Errorf("epoch %d, cut %+v", j.Epoch, j.Cut)
			}
			s.batch(payload(10 + 4)) // the very record that was there
			s.batch(payload(10 + 5))
			j = s.recover(t, recovery.Options{All: true})
			wantFacts(t, j, facts{Verdict: recovery.Torn, Last: 6, Watermark: 4})
		})
	}
}

// TestEveryBitFlipped flips each bit of the parts of a log that mean something.
func TestEveryBitFlipped(t *testing.T) {
	s := long(3)
	s.segments, s.places = s.segments[:3], s.places[:6]
	spans := [][2]int64{{0, 80}, {frame.StampOffset, frame.StampOffset + 104}, {frame.DataOffset, s.off}}
	for i, data := range s.segments {
		for _, span := range spans {
			for off := span[0]; off < span[1]; off++ {
				bit := byte(1) << (off % 8)
				data[off] ^= bit
				j, err := s.try(recovery.Options{All: true})
				data[off] ^= bit
				switch {
				case errors.Is(err, recovery.ErrForeign), errors.Is(err, recovery.ErrVersion):
					t.Errorf("segment %d, byte %d: %v: the checksum says that it is damage", i, off, err)
				case err != nil:
					t.Errorf("segment %d, byte %d: %v", i, off, err)
				case j.Verdict != recovery.Damaged && j.Tail.LSN < 4:
					t.Errorf("segment %d, byte %d: %v, last %d of 4 that are durable", i, off, j.Verdict, j.Tail.LSN)
				case j.Verdict == recovery.Clean && j.Tail.LSN != 6:
					t.Errorf("segment %d, byte %d: clean, last %d of 6", i, off, j.Tail.LSN)
				}
			}
		}
	}
}

// TestEpochNeverFalls ends the chain where a frame is of a smaller epoch than
// the one before it.
func TestEpochNeverFalls(t *testing.T) {
	s := newSample(1)
	s.batch(payload(1))
	s.epoch = 2
	s.batch(payload(2))
	s.epoch = 1
	s.batch(payload(3))
	wantFacts(t, s.recover(t, recovery.Options{All: true}), facts{Verdict: recovery.Torn, Last: 2})
}
