package wal_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestPayloadImitatesFrames appends a record whose payload is made of frames,
// ruins the header of its own frame, so that the search for genuine frames
// goes through the payload, and wants none to be found there.
func TestPayloadImitatesFrames(t *testing.T) {
	tests := []struct {
		name string
		make func(whole []byte, frames []placed, other []byte) []byte
	}{
		{"frames of the same segment", func(whole []byte, frames []placed, _ []byte) []byte {
			return whole[frames[0].off:frames[len(frames)-1].end()]
		}},
		{"each byte earlier and later", func(whole []byte, frames []placed, _ []byte) []byte {
			var p []byte
			for i := range 16 {
				p = append(p, make([]byte, i)...)
				p = append(p, whole[frames[2].off:frames[7].end()]...)
			}
			return p
		}},
		{"frames of another segment at their own offsets", func(_ []byte, frames []placed, other []byte) []byte {
			from := frames[len(frames)-1].end() + frame.HeaderBytes
			return other[from : from+20000]
		}},
		{"a whole segment's beginning", func(whole []byte, _ []placed, _ []byte) []byte {
			return whole[:30000]
		}},
		{"nested", func(whole []byte, frames []placed, _ []byte) []byte {
			p := whole[frames[0].off:frames[5].end()]
			for range 5 {
				p = reframe(p, whole, frames[5])
			}
			return p
		}},
	}
	other := synced(t, 300, 300).get(firstName)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 10, 100)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			whole := takeLive(t, l, dir).get(firstName)
			lsn, err := l.Append(tt.make(whole, framesOf(t, whole), other))
			if err != nil || lsn != 11 {
				t.Fatalf("append: LSN %d, %v", lsn, err)
			}
			appendRecords(t, l, 2, 100)
			s := takeLive(t, l, dir)
			w := study(s)
			w.lawful("whole", 10)

			// Torn: nothing behind record 10 was synced. Record 13 is proved by 12.
			f := s.frameOf(firstName, 11)
			s.zero(firstName, f.off, f.off+frame.HeaderBytes)
			s.wantReport(t, wal.Torn, 10, 10, []wal.Range{{First: 12, Last: 13}})
			// The frame before it is lost too.
			f = w.frameOf(firstName, 10)
			s.zero(firstName, f.off, f.off+frame.HeaderBytes)
			s.wantReport(t, wal.Damaged, 9, 10, []wal.Range{{First: 12, Last: 13}})
			// And so is all that follows: nothing but the imitations is left.
			f = w.frameOf(firstName, 12)
			s.zero(firstName, f.off, int64(len(whole)))
			s.wantReport(t, wal.Torn, 9, 0, nil)
		})
	}
}

// frameOf is specimen's, for what was studied before it was damaged.
func (w *studied) frameOf(_ string, lsn wal.LSN) placed {
	w.t.Helper()
	for _, f := range w.was {
		if f.Kind == frame.KindRecord && f.LSN == lsn {
			return f
		}
	}
	w.t.Fatalf("no frame of record %d", lsn)
	return placed{}
}

// reframe wraps bytes into a frame with a header that was real elsewhere.
func reframe(p, whole []byte, like placed) []byte {
	f := like.Frame
	f.Length, f.PayloadCRC = uint32(len(p)), frame.Checksum(p)
	h, err := frame.DecodeHeader(whole)
	if err != nil {
		panic(err)
	}
	var buf frame.Buffer
	head, _ := buf.Encode(&f, h.Seed(), like.Link, like.off)
	out := append(bytes.Clone(head), p...)
	return append(out, make([]byte, (8-len(out)%8)%8)...)
}

// wantReport verifies the specimen and compares verdict, last record,
// watermark and what is intact behind the tail.
func (s *specimen) wantReport(t testing.TB, v wal.Verdict, last, durable wal.LSN, behind []wal.Range) {
	t.Helper()
	rep, err := wal.Verify(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Verdict != v || rep.LastLSN != last || rep.DurableLSN != durable || fmt.Sprint(rep.Behind) != fmt.Sprint(behind) {
		t.Fatalf("found %v, last %d, durable %d, behind %v; want %v, %d, %d, %v; damage %+v",
			rep.Verdict, rep.LastLSN, rep.DurableLSN, rep.Behind, v, last, durable, behind, rep.Damage)
	}
}

// TestImitationBehindCut appends, after a cut, a record whose payload holds the
// very frames that the cut removed, at the very offsets at which they lay.
// Their links are right, their neighbours prove them, and their watermarks name
// records that were lost: the cut's epoch says that they are remains.
func TestImitationBehindCut(t *testing.T) {
	old := synced(t, 40, 60)
	was := old.frames(firstName)
	whole := old.get(firstName)
	s := take(t, old.dir)
	s.flip(firstName, was[10].off+frame.HeaderBytes)
	if rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); err != nil || rep.LastLSN != 10 {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	l := openLog(t, s.dir, small())
	// A frame of 8 bytes of payload takes 32: its payload then begins before
	// the second frame that was cut.
	from := was[10].off + frame.HeaderBytes
	imitation := whole[from:was[59].end()]
	for _, p := range [][]byte{imitation, record(12, 100)} {
		if _, err := l.Append(p); err != nil {
			t.Fatal(err)
		}
	}
	s = takeLive(t, l, s.dir)
	frames := s.frames(firstName)
	got := frames[10]
	if got.off != was[10].off || !bytes.Equal(s.get(firstName)[was[11].off:was[59].end()], whole[was[11].off:was[59].end()]) {
		t.Fatalf("the imitation lies at %d, the frames that it copies at %d", got.off, was[10].off)
	}
	s.wantReport(t, wal.Clean, 12, 10, nil)
	s.zero(firstName, got.off, got.off+frame.HeaderBytes)
	s.wantReport(t, wal.Torn, 10, 10, nil)
	back := openLog(t, s.dir, small())
	if back.LastLSN() != 10 {
		t.Fatalf("opened with record %d", back.LastLSN())
	}
	wantRecords(t, back, 1, 10, 100)
}

// TestRemainsAccuseNobody puts back, behind a forced cut, all that it removed,
// as a crash could that undoes the steps after the cut's slot: old frames, their
// watermarks, and whole segments.
func TestRemainsAccuseNobody(t *testing.T) {
	base := rotated(t) // 14 records, all durable
	before := readDir(t, base.dir)
	cut := base.frames(secondName)[1] // record 6
	s := take(t, base.dir)
	s.flip(secondName, cut.off+frame.HeaderBytes)
	rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true})
	if err != nil || rep.LastLSN != 5 || fmt.Sprint(rep.Lost) != "[{6 14}]" {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	s.wantReport(t, wal.Clean, 5, 5, nil)
	put := func(s *specimen) {
		s.change(secondName, func(data []byte) []byte {
			copy(data[cut.off:], before[secondName][cut.off:])
			return data
		})
		for _, name := range []string{thirdName, fourthName} {
			s.put(name, before[name])
		}
	}
	back := take(t, s.dir)
	put(back)
	back.analyze(small(), finding{verdict: wal.Torn, last: 5, durable: 5, torn: 30072, size: 10000})

	// The same when the newer of the two slots is lost, or the older.
	for _, slot := range []int64{frame.SlotOffset, frame.SlotOffset + frame.BlockBytes} {
		back := take(t, s.dir)
		put(back)
		back.zero(secondName, slot, slot+frame.SlotBytes)
		back.analyze(small(), finding{verdict: wal.Torn, last: 5, durable: 5, torn: 30072, size: 10000})
	}
}

// TestSameBytesAgain appends, after a cut, the very bytes that the cut removed,
// and crashes so that only some of the new ones are there, and the old ones
// come back: the mixture never makes records that were not appended since.
func TestSameBytesAgain(t *testing.T) {
	base := synced(t, 5, 12)
	was := base.frames(firstName)
	old := base.get(firstName)
	s := take(t, base.dir)
	s.zero(firstName, was[7].off, was[7].end()) // record 8: 9 to 12 are behind a hole
	l := openLog(t, s.dir, small())
	if l.LastLSN() != 7 {
		t.Fatalf("opened with record %d", l.LastLSN())
	}
	appendRecords(t, l, 5, 100)
	if err := l.Commit(context.Background(), 7); err != nil {
		t.Fatal(err)
	}
	live := takeLive(t, l, s.dir)
	now := live.frames(firstName)
	if len(now) != len(was) || now[8].off != was[8].off || !bytes.Equal(now[8].payload, was[8].payload) {
		t.Fatalf("the frames are not where they were: %+v, %+v", now[8], was[8])
	}
	// Any of the new frames gives way to the old one at its place.
	for i := 7; i < 12; i++ {
		s := take(t, live.dir)
		s.change(firstName, func(data []byte) []byte {
			copy(data[was[i].off:], old[was[i].off:was[i].end()])
			return data
		})
		rep, err := wal.Verify(s.dir)
		if err != nil || rep.Verdict != wal.Torn || rep.LastLSN != wal.LSN(i) {
			t.Fatalf("old frame %d is back: %v, last %d, %v", i+1, rep.Verdict, rep.LastLSN, err)
		}
		for _, r := range rep.Behind {
			if r.First <= wal.LSN(i+1) && wal.LSN(i+1) <= r.Last {
				t.Fatalf("old frame %d counts as intact: %v", i+1, rep.Behind)
			}
		}
	}
	// All of the old ones are back: none is a record.
	all := take(t, live.dir)
	all.change(firstName, func(data []byte) []byte {
		copy(data[was[7].off:], old[was[7].off:was[11].end()])
		return data
	})
	all.wantReport(t, wal.Torn, 7, 7, nil)
}
