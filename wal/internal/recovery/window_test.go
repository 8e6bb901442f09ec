package recovery_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// bigBytes is the size of a segment of which recovery may see a part at once, and
// mostPages how large that part may be: a window, and places ahead of it.
const (
	bigBytes  = 64 << 20
	mostPages = 16 << 20 >> 12
)

// bigSample makes a log of two large segments, the second in use up to its middle.
func bigSample() *sample {
	s := newSample(1)
	s.size = bigBytes
	s.segments = nil
	s.rotate()
	for n := range 2 {
		for s.off < bigBytes/2 || n == 0 && s.off < bigBytes-3<<20 {
			p := make([]byte, 100<<10)
			p[0], p[len(p)-1] = byte(s.lsn), 1
			switch s.lsn % 50 {
			case 7: // a record that is larger than what is readable at once
				s.batch(append(make([]byte, 11<<20), p...))
			case 9: // and a batch
				s.batch(slices.Repeat([][]byte{p}, 60)...)
			default:
				s.batch(p)
			}
		}
		if n == 0 {
			s.rotate()
		}
	}
	return s
}

// within fails the test where more than that was readable at once.
func within(t *testing.T, what string, mems []*memory, pages int) {
	t.Helper()
	for i, m := range mems {
		t.Logf("%s: segment %d: %d KiB at once, %d KiB in all", what, i+1, 4*m.most, m.touched>>10)
		if m.most > pages {
			t.Errorf("%s: of segment %d %d KiB were readable at once, more than %d", what, i+1, 4*m.most, 4*pages)
		}
	}
}

// TestWindow recovers large segments: how much of one is readable at once does not
// depend on its size, and without a visitor each is read once.
func TestWindow(t *testing.T) {
	s := bigSample()
	files, mems := s.files()
	res, err := recovery.Recover(files, recovery.Options{})
	if err != nil || res.Verdict != recovery.Clean || res.Tail.LSN != s.lsn {
		t.Fatalf("%+v, %v", res, err)
	}
	within(t, "recovered", mems, mostPages)
	for i, m := range mems {
		if m.touched > bigBytes+4<<20 {
			t.Errorf("segment %d: %d bytes were read", i+1, m.touched)
		}
	}
	last := s.places[len(s.places)-1]
	if res.Tail.Frame != last.off {
		t.Errorf("the last frame lies at %d, not %d", res.Tail.Frame, last.off)
	}
	files, mems = s.files()
	next := frame.LSN(0)
	res, err = recovery.Recover(files, recovery.Options{All: true, Visit: func(r recovery.Record) error {
		next++
		if p := s.records[next][0]; r.LSN != next || frame.Checksum(r.Payload) != frame.Checksum(p) {
			t.Errorf("LSN %d is not what was appended as %d", r.LSN, next)
		}
		return nil
	}})
	if err != nil || next != s.lsn || res.Records != uint64(s.lsn) {
		t.Fatalf("LSN %d of %d: %+v, %v", next, s.lsn, res, err)
	}
	within(t, "visited", mems, mostPages)
}

// lie fills bytes with headers of frames that end anywhere, one behind the other, each
// of which could follow a record.
func lie(p []byte, after frame.LSN) {
	rng := rand.New(rand.NewPCG(1, 2))
	for ; len(p) >= frame.HeaderBytes; p = p[frame.HeaderBytes:] {
		clear(p[:frame.HeaderBytes])
		binary.LittleEndian.PutUint32(p, rng.Uint32N(bigBytes/2))
		binary.LittleEndian.PutUint32(p[8:], uint32(after)+rng.Uint32N(2))
		binary.LittleEndian.PutUint32(p[12:], 1)
		p[16] = byte(frame.KindRecord)
		binary.LittleEndian.PutUint32(p[20:], rng.Uint32())
	}
}

// TestWindowOfASearch searches behind a break, in bytes that look like headers: what
// they name is read, but not all that lies between, and not once for each of them.
func TestWindowOfASearch(t *testing.T) {
	s := bigSample()
	second := slices.IndexFunc(s.places, func(p spot) bool { return p.segment == 1 })
	hole := s.places[second+1]
	lie(s.tail()[hole.off:s.off], hole.LSN)
	first := s.lsn + 1
	s.batch([]byte("intact"))
	s.batch([]byte("intact too"))
	files, mems := s.files()
	res, err := recovery.Recover(files, recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Tail.LSN != hole.LSN-1 || len(res.Behind) != 1 || res.Behind[0].Last != s.lsn || res.Behind[0].First > first+1 {
		t.Errorf("tail %+v, behind it %+v; LSN %d to %d are intact", res.Tail, res.Behind, first, s.lsn)
	}
	within(t, "searched", mems, mostPages)
	for i, m := range mems {
		if m.touched > 16*bigBytes {
			t.Errorf("of segment %d %d MiB were read", i+1, m.touched>>20)
		}
	}
}

// TestWindowOfOneWord searches in bytes that are one header over and over, each of
// which names a place far ahead.
func TestWindowOfOneWord(t *testing.T) {
	s := newSample(1)
	s.size, s.segments = bigBytes, nil
	s.rotate()
	for range 2 {
		s.batch([]byte("small"))
	}
	end := int64(bigBytes - 4096)
	for i := s.places[1].off; i < end; i += 8 {
		binary.LittleEndian.PutUint64(s.tail()[i:], 0x0000000100400001)
	}
	files, mems := s.files()
	res, err := recovery.Recover(files, recovery.Options{})
	if err != nil || res.Tail.LSN != 1 || len(res.Behind) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	within(t, "searched", mems, mostPages)
	if m := mems[0]; m.touched > 16*bigBytes {
		t.Errorf("%d MiB were read", m.touched>>20)
	}
}

// TestSearchFindsTheFirst has, behind a break, a frame whose successor lies far ahead,
// and in its payload headers with arbitrary lengths, and two frames that are linked: the
// search goes on at the frame that holds them.
func TestSearchFindsTheFirst(t *testing.T) {
	for _, size := range []int{1 << 10, 1<<20 + 1<<10, 3 << 20, 24 << 20} {
		for _, after := range []int{1, 3} { // frames behind it
			s := newSample(1)
			s.size = int64(max(8<<20, 2*size))
			s.segments = nil
			s.rotate()
			for range 3 {
				s.batch([]byte("small"))
			}
			broken := s.places[2]
			payload := make([]byte, size)
			lie(payload, s.lsn+1)
			link := frame.Link(77)
			for i := range int64(2) { // two of the segment's own, which nothing is linked to
				f := frame.Frame{LSN: s.lsn + 5 + frame.LSN(i), Epoch: 1, Kind: frame.KindRecord, First: true, Last: true}
				at := 16 + i*frame.HeaderBytes
				var h []byte
				h, link = s.buf.Encode(&f, s.seed, link, s.off+frame.HeaderBytes+at)
				copy(payload[at:], h)
			}
			s.batch(payload)
			for range after {
				s.batch([]byte("small"))
			}
			clear(s.tail()[broken.off : broken.off+frame.HeaderBytes])
			s.tail()[broken.off] = 1
			files, _ := s.files()
			res, err := recovery.Recover(files, recovery.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := []recovery.Range{{First: broken.LSN + 1, Last: s.lsn}}
			if res.Tail.LSN != broken.LSN-1 || !slices.Equal(res.Behind, want) {
				t.Errorf("a frame of %d bytes and %d behind it: found %v, want %v", size, after, res.Behind, want)
			}
		}
	}
}

// TestWindowWithoutHead takes the heads of large segments away: what tells whose
// their frames are is looked for within a window, too.
func TestWindowWithoutHead(t *testing.T) {
	s := bigSample()
	for _, data := range s.segments {
		clear(data[:frame.DataOffset])
	}
	files, mems := s.files()
	next := frame.LSN(0)
	res, err := recovery.Recover(files, recovery.Options{Behind: func(r recovery.Record) error {
		next++
		if p := s.records[next][0]; r.LSN != next || !r.Guessed || frame.Checksum(r.Payload) != frame.Checksum(p) {
			t.Errorf("LSN %d, guessed %v, is not what was appended as %d", r.LSN, r.Guessed, next)
		}
		return nil
	}})
	if err != nil || next != s.lsn || res.Verdict != recovery.Damaged {
		t.Fatalf("LSN %d of %d: %+v, %v", next, s.lsn, res, err)
	}
	within(t, "without heads", mems, mostPages)
}

// TestWindowOfFewFrames has one record, or two, that are larger than the window, in a
// segment without its head.
func TestWindowOfFewFrames(t *testing.T) {
	for n := 1; n <= 2; n++ {
		for _, broken := range []bool{false, true} {
			s := newSample(1)
			s.size = bigBytes
			s.segments = nil
			s.rotate()
			for range n {
				s.batch(append(make([]byte, 17<<20), 1))
			}
			clear(s.tail()[:frame.DataOffset])
			if broken {
				s.tail()[frame.DataOffset+16<<20] ^= 1
			}
			files, mems := s.files()
			res, err := recovery.Recover(files, recovery.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := []recovery.Range{{First: 1, Last: frame.LSN(n)}}
			if broken {
				want = nil
			}
			if !slices.Equal(res.Behind, want) {
				t.Errorf("%d records, one broken %v: found %v", n, broken, res.Behind)
			}
			within(t, "few frames", mems, mostPages)
		}
	}
}
