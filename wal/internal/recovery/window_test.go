package recovery_test

import (
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
	mostPages = 28 << 20 >> 12
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

// TestWindow judges large segments: how much of one is readable at once does not
// depend on its size, and without a visitor each is read once.
func TestWindow(t *testing.T) {
	s := bigSample()
	files, mems := s.files()
	res, err := recovery.Recover(files, recovery.Options{})
	if err != nil || res.Verdict != recovery.Clean || res.Tail.LSN != s.lsn {
		t.Fatalf("%+v, %v", res, err)
	}
	within(t, "judged", mems, mostPages)
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

// TestWindowOfASearch searches behind a break, in bytes that look like anything: what
// a header claims to lie ahead is looked at without all between.
func TestWindowOfASearch(t *testing.T) {
	s := bigSample()
	rng := rand.New(rand.NewPCG(1, 2))
	second := slices.IndexFunc(s.places, func(p spot) bool { return p.segment == 1 })
	hole := s.places[second+1]
	end := s.off
	for i := hole.off; i < end; i++ {
		s.tail()[i] = byte(rng.Uint32())
	}
	for i := hole.off; i < end; i += 1 << 10 { // headers of frames that end anywhere
		clear(s.tail()[i : i+24])
		n := rng.Uint32N(bigBytes / 2)
		s.tail()[i], s.tail()[i+1], s.tail()[i+2], s.tail()[i+3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
		s.tail()[i+8], s.tail()[i+9], s.tail()[i+16] = byte(hole.LSN), byte(hole.LSN>>8), 1
	}
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

// TestWindowOfFewFrames has one record, or two, that are larger than what is looked at
// at once, in a segment without its head.
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
