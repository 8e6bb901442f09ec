package wal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// studied is a log as it was before it is damaged, with all that it says of
// itself: the records, where they lie, and who vouches for which of them.
type studied struct {
	*specimen
	records  map[wal.LSN][]byte
	ends     map[wal.LSN]bool // the last records of batches
	evidence []evidence
	was      []placed // the frames of the first segment
}

// evidence is a watermark on the disk, and the bytes that must be whole for it to
// be believed.
type evidence struct {
	durable wal.LSN
	file    string
	spans   [][2]int64
}

// study reads all that a whole log says.
func study(s *specimen) *studied {
	w := &studied{specimen: s, records: map[wal.LSN][]byte{}, ends: map[wal.LSN]bool{0: true}}
	for _, name := range s.segments() {
		data := s.get(name)
		h, err := frame.DecodeHeader(data)
		if err != nil {
			s.t.Fatal(err)
		}
		st, _, err := frame.DecodeStamp(data[frame.StampOffset:], &h)
		if err != nil {
			continue // prepared
		}
		head := [2]int64{0, frame.SegmentHeaderBytes}
		before := [2]int64{frame.StampOffset, frame.StampOffset + frame.StampBytes}
		w.evidence = append(w.evidence, evidence{st.Watermark, name, [][2]int64{head, before}})
		for i := range frame.Slots {
			off := int64(frame.SlotOffset + i*frame.BlockBytes)
			if slot, err := frame.DecodeSlot(data[off:], h.Seed()); err == nil {
				w.evidence = append(w.evidence, evidence{slot.Watermark, name, [][2]int64{head, {off, off + frame.SlotBytes}}})
			}
		}
		frames := framesOf(s.t, data)
		if name == firstName {
			w.was = frames
		}
		for _, f := range frames {
			own := [2]int64{f.off, f.off + frame.HeaderBytes}
			switch durable, ok := f.Watermark(); {
			case f.Kind == frame.KindMark:
				body := [2]int64{f.off, f.end()}
				w.evidence = append(w.evidence, evidence{frame.Mark(f.payload), name, [][2]int64{head, before, body}})
			case ok:
				w.evidence = append(w.evidence, evidence{durable, name, [][2]int64{head, before, own}})
			}
			if f.Kind == frame.KindRecord {
				w.records[f.LSN], w.ends[f.LSN] = f.payload, f.Last
			}
			before = own
		}
	}
	return w
}

// proved returns the highest watermark that the files, as they are now, still
// prove: a frame's is believed as far as the one before it proves it.
func (w *studied) proved(now, then map[string][]byte) wal.LSN {
	durable := wal.LSN(0)
	for _, c := range w.evidence {
		whole := true
		for _, span := range c.spans {
			data := now[c.file]
			whole = whole && int64(len(data)) >= span[1] &&
				bytes.Equal(data[span[0]:span[1]], then[c.file][span[0]:span[1]])
		}
		if whole {
			durable = max(durable, c.durable)
		}
	}
	return durable
}

// lawful verifies a damaged log: what is read is what was appended, by whole
// batches, and what is proved to have been durable is there, or damage is said.
func (w *studied) lawful(what string, proved wal.LSN) *wal.Report {
	w.t.Helper()
	rep, err := wal.Verify(w.dir)
	if err != nil {
		w.t.Fatalf("%s: verify: %v", what, err)
	}
	next := wal.LSN(1)
	_, err = wal.Dump(w.dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		want, ok := w.records[lsn]
		if lsn != next || !ok || !bytes.Equal(p, want) {
			return fmt.Errorf("dumped record %d for %d: %.40x, want %.40x", lsn, next, p, want)
		}
		next++
		return nil
	})
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	if next != rep.LastLSN+1 || !w.ends[rep.LastLSN] {
		w.t.Fatalf("%s: %d records dumped, the last is said to be %d, the end of a batch: %v",
			what, next-1, rep.LastLSN, w.ends[rep.LastLSN])
	}
	if (rep.Verdict == wal.Damaged) != (len(rep.Damage) > 0) {
		w.t.Fatalf("%s: %v with damage %+v", what, rep.Verdict, rep.Damage)
	}
	if rep.Verdict != wal.Damaged && rep.LastLSN < proved {
		w.t.Fatalf("%s: %v and the last record %d: %d was proved to be durable", what, rep.Verdict, rep.LastLSN, proved)
	}
	return rep
}

// varied makes a log of one segment with records of many sizes, batches, marks
// and checkpoints. With leave, the newest records are not synced.
func varied(t testing.TB, leave bool) *studied {
	t.Helper()
	o := small()
	o.Align = wal.AlignSector // marks carry each commit to its boundary
	l, dir := newTestLog(t, o)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	appendSizes := func(sizes ...int) {
		for _, n := range sizes {
			_, err := l.Append(record(l.LastLSN()+1, n))
			must(err)
		}
	}
	appendSizes(40, 0, 1)
	must(l.Sync())
	appendSizes(7)
	_, err := l.AppendBatch([][]byte{record(5, 30), {}, record(7, 9)})
	must(err)
	must(l.Checkpoint())
	appendSizes(8, 100)
	must(l.Sync())
	appendSizes(16)
	if !leave {
		must(l.Close())
		return study(take(t, dir))
	}
	_, err = l.AppendBatch([][]byte{record(11, 3), record(12, 60)})
	must(err)
	appendSizes(5)
	return study(takeLive(t, l, dir))
}

// spans are the bytes of a segment's blocks that mean something, its frames
// and a little behind.
func (w *studied) spans() [][2]int64 {
	frames := w.frames(firstName)
	return [][2]int64{
		{frame.HeaderOffset, frame.SegmentHeaderBytes + 4},
		{frame.StampOffset, frame.StampOffset + frame.StampBytes + 4},
		{frame.SlotOffset, frame.SlotOffset + frame.SlotBytes + 4},
		{frame.SlotOffset + frame.BlockBytes, frame.SlotOffset + frame.BlockBytes + frame.SlotBytes + 4},
		{frame.ControlOffset, frame.ControlOffset + frame.ControlBytes},
		{frame.DataOffset, frames[len(frames)-1].end() + 40},
	}
}

// TestEveryByteFlipped flips each byte of a small log in turn: never a wrong
// record, never the silent loss of a durable one.
func TestEveryByteFlipped(t *testing.T) {
	for _, leave := range []bool{false, true} {
		t.Run(fmt.Sprintf("unsynced=%v", leave), func(t *testing.T) {
			t.Parallel()
			w := varied(t, leave)
			then := readDir(t, w.dir)
			data := then[firstName]
			f, err := os.OpenFile(filepath.Join(w.dir, firstName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			count := map[wal.Verdict]int{}
			step, begin := int64(1), int64(0)
			if !thorough() {
				step = 9
				begin = newRand(newSeed(t)).Int64N(step)
			}
			for _, span := range w.spans() {
				for off := span[0] + begin; off < span[1]; off += step {
					was := data[off]
					data[off] = was ^ 1<<(off%8)
					if _, err := f.WriteAt(data[off:off+1], off); err != nil {
						t.Fatal(err)
					}
					data[off] = was
					now := map[string][]byte{firstName: append([]byte(nil), data...)}
					now[firstName][off] ^= 1 << (off % 8)
					rep := w.lawful(fmt.Sprintf("byte %d flipped", off), w.proved(now, then))
					count[rep.Verdict]++
					if _, err := f.WriteAt(data[off:off+1], off); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("verdicts: %v", count)
			for _, v := range []wal.Verdict{wal.Clean, wal.Torn, wal.Damaged} {
				if count[v] == 0 {
					t.Errorf("no flip was found %v", v)
				}
			}
		})
	}
}
