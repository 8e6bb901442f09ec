package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
)

// exact returns a copy of p without room behind it, so that a slice beyond its
// end panics.
func exact(p []byte) []byte { return slices.Clip(append(make([]byte, 0, len(p)), p...)) }

// fuzzBlock adds seeds made of a valid block, and has check look at what the
// fuzzer makes of them: as it is, and under a valid checksum, which the fuzzer
// would not find.
func fuzzBlock(f *testing.F, valid []byte, check func(t *testing.T, p []byte, sealed bool)) {
	n := len(valid)
	f.Add(valid)
	f.Add(append(slices.Clone(valid), 1, 2, 3))
	f.Add(valid[:n-1])
	f.Add([]byte{})
	f.Add(make([]byte, n))
	f.Add(bytes.Repeat([]byte{0xff}, n))
	for at := 8; at+4 <= n; at += 4 {
		hostile := slices.Clone(valid)
		binary.LittleEndian.PutUint32(hostile[at:], math.MaxUint32)
		f.Add(hostile)
		clear(hostile[at : at+4])
		f.Add(hostile)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		p = exact(p)
		before := slices.Clone(p)
		check(t, p, false)
		if !bytes.Equal(before, p) {
			t.Errorf("%x was changed to %x", before, p)
		}
		if len(p) >= n {
			copy(p, valid[:8])
			check(t, p, true)
		}
	})
}

// refusal fails unless err is what a decoder says of p, whose checksum may be
// known to be right.
func refusal(t *testing.T, err error, p []byte, size int, allowed ...error) {
	t.Helper()
	zero := len(p) >= size && bytes.Equal(p[:size], make([]byte, size))
	if errors.Is(err, frame.ErrZero) != zero {
		t.Errorf("%x: error %v", p, err)
	}
	if !slices.ContainsFunc(append(allowed, frame.ErrZero, frame.ErrInvalid), func(e error) bool { return errors.Is(err, e) }) {
		t.Errorf("%x: error %v", p, err)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	valid := sampleHeader.Encode()
	fuzzBlock(f, valid[:], func(t *testing.T, p []byte, sealed bool) {
		if sealed {
			reseal(p[:frame.SegmentHeaderBytes], 0)
		}
		h, err := frame.DecodeHeader(p)
		if err != nil {
			refusal(t, err, p, frame.SegmentHeaderBytes, frame.ErrVersion)
			newer := sealed && ([4]byte(p[8:]) != [4]byte(valid[8:]) || [4]byte(p[12:]) != [4]byte(valid[12:]))
			if sealed && newer != errors.Is(err, frame.ErrVersion) {
				t.Errorf("%x: error %v", p, err)
			}
			return
		}
		if b := h.Encode(); !bytes.Equal(b[:], p[:len(b)]) {
			t.Errorf("%x decodes to %+v, which encodes to %x", p, h, b)
		}
		if !frame.ValidSegmentBytes(h.SegmentBytes) {
			t.Errorf("a segment of %d bytes", h.SegmentBytes)
		}
	})
}

func FuzzDecodeStamp(f *testing.F) {
	valid, _ := sampleStamp.Encode()
	fuzzBlock(f, valid[:], func(t *testing.T, p []byte, sealed bool) {
		h := sampleHeader
		if sealed { // of the stamp's own segment, so that the checks behind are reached
			reseal(p[:frame.StampBytes], 0)
			h.UUID, h.Salt = frame.UUID(p[8:24]), frame.StampSalt(p)
			h.Ordinal = binary.LittleEndian.Uint64(p[24:])
		}
		s, link, err := frame.DecodeStamp(p, &h)
		if err != nil {
			refusal(t, err, p, frame.StampBytes)
			return
		}
		if b, want := s.Encode(); !bytes.Equal(b[:], p[:len(b)]) || link != want {
			t.Errorf("%x decodes to %+v, link %#x, which encodes to %x", p, s, link, b)
		}
		if s.UUID != h.UUID || s.Ordinal != h.Ordinal || s.Salt != h.Salt || s.Watermark >= s.First {
			t.Errorf("stamp %+v of segment %+v", s, h)
		}
	})
}

func FuzzDecodeSlot(f *testing.F) {
	seed := sampleHeader.Seed()
	valid := sampleSlot.Encode(seed)
	fuzzBlock(f, valid[:], func(t *testing.T, p []byte, sealed bool) {
		if sealed {
			reseal(p[:frame.SlotBytes], seed)
		}
		s, err := frame.DecodeSlot(p, seed)
		if err != nil {
			refusal(t, err, p, frame.SlotBytes)
			return
		}
		if b := s.Encode(seed); !bytes.Equal(b[:], p[:len(b)]) {
			t.Errorf("%x decodes to %+v, which encodes to %x", p, s, b)
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	at := sampleStart()
	record, _ := encoded(f, at, frame.Frame{Kind: frame.KindRecord, First: true}, []byte("high water"))
	mark, _ := encoded(f, at, frame.Frame{Kind: frame.KindMark}, make([]byte, 40))
	f.Add([]byte{}, uint64(0), uint32(0))
	f.Add(make([]byte, frame.HeaderBytes), uint64(1), uint32(frame.DataOffset))
	for _, p := range [][]byte{record, mark} {
		room := uint32(len(p) - frame.HeaderBytes)
		for _, n := range []uint32{
			0, 7, 8, room, room + 1, room + frame.HeaderBytes, 1 << 31, 1<<31 - 1, math.MaxUint32,
			math.MaxUint32 - frame.HeaderBytes, math.MaxUint32 - frame.HeaderBytes + 1, math.MaxUint32 - 7,
		} {
			hostile := slices.Clone(p)
			binary.LittleEndian.PutUint32(hostile, n)
			f.Add(hostile, uint64(at.lsn), uint32(at.off))
		}
		f.Add(p, uint64(at.lsn), uint32(at.off))
		f.Add(p, uint64(math.MaxUint64), uint32(math.MaxUint32-7))
		f.Add(p[:frame.HeaderBytes], uint64(1<<32-1), uint32(frame.DataOffset))
	}
	f.Fuzz(func(t *testing.T, p []byte, least uint64, off uint32) {
		p = exact(p)
		fr, err := frame.Decode(p, frame.LSN(least))
		if err != nil {
			refusal(t, err, p, frame.HeaderBytes)
			if fr != (frame.Frame{}) {
				t.Errorf("%+v together with error %v", fr, err)
			}
			return
		}
		checkDecoded(t, p, &fr, least, off)
	})
}

// checkDecoded checks what a frame that Decode accepted is good for.
func checkDecoded(t *testing.T, p []byte, fr *frame.Frame, least uint64, off uint32) {
	t.Helper()
	if lsn := uint64(fr.LSN); lsn < least || lsn-least >= 1<<32 {
		t.Errorf("LSN %d is not the first from %d on", lsn, least)
	}
	if w, ok := fr.Watermark(); ok && w >= fr.LSN {
		t.Errorf("watermark %d of LSN %d", w, fr.LSN)
	}
	payload, ok := fr.Payload(p)
	if uint32(len(payload)) != fr.Length || ok != (crc32c(payload) == fr.PayloadCRC) {
		t.Errorf("payload of %d bytes of %d, valid %v", len(payload), fr.Length, ok)
	}
	if fr.Kind == frame.KindMark {
		frame.Mark(payload)
	}
	seed, prev := frame.Seed(off^0x5a5a5a5a), frame.Link(least)
	var buf frame.Buffer
	linked := buf.Linked(fr, seed, prev, int64(off))
	h, link := buf.Encode(fr, seed, prev, int64(off))
	if !bytes.Equal(h[:20], p[:20]) {
		t.Errorf("%x decodes to %+v, which encodes to %x", p[:20], fr, h[:20])
	}
	if linked != (link == fr.Link) || linked != bytes.Equal(h, p[:frame.HeaderBytes]) {
		t.Errorf("linked %v, by link %#x, the frame's is %#x", linked, link, fr.Link)
	}
	h = exact(append(slices.Clone(h), p[frame.HeaderBytes:]...))
	again, err := frame.Decode(h, frame.LSN(least))
	want := *fr
	want.Link = link
	if err != nil || again != want || !buf.Linked(&again, seed, prev, int64(off)) {
		t.Errorf("%+v encodes to %x, which decodes to %+v, %v", want, h, again, err)
	}
}
