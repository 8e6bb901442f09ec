package frame_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal/frame"
)

// sealedBlock is one of the checksummed blocks as the tests see it: bytes, and
// a decoder that says whether what it returned is the zero value.
type sealedBlock struct {
	name   string
	sample func() []byte
	seed   frame.Seed
	decode func(p []byte) (any, error)
	want   any // what decode makes of the sample
	zero   any // what decode returns together with an error
}

// linkedStamp is what DecodeStamp returns.
type linkedStamp struct {
	Stamp frame.Stamp
	Link  frame.Link
}

// sealedBlocks returns header, stamp and slot of the sample segment.
func sealedBlocks() []sealedBlock {
	seed := sampleHeader.Seed()
	_, link := sampleStamp.Encode()
	return []sealedBlock{
		{
			name:   "header",
			sample: func() []byte { b := sampleHeader.Encode(); return b[:] },
			decode: func(p []byte) (any, error) { h, err := frame.DecodeHeader(p); return h, err },
			want:   sampleHeader, zero: frame.Header{},
		},
		{
			name:   "stamp",
			sample: func() []byte { b, _ := sampleStamp.Encode(); return b[:] },
			decode: func(p []byte) (any, error) {
				s, l, err := frame.DecodeStamp(p, &sampleHeader)
				return linkedStamp{s, l}, err
			},
			want: linkedStamp{sampleStamp, link}, zero: linkedStamp{},
		},
		{
			name:   "slot",
			sample: func() []byte { b := sampleSlot.Encode(seed); return b[:] },
			seed:   seed,
			decode: func(p []byte) (any, error) { s, err := frame.DecodeSlot(p, seed); return s, err },
			want:   sampleSlot, zero: frame.Slot{},
		},
		{
			name:   "checkpoint",
			sample: func() []byte { b := sampleCheckpoint.Encode(); return b[:] },
			decode: func(p []byte) (any, error) { c, err := frame.DecodeCheckpoint(p); return c, err },
			want:   sampleCheckpoint, zero: frame.Checkpoint{},
		},
	}
}

// refuses fails unless the block's decoder returns that error and nothing else.
func (sb *sealedBlock) refuses(t *testing.T, p []byte, want error, what string, args ...any) {
	t.Helper()
	got, err := sb.decode(p)
	if !errors.Is(err, want) {
		t.Errorf(what+": error %v, want %v", append(args, err, want)...)
	}
	if diff := cmp.Diff(sb.zero, got); diff != "" {
		t.Errorf(what+": returned together with the error (-want +got):\n%s", append(args, diff)...)
	}
}

func TestSealedBlocks(t *testing.T) {
	for _, sb := range sealedBlocks() {
		t.Run(sb.name, func(t *testing.T) {
			n := len(sb.sample())
			for _, p := range [][]byte{sb.sample(), append(sb.sample(), 0xff)} {
				got, err := sb.decode(p)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sb.want, got); diff != "" {
					t.Errorf("decoded differs (-want +got):\n%s", diff)
				}
			}
			sb.refuses(t, make([]byte, n), frame.ErrZero, "zeros")
			sb.refuses(t, make([]byte, frame.BlockBytes), frame.ErrZero, "a block of zeros")
			for short := range n {
				sb.refuses(t, sb.sample()[:short:short], frame.ErrInvalid, "%d bytes", short)
				sb.refuses(t, make([]byte, short), frame.ErrInvalid, "%d zeros", short)
			}
			for bit := range 8 * n {
				p := sb.sample()
				p[bit/8] ^= 1 << (bit % 8)
				sb.refuses(t, p, frame.ErrInvalid, "bit %d flipped", bit)
				p = make([]byte, n)
				p[bit/8] |= 1 << (bit % 8)
				sb.refuses(t, p, frame.ErrInvalid, "zeros but for bit %d", bit)
			}
			for i := range 8 { // every byte of the magic, also under a valid checksum
				p := sb.sample()
				p[i] ^= 0x20
				reseal(p, sb.seed)
				sb.refuses(t, p, frame.ErrInvalid, "byte %d of the magic", i)
			}
			for torn := 1; torn < n; torn++ {
				p := sb.sample()
				clear(p[torn:])
				sb.refuses(t, p, frame.ErrInvalid, "torn at %d", torn)
			}
		})
	}
}

// TestBlocksAreNotTakenForOneAnother reads each block with the others'
// decoders, at lengths that fit all.
func TestBlocksAreNotTakenForOneAnother(t *testing.T) {
	for _, from := range sealedBlocks() {
		for _, to := range sealedBlocks() {
			if from.name == to.name {
				continue
			}
			p := append(from.sample(), make([]byte, 512)...)
			to.refuses(t, p, frame.ErrInvalid, "%s read as %s", from.name, to.name)
			n := len(to.sample())
			reseal(p[:n], to.seed)
			to.refuses(t, p, frame.ErrInvalid, "%s resealed and read as %s", from.name, to.name)
		}
	}
}

func TestDecodeCheckpointChecksFields(t *testing.T) {
	for name, change := range map[string]func(*frame.Checkpoint){
		"counter 0": func(c *frame.Checkpoint) { c.Counter = 0 },
		"no log":    func(c *frame.Checkpoint) { c.UUID = frame.UUID{} },
		"ordinal 0": func(c *frame.Checkpoint) { c.Ordinal = 0 },
		"front 0":   func(c *frame.Checkpoint) { c.Front = 0 },
		"epoch 0":   func(c *frame.Checkpoint) { c.Epoch = 0 },
	} {
		c := sampleCheckpoint
		change(&c)
		b := c.Encode()
		if got, err := frame.DecodeCheckpoint(b[:]); !errors.Is(err, frame.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	c := sampleCheckpoint
	c.Watermark = 0 // of a log without records
	b := c.Encode()
	if got, err := frame.DecodeCheckpoint(b[:]); err != nil || got != c {
		t.Errorf("watermark 0: %+v, %v", got, err)
	}
}

func TestDecodeHeaderChecksFields(t *testing.T) {
	le := binary.LittleEndian
	set32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	set64 := func(at int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at:], v) } }
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		want   error
	}{
		{"unchanged", func([]byte) {}, nil},
		{"version 0", set32(8, 0), frame.ErrVersion},
		{"next version", set32(8, frame.Version+1), frame.ErrVersion},
		{"last version", set32(8, math.MaxUint32), frame.ErrVersion},
		{"lowest unknown feature", set32(12, frame.KnownFeatures+1), frame.ErrVersion},
		{"all features", set32(12, math.MaxUint32), frame.ErrVersion},
		{"next version with other fields", func(b []byte) {
			le.PutUint32(b[8:], frame.Version+1)
			for i := 16; i < 76; i++ {
				b[i] = 0xff
			}
		}, frame.ErrVersion},
		{"unknown feature with other fields", func(b []byte) {
			le.PutUint32(b[12:], 1<<31)
			clear(b[16:76])
		}, frame.ErrVersion},
		{"ordinal 0", set64(32, 0), frame.ErrInvalid},
		{"largest ordinal", set64(32, math.MaxUint64), nil},
		{"bytes 0", set64(40, 0), frame.ErrInvalid},
		{"bytes negative", set64(40, math.MaxUint64), frame.ErrInvalid},
		{"bytes of no whole blocks", set64(40, frame.MinSegmentBytes+8), frame.ErrInvalid},
		{"least bytes", set64(40, frame.MinSegmentBytes), nil},
		{"fewer bytes", set64(40, frame.MinSegmentBytes-frame.BlockBytes), frame.ErrInvalid},
		{"most bytes", set64(40, frame.MaxSegmentBytes), nil},
		{"more bytes", set64(40, frame.MaxSegmentBytes+frame.BlockBytes), frame.ErrInvalid},
		{"salt 0", set64(48, 0), nil},
		{"epoch 0", set32(56, 0), frame.ErrInvalid},
		{"last epoch", set32(56, math.MaxUint32), nil},
		{"first reserved byte", func(b []byte) { b[64] = 1 }, frame.ErrInvalid},
		{"last reserved byte", func(b []byte) { b[75] = 1 }, frame.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := sampleHeader.Encode()
			tt.change(b[:])
			reseal(b[:], 0)
			h, err := frame.DecodeHeader(b[:])
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil && h.Encode() != b {
				t.Errorf("decoded to %+v, which does not encode to the same", h)
			}
			if err != nil && h != (frame.Header{}) {
				t.Errorf("%+v together with error %v", h, err)
			}
		})
	}
}

// TestVersionIsBelievedOnlyUnderAChecksum tells a newer log from a damaged one.
func TestVersionIsBelievedOnlyUnderAChecksum(t *testing.T) {
	for bit := range 64 { // of version and features
		b := sampleHeader.Encode()
		b[8+bit/8] ^= 1 << (bit % 8)
		if _, err := frame.DecodeHeader(b[:]); !errors.Is(err, frame.ErrInvalid) || errors.Is(err, frame.ErrVersion) {
			t.Errorf("bit %d flipped, old checksum: %v, want ErrInvalid", bit, err)
		}
		reseal(b[:], 0)
		if _, err := frame.DecodeHeader(b[:]); !errors.Is(err, frame.ErrVersion) || errors.Is(err, frame.ErrInvalid) {
			t.Errorf("bit %d set, new checksum: %v, want ErrVersion", bit, err)
		}
	}
}

func TestValidSegmentBytes(t *testing.T) {
	for n, want := range map[int64]bool{
		math.MinInt64: false, -frame.MinSegmentBytes: false, -1: false, 0: false, frame.BlockBytes: false,
		frame.MinSegmentBytes - frame.BlockBytes: false,
		frame.MinSegmentBytes - 1:                false,
		frame.MinSegmentBytes:                    true,
		frame.MinSegmentBytes + 1:                false,
		frame.MinSegmentBytes + 512:              false,
		frame.MinSegmentBytes + frame.BlockBytes: true,
		64 << 20:                                 true,
		frame.MaxSegmentBytes - frame.BlockBytes: true,
		frame.MaxSegmentBytes:                    true,
		frame.MaxSegmentBytes + frame.BlockBytes: false,
		math.MaxInt64 &^ (frame.BlockBytes - 1):  false,
	} {
		if got := frame.ValidSegmentBytes(n); got != want {
			t.Errorf("ValidSegmentBytes(%d) = %v", n, got)
		}
	}
}

func TestDecodeStampChecksFields(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *frame.Stamp)
		want   error
	}{
		{"unchanged", func(*frame.Stamp) {}, nil},
		{"other log", func(s *frame.Stamp) { s.UUID[0]++ }, frame.ErrInvalid},
		{"other log in the last byte", func(s *frame.Stamp) { s.UUID[15]++ }, frame.ErrInvalid},
		{"other ordinal", func(s *frame.Stamp) { s.Ordinal++ }, frame.ErrInvalid},
		{"other salt: the file's former life", func(s *frame.Stamp) { s.Salt++ }, frame.ErrInvalid},
		{"first 0", func(s *frame.Stamp) { s.First, s.Watermark = 0, 0 }, frame.ErrInvalid},
		{"first of the log", func(s *frame.Stamp) { s.First, s.Watermark = 1, 0 }, nil},
		{"front 0", func(s *frame.Stamp) { s.Front = 0 }, frame.ErrInvalid},
		{"front before the segment", func(s *frame.Stamp) { s.Front = 1 }, nil},
		{"epoch 0", func(s *frame.Stamp) { s.Epoch = 0 }, frame.ErrInvalid},
		{"watermark right before first", func(s *frame.Stamp) { s.Watermark = s.First - 1 }, nil},
		{"watermark at first", func(s *frame.Stamp) { s.Watermark = s.First }, frame.ErrInvalid},
		{"watermark behind first", func(s *frame.Stamp) { s.Watermark = math.MaxUint64 }, frame.ErrInvalid},
		{"no flag", func(s *frame.Stamp) { s.Flags = 0 }, nil},
		{"unknown flag", func(s *frame.Stamp) { s.Flags |= 2 }, frame.ErrInvalid},
		{"last unknown flag", func(s *frame.Stamp) { s.Flags = 1 << 31 }, frame.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sampleStamp
			tt.change(&s)
			b, link := s.Encode()
			if want := frame.Link(binary.LittleEndian.Uint32(b[frame.StampBytes-4:])); link != want {
				t.Errorf("link %#x, crc %#x", link, want)
			}
			got, gotLink, err := frame.DecodeStamp(b[:], &sampleHeader)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				s, link = frame.Stamp{}, 0
			}
			if diff := cmp.Diff(linkedStamp{s, link}, linkedStamp{got, gotLink}); diff != "" {
				t.Errorf("decoded differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStampSalt covers the use it is for: the stamp of a segment without a
// header decodes with the salt that it names itself.
func TestStampSalt(t *testing.T) {
	b, _ := sampleStamp.Encode()
	h := frame.Header{UUID: sampleUUID, Ordinal: sampleStamp.Ordinal, Salt: frame.StampSalt(b[:])}
	s, _, err := frame.DecodeStamp(b[:], &h)
	if err != nil || s != sampleStamp {
		t.Errorf("decoded with salt %#x: %+v, %v", h.Salt, s, err)
	}
}

func TestDecodeSlotChecksFields(t *testing.T) {
	seed := sampleHeader.Seed()
	for _, tt := range []struct {
		name   string
		change func(s *frame.Slot)
		want   error
	}{
		{"unchanged", func(*frame.Slot) {}, nil},
		{"counter 0", func(s *frame.Slot) { s.Counter = 0 }, frame.ErrInvalid},
		{"first counter", func(s *frame.Slot) { s.Counter = 1 }, nil},
		{"epoch 0", func(s *frame.Slot) { s.Epoch = 0 }, frame.ErrInvalid},
		{"front 0", func(s *frame.Slot) { s.Front = 0 }, frame.ErrInvalid},
		{"watermark 0: an empty log", func(s *frame.Slot) { s.Watermark = 0 }, nil},
		{"no cut", func(s *frame.Slot) { s.Cut = frame.Cut{} }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sampleSlot
			tt.change(&s)
			b := s.Encode(seed)
			got, err := frame.DecodeSlot(b[:], seed)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				s = frame.Slot{}
			}
			if diff := cmp.Diff(s, got); diff != "" {
				t.Errorf("decoded differs (-want +got):\n%s", diff)
			}
		})
	}
	for i := 72; i < 76; i++ {
		b := sampleSlot.Encode(seed)
		b[i] = 1
		reseal(b[:], seed)
		if s, err := frame.DecodeSlot(b[:], seed); !errors.Is(err, frame.ErrInvalid) || s != (frame.Slot{}) {
			t.Errorf("reserved byte %d: %+v, %v, want ErrInvalid", i, s, err)
		}
	}
}

// TestSlotsAreOfTheirSegment covers what the seed is for: a slot that another
// segment, or the same file in its former life, holds is none.
func TestSlotsAreOfTheirSegment(t *testing.T) {
	b := sampleSlot.Encode(sampleHeader.Seed())
	for name, change := range map[string]func(h *frame.Header){
		"log":     func(h *frame.Header) { h.UUID[3]++ },
		"ordinal": func(h *frame.Header) { h.Ordinal++ },
		"salt":    func(h *frame.Header) { h.Salt++ },
	} {
		h := sampleHeader
		change(&h)
		if _, err := frame.DecodeSlot(b[:], h.Seed()); !errors.Is(err, frame.ErrInvalid) {
			t.Errorf("other %s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := frame.DecodeSlot(b[:], 0); !errors.Is(err, frame.ErrInvalid) {
		t.Errorf("no seed: %v, want ErrInvalid", err)
	}
}
