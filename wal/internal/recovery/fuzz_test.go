package recovery_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// samples are the logs that are mutated.
var samples = []func() *sample{
	func() *sample { return newSample(1) },
	func() *sample { return busy(1) },
	func() *sample { return busy(1<<32 - 9) },
	func() *sample { return long(4) },
	func() *sample { // cut, and gone on over what lay there
		s := busy(1)
		s.cutAt(s.places[9])
		s.batch([]byte("a"), []byte("b"))
		s.mark()
		s.sync()
		s.batch(payload(50))
		return s
	},
	func() *sample { // that goes on in segments that have their temporary names
		s := busy(1)
		s.rotate()
		s.temp[1] = true
		s.batch(payload(30))
		s.prepare()
		s.temp[2] = true
		return s
	},
	func() *sample { // payloads that imitate frames
		s := busy(1)
		whole := bytes.Clone(s.segments[0][frame.DataOffset:s.off])
		s.batch(whole)
		s.batch(append(make([]byte, 16), whole...), whole)
		s.sync()
		s.batch(nil)
		return s
	},
}

// busy makes a log of one segment with some of everything.
func busy(first frame.LSN) *sample {
	s := newSample(first)
	for i := range 4 {
		s.batch(payload(i))
		s.batch(payload(3), nil, payload(40))
		s.sync()
		if i%2 == 0 {
			s.mark()
		} else {
			s.slot()
		}
	}
	s.batch(payload(9))
	return s
}

// target chooses a place: mostly within a block or a frame, where it matters.
func (s *sample) target(v uint32) (segment int, off int64) {
	segment = int(v>>16) % len(s.segments)
	low := int64(v & 0xffff)
	switch {
	case v&(1<<31) != 0: // anywhere
		return segment, low % frame.MinSegmentBytes
	case low < 1024: // the heads
		return segment, low/204*frame.BlockBytes%frame.DataOffset & ^(frame.BlockBytes-1) + low%204
	default: // near a frame
		if len(s.places) == 0 {
			return segment, frame.DataOffset + low%100
		}
		p := s.places[int(low>>5)%len(s.places)]
		return p.segment, p.off + low%32
	}
}

// mutate changes the log as the bytes say: 12 of them a change.
func (s *sample) mutate(ops []byte) {
	for n := 0; len(ops) >= 12 && n < 40; n, ops = n+1, ops[12:] {
		a, b, c := binary.LittleEndian.Uint32(ops[0:]), binary.LittleEndian.Uint32(ops[4:]), binary.LittleEndian.Uint32(ops[8:])
		i, off := s.target(b)
		data := s.segments[i]
		if off >= int64(len(data)) {
			continue
		}
		rest := data[off:]
		switch a % 8 {
		case 0:
			rest[0] ^= byte(c)
		case 1: // a hostile length, LSN, epoch, distance, whatever lies there
			if len(rest) >= 4 {
				binary.LittleEndian.PutUint32(rest, c)
			}
		case 2:
			clear(rest[:min(int64(c%5000), int64(len(rest)))])
		case 3: // splice
			j, from := s.target(c)
			if from < int64(len(s.segments[j])) {
				copy(rest[:min(int64(len(rest)), int64(a>>8%6000))], s.segments[j][from:])
			}
		case 4:
			if a>>8%4 == 0 {
				s.segments[i] = data[:off]
			}
		case 5: // the same place of another segment
			j := int(c) % len(s.segments)
			if off < int64(len(s.segments[j])) {
				copy(rest[:min(int64(len(rest)), int64(a>>8%30000))], s.segments[j][off:])
			}
		case 6:
			s.temp[i] = !s.temp[i]
		case 7:
			if a>>8%4 == 0 {
				s.segments[i], s.segments[len(s.segments)-1] = s.segments[len(s.segments)-1], s.segments[i]
			}
		}
	}
}

// FuzzRecover mutates logs. Whatever the bytes say, recovery ends, within some
// passes over them, and never returns a record that was not appended, half a
// batch, or less than what it says was durable.
func FuzzRecover(f *testing.F) {
	op := func(kind, at, arg uint32) []byte {
		var b [12]byte
		binary.LittleEndian.PutUint32(b[0:], kind)
		binary.LittleEndian.PutUint32(b[4:], at)
		binary.LittleEndian.PutUint32(b[8:], arg)
		return b[:]
	}
	near := func(place, off uint32) uint32 { return max(place<<5|off, 1024) }
	for i := range samples {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), op(1, near(40, 0), 1<<32-1))                                // a length
		f.Add(byte(i), op(1, near(35, 0), 1<<31))                                  // another
		f.Add(byte(i), op(1, near(36, 8), 0))                                      // an LSN
		f.Add(byte(i), op(1, near(36, 12), 1<<32-1))                               // an epoch
		f.Add(byte(i), op(2, near(33, 0), 60))                                     // a hole
		f.Add(byte(i), append(op(0, 204+10, 1), op(0, near(34, 3), 7)...))         // stamp and frame
		f.Add(byte(i), append(op(2, 408, 80), op(2, 612, 80)...))                  // both slots
		f.Add(byte(i), op(3|200<<8, near(37, 0), near(33, 0)))                     // a splice
		f.Add(byte(i), append(op(4, near(36, 3), 0), op(6, 0, 0)...))              // short, temporary
		f.Add(byte(i), append(op(7, 0, 0), op(5|20000<<8, near(33, 0), 1<<16)...)) // exchanged
	}
	f.Fuzz(func(t *testing.T, which byte, ops []byte) {
		s := samples[int(which)%len(samples)]()
		s.mutate(ops)
		var all recovered
		for _, o := range []recovery.Options{{All: true}, {}, {From: 5}} {
			j := s.checked(t, o)
			if o.All {
				all = j
			} else if j.Verdict != recovery.Damaged && all.Verdict != recovery.Damaged && j.Tail.LSN != all.Tail.LSN {
				t.Errorf("with %+v the log ends at %d, with All at %d", o, j.Tail.LSN, all.Tail.LSN)
			}
		}
	})
}

// checked recovers the log, twice, and checks what holds of every recovery.
func (s *sample) checked(t *testing.T, o recovery.Options) recovered {
	t.Helper()
	j := s.recover(t, o)
	if again := s.recover(t, o); !reflect.DeepEqual(j.Result, again.Result) {
		t.Errorf("recovered %+v, and then %+v", j.Result, again.Result)
	}
	if (j.Verdict == recovery.Damaged) != (len(j.Damage) > 0) {
		t.Errorf("%v with damage %+v", j.Verdict, j.Damage)
	}
	if j.Verdict != recovery.Damaged && j.Tail.LSN < j.Watermark {
		t.Errorf("%v: the log ends at %d, and %d were durable", j.Verdict, j.Tail.LSN, j.Watermark)
	}
	if j.Verdict == recovery.Clean && (j.TornBytes != 0 || len(j.Behind) != 0) {
		t.Errorf("clean with %d torn bytes, %v behind the tail", j.TornBytes, j.Behind)
	}
	for i, r := range j.Behind {
		if r.First > r.Last || r.First <= j.Tail.LSN && j.Verdict != recovery.Damaged || i > 0 && r.First <= j.Behind[i-1].Last {
			t.Errorf("behind the tail %d: %v", j.Tail.LSN, j.Behind)
		}
	}
	files, mems := s.files()
	if _, err := recovery.Recover(files, o); err != nil {
		t.Fatal(err)
	}
	total, touched := int64(0), int64(0)
	for _, m := range mems {
		total, touched = total+int64(len(m.bytes)), touched+m.touched
	}
	if touched > 8*total {
		t.Errorf("touched %d of %d bytes", touched, total)
	}
	return j
}
