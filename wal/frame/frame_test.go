package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal/frame"
)

// TestFrameRules has a test for each rule of the numbered list in Frame's
// comment, under its number.
func TestFrameRules(t *testing.T) {
	rules := []struct {
		number string
		test   func(t *testing.T)
	}{
		{"1", testKindAndFlags},
		{"2", testLength},
		{"3", testLinked},
		{"4", testSuccession},
		{"5", testEpoch},
		{"6", testPayload},
	}
	var tested, listed []string
	for _, r := range rules {
		tested = append(tested, r.number)
		t.Run(r.number, r.test)
	}
	doc := parseSource(t).docs["Frame"]
	for _, m := range regexp.MustCompile(`(?m)^\s+(\d+)\. `).FindAllStringSubmatch(doc, -1) {
		listed = append(listed, m[1])
	}
	if diff := cmp.Diff(listed, tested); diff != "" {
		t.Errorf("rules without a test, or the other way round (-listed +tested):\n%s", diff)
	}
}

// testKindAndFlags decodes every value of the flags byte.
func testKindAndFlags(t *testing.T) {
	p, f := encoded(t, sampleStart(), frame.Frame{Kind: frame.KindRecord, Distance: 5}, make([]byte, 16))
	for flags := range 256 {
		p[16] = byte(flags)
		want, wantErr := f, error(nil)
		want.First, want.Last = flags&4 != 0, flags&8 != 0
		switch {
		case flags <= 0x0f && flags&3 == 1:
		case flags == 2:
			want.Kind = frame.KindMark
		default:
			want, wantErr = frame.Frame{}, frame.ErrInvalid
		}
		got, err := frame.Decode(p, f.LSN-1)
		if !errors.Is(err, wantErr) {
			t.Errorf("flags %#02x: %v, want %v", flags, err, wantErr)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("flags %#02x (-want +got):\n%s", flags, diff)
		}
	}
}

// testLength decodes lengths around the end of the segment, and hostile ones.
func testLength(t *testing.T) {
	for _, kind := range []frame.Kind{frame.KindRecord, frame.KindMark} {
		for _, room := range []int{0, 1, 7, 8, 9, 4096} {
			for _, n := range []uint32{
				0, 1, 7, 8, 9, 4095, 4096, 4097, 1 << 31, 1<<31 - 1, 1<<32 - frame.HeaderBytes,
				1<<32 - frame.HeaderBytes - 1, 1<<32 - frame.HeaderBytes + 1, 1<<32 - 2, 1<<32 - 1,
			} {
				var buf frame.Buffer
				h, _ := buf.Encode(&frame.Frame{Kind: kind, Length: n, LSN: 1}, 1, 2, frame.DataOffset)
				p := slices.Clip(append(slices.Clone(h), make([]byte, room)...))
				fits := int64(n) <= int64(room) && (kind == frame.KindRecord || n >= frame.MarkBytes)
				f, err := frame.Decode(p, 1)
				switch {
				case fits && (err != nil || f.Length != n):
					t.Errorf("kind %d of %d bytes in %d: length %d, error %v", kind, n, room, f.Length, err)
				case fits:
					f.Payload(p) // not out of range
				case !errors.Is(err, frame.ErrInvalid) || f != (frame.Frame{}):
					t.Errorf("kind %d of %d bytes in %d: %+v, error %v, want ErrInvalid", kind, n, room, f, err)
				}
			}
		}
	}
}

func testLinked(t *testing.T) {
	at := sampleStart()
	p, _ := encoded(t, at, frame.Frame{Kind: frame.KindRecord, First: true, Last: true, Distance: 9}, []byte("surf"))
	linked := func(p []byte, at place) bool {
		f, err := frame.Decode(p, at.lsn)
		if err != nil {
			return false
		}
		var buf frame.Buffer
		return buf.Linked(&f, at.seed, at.link, at.off)
	}
	if !linked(p, at) {
		t.Fatal("not linked where it was put")
	}
	recycled, other := sampleHeader, sampleHeader
	recycled.Salt++
	other.UUID[9]++
	for _, tt := range []struct {
		name   string
		change func(at *place)
	}{
		{"spliced: other predecessor", func(at *place) { at.link++ }},
		{"moved: other offset", func(at *place) { at.off += frame.Alignment }},
		{"remains of a recycled segment: other salt", func(at *place) { at.seed = recycled.Seed() }},
		{"other log", func(at *place) { at.seed = other.Seed() }},
		{"high half of the LSN", func(at *place) { at.lsn += 1 << 32 }},
	} {
		moved := at
		tt.change(&moved)
		if linked(p, moved) {
			t.Errorf("linked, with %s", tt.name)
		}
	}
	for bit := range 8 * frame.HeaderBytes {
		q := slices.Clone(p)
		q[bit/8] ^= 1 << (bit % 8)
		if linked(q, at) {
			t.Errorf("linked, with bit %d flipped", bit)
		}
	}
	// Where the predecessor is lost, the second of two neighbours proves the
	// place and the length of the first.
	seg := make([]byte, frame.MinSegmentBytes)
	first, second := frame.Frame{Kind: frame.KindRecord}, frame.Frame{Kind: frame.KindRecord}
	from := at
	at.put(seg, &first, []byte("first"))
	behind := at.off
	at.put(seg, &second, nil)
	for off := from.off; off < behind+64; off += frame.Alignment {
		lost := place{seed: from.seed, link: first.Link, off: off, lsn: first.LSN}
		if got, want := linked(seg[off:], lost), off == from.off+first.Size(); got != want {
			t.Errorf("at %d the second frame is linked to the first: %v", off, got)
		}
	}
}

// testSuccession covers what Decode gives the caller to compare: a frame that
// is linked but bears another LSN than the next shows that LSN.
func testSuccession(t *testing.T) {
	for _, lsn := range []frame.LSN{1, 2, 1<<32 - 1, 1 << 32, 1<<32 + 1, 3<<32 - 1, 3 << 32, math.MaxUint64 - 1} {
		for step, kind := range []frame.Kind{frame.KindMark, frame.KindRecord} {
			for skew := -2; skew <= 2; skew++ {
				at := sampleStart()
				at.lsn = lsn
				f := frame.Frame{Kind: kind, LSN: lsn + frame.LSN(step) + frame.LSN(skew), Epoch: at.epoch, Length: 8}
				if f.LSN < lsn && skew >= 0 {
					continue // beyond the last LSN
				}
				payload := make([]byte, f.Length)
				f.PayloadCRC = frame.Checksum(payload)
				var buf frame.Buffer
				h, _ := buf.Encode(&f, at.seed, at.link, at.off)
				seg := make([]byte, frame.MinSegmentBytes)
				copy(seg[at.off:], h)
				got, _, rule := at.next(seg)
				switch {
				case skew == 0 && (rule != 0 || got.LSN != f.LSN):
					t.Errorf("kind %d behind %d: LSN %d, rule %d", kind, lsn, got.LSN, rule)
				case skew != 0 && rule == 0:
					t.Errorf("kind %d with LSN %d is valid behind %d", kind, f.LSN, lsn)
				case skew != 0 && f.LSN >= lsn && f.LSN-lsn < 1<<32 && (rule != 4 || got.LSN != f.LSN):
					t.Errorf("kind %d behind %d: LSN %d, written %d, rule %d", kind, lsn, got.LSN, f.LSN, rule)
				}
			}
		}
	}
}

// testEpoch covers the same for the epoch.
func testEpoch(t *testing.T) {
	for _, tt := range []struct {
		before, epoch uint32
		rule          int
	}{
		{1, 1, 0},
		{1, 2, 0},
		{1, math.MaxUint32, 0},
		{2, 1, 5},
		{math.MaxUint32, math.MaxUint32 - 1, 5},
		{1 << 31, 1<<31 - 1, 5},
	} {
		at := sampleStart()
		seg := make([]byte, frame.MinSegmentBytes)
		from := at
		at.epoch = tt.epoch
		at.put(seg, &frame.Frame{Kind: frame.KindRecord}, []byte("x"))
		from.epoch = tt.before
		f, _, rule := from.next(seg)
		if rule != tt.rule || f.Epoch != tt.epoch {
			t.Errorf("epoch %d behind %d: rule %d, decoded as %d", tt.epoch, tt.before, rule, f.Epoch)
		}
	}
}

func testPayload(t *testing.T) {
	for _, payload := range [][]byte{nil, {0}, []byte("1234567"), []byte("12345678"), bytes.Repeat([]byte("wave"), 99)} {
		p, f := encoded(t, sampleStart(), frame.Frame{Kind: frame.KindRecord}, payload)
		got, ok := f.Payload(p)
		if !ok || !bytes.Equal(got, payload) {
			t.Errorf("payload %q of %q, %v", got, payload, ok)
		}
		for bit := range 8 * len(payload) {
			q := slices.Clone(p)
			q[frame.HeaderBytes+bit/8] ^= 1 << (bit % 8)
			if _, ok := f.Payload(q); ok {
				t.Errorf("valid, with bit %d of %q flipped", bit, payload)
			}
		}
		f.PayloadCRC ^= 1
		if _, ok := f.Payload(p); ok {
			t.Errorf("valid, with another checksum in the header")
		}
	}
}

func TestDecodeTellsZeroFromInvalid(t *testing.T) {
	p, f := encoded(t, sampleStart(), frame.Frame{Kind: frame.KindRecord}, nil)
	p = slices.Clip(p)
	for n := range frame.HeaderBytes {
		if _, err := frame.Decode(p[:n:n], f.LSN); !errors.Is(err, frame.ErrInvalid) {
			t.Errorf("%d bytes: %v, want ErrInvalid", n, err)
		}
		if _, err := frame.Decode(make([]byte, n), f.LSN); !errors.Is(err, frame.ErrInvalid) {
			t.Errorf("%d zeros: %v, want ErrInvalid", n, err)
		}
	}
	for _, least := range []frame.LSN{0, 1, 1 << 32, math.MaxUint64} {
		zeros := make([]byte, frame.HeaderBytes, frame.BlockBytes)
		f, err := frame.Decode(zeros, least)
		if !errors.Is(err, frame.ErrZero) || errors.Is(err, frame.ErrInvalid) || f != (frame.Frame{}) {
			t.Errorf("a header of zeros behind %d: %+v, %v, want ErrZero", least, f, err)
		}
		if _, err := frame.Decode(append(zeros, 0xff), least); !errors.Is(err, frame.ErrZero) {
			t.Errorf("a header of zeros before other bytes: %v, want ErrZero", err)
		}
	}
	for bit := range 8 * frame.HeaderBytes {
		if bit == 8*16 { // a record's kind
			continue
		}
		p := make([]byte, frame.HeaderBytes)
		p[bit/8] |= 1 << (bit % 8)
		if _, err := frame.Decode(p, 1); !errors.Is(err, frame.ErrInvalid) || errors.Is(err, frame.ErrZero) {
			t.Errorf("zeros but for bit %d: %v, want ErrInvalid", bit, err)
		}
	}
}

// TestDecodeCompletesTheLSN takes the low half through its whole range around
// the places where the high half changes.
func TestDecodeCompletesTheLSN(t *testing.T) {
	const g = 1 << 32
	for _, tt := range []struct {
		least frame.LSN
		low   uint32
		want  frame.LSN // 0: there is none
	}{
		{0, 1, 1},
		{1, 1, 1},
		{1, 2, 2},
		{2, 1, g + 1},
		{1, 0, g},
		{g - 1, g - 1, g - 1},
		{g - 1, 0, g},
		{g - 1, 1, g + 1},
		{g - 1, g - 2, 2*g - 2},
		{g, 0, g},
		{g, g - 1, 2*g - 1},
		{g + 1, 0, 2 * g},
		{5*g - 1, 0, 5 * g},
		{5*g - 3, 4, 5*g + 4},
		{5*g + 7, 6, 6*g + 6},
		{5*g + 7, 7, 5*g + 7},
		{math.MaxUint64 - 1, g - 1, math.MaxUint64},
		{math.MaxUint64, g - 1, math.MaxUint64},
		{math.MaxUint64, 0, 0},
		{math.MaxUint64, g - 2, 0},
		{math.MaxUint64 - 7, 3, 0},
	} {
		var buf frame.Buffer
		h, _ := buf.Encode(&frame.Frame{Kind: frame.KindRecord, LSN: frame.LSN(tt.low)}, 0, 0, frame.DataOffset)
		f, err := frame.Decode(h, tt.least)
		switch {
		case tt.want == 0:
			if !errors.Is(err, frame.ErrInvalid) || f != (frame.Frame{}) {
				t.Errorf("low half %#x behind %#x: %+v, %v, want ErrInvalid", tt.low, uint64(tt.least), f, err)
			}
		case err != nil || f.LSN != tt.want:
			t.Errorf("low half %#x behind %#x: LSN %#x, %v, want %#x",
				tt.low, uint64(tt.least), uint64(f.LSN), err, uint64(tt.want))
		}
	}
}

func TestDistanceAndWatermark(t *testing.T) {
	const most = frame.MaxDistance
	for _, tt := range []struct {
		lsn, watermark frame.LSN
		distance       uint32 // 0: names none
	}{
		{1, 0, 1},
		{1, 1, 0},
		{1, 2, 0},
		{0, 0, 0},
		{0, math.MaxUint64, 0},
		{7, 6, 1},
		{most, 0, most},
		{most + 1, 0, 0},
		{most + 1, 1, most},
		{1 << 40, 1<<40 - most, most},
		{1 << 40, 1<<40 - most - 1, 0},
		{1 << 40, 0, 0},
		{1<<40 + 1, 1, 0},      // by a power of two that 24 bits cut to zero
		{1<<40 + 5, 2, 0},      // and to 3
		{math.MaxUint64, 0, 0}, // and to all ones
		{math.MaxUint64, math.MaxUint64 - 9, 9},
		{math.MaxUint64, math.MaxUint64, 0},
	} {
		got := frame.Distance(tt.lsn, tt.watermark)
		if got != tt.distance {
			t.Errorf("Distance(%d, %d) = %d, want %d", tt.lsn, tt.watermark, got, tt.distance)
		}
		f := frame.Frame{LSN: tt.lsn, Distance: got}
		w, ok := f.Watermark()
		if ok != (tt.distance != 0) || ok && w != tt.watermark || !ok && w != 0 {
			t.Errorf("LSN %d, distance %d: watermark %d, %v, want %d", tt.lsn, got, w, ok, tt.watermark)
		}
	}
	f := frame.Frame{LSN: 6, Distance: 7} // names none: there is no LSN before 0
	if w, ok := f.Watermark(); ok || w != 0 {
		t.Errorf("LSN 6, distance 7: watermark %d, %v, want none", w, ok)
	}
}

func TestEncodeRefusesADistanceThatDoesNotFit(t *testing.T) {
	panics := func(distance uint32) (did bool) {
		defer func() { did = recover() != nil }()
		var buf frame.Buffer
		buf.Encode(&frame.Frame{Kind: frame.KindRecord, Distance: distance}, 0, 0, frame.DataOffset)
		return false
	}
	for distance, want := range map[uint32]bool{
		0: false, 1: false, frame.MaxDistance: false, frame.MaxDistance + 1: true, math.MaxUint32: true,
	} {
		if got := panics(distance); got != want {
			t.Errorf("distance %d: panics %v", distance, got)
		}
	}
}

// TestEncodeIgnoresTheBuffersPast encodes in a buffer that holds ones.
func TestEncodeIgnoresTheBuffersPast(t *testing.T) {
	var clean, used frame.Buffer
	for i := range used {
		used[i] = 0xff
	}
	f := frame.Frame{Kind: frame.KindRecord, LSN: 1}
	want, wantLink := clean.Encode(&f, 3, 4, frame.DataOffset)
	f.Link = 0xffffffff // not read
	got, gotLink := used.Encode(&f, 3, 4, frame.DataOffset)
	if !bytes.Equal(want, got) || wantLink != gotLink {
		t.Errorf("clean buffer: %x, used one: %x", want, got)
	}
	if f.Link = wantLink; !used.Linked(&f, 3, 4, frame.DataOffset) {
		t.Error("not linked, checked with a used buffer")
	}
	if link := binary.LittleEndian.Uint32(got[20:]); frame.Link(link) != gotLink {
		t.Errorf("link %#x encoded, %#x returned", link, gotLink)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]int64{
		0: 24, 1: 32, 7: 32, 8: 32, 9: 40, 100: 128, 4072: 4096, 4073: 4104,
		math.MaxUint32: 1<<32 + 24, // and no overflow
	} {
		f := frame.Frame{Length: uint32(n)}
		if got := frame.Size(n); got != want || f.Size() != want {
			t.Errorf("Size(%d) = %d, of the frame %d, want %d", n, got, f.Size(), want)
		}
	}
}

func TestMark(t *testing.T) {
	for _, watermark := range []frame.LSN{0, 1, 1<<32 + 5, 0x0102030405060708, math.MaxUint64} {
		dst := [frame.MarkBytes]byte{9, 9, 9, 9, 9, 9, 9, 9}
		p := frame.PutMark(&dst, watermark)
		if !bytes.Equal(p, binary.LittleEndian.AppendUint64(nil, uint64(watermark))) {
			t.Errorf("mark of %d is %x", watermark, p)
		}
		if got := frame.Mark(append(p, 0, 0, 0)); got != watermark {
			t.Errorf("mark of %d reads %d", watermark, got)
		}
		for _, n := range []int64{8, 9, 16, 519, 520, 521, 1031, 1032, 1033, 4072, 65536} {
			padded := make([]byte, n)
			copy(padded, p)
			if got, want := frame.MarkChecksum(p, n), frame.Checksum(padded); got != want {
				t.Errorf("checksum of a mark of %d bytes is %#x, its bytes' %#x", n, got, want)
			}
		}
	}
}

// TestChecksum uses the vectors of RFC 3720, appendix B.4, and the catalogue's
// check value.
func TestChecksum(t *testing.T) {
	rising := make([]byte, 32)
	for i := range rising {
		rising[i] = byte(i)
	}
	for _, tt := range []struct {
		p    []byte
		want uint32
	}{
		{nil, 0},
		{[]byte("123456789"), 0xe3069283},
		{make([]byte, 32), 0x8a9136aa},
		{bytes.Repeat([]byte{0xff}, 32), 0x62a8ab43},
		{rising, 0x46dd794e},
	} {
		if got := frame.Checksum(tt.p); got != tt.want || crc32c(tt.p) != tt.want {
			t.Errorf("Checksum(%x) = %#x, bit by bit %#x, want %#x", tt.p, got, crc32c(tt.p), tt.want)
		}
	}
}
