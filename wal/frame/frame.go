package frame

import (
	"encoding/binary"
	"hash/crc32"
)

// HeaderBytes is the size of a frame's header; its payload follows at once.
const HeaderBytes = 24

// Alignment is what every frame's offset is a multiple of.
const Alignment = 8

// MaxDistance is the largest distance to the watermark that a frame can name,
// in records. A frame that is farther away names none.
const MaxDistance = 1<<24 - 1

// MarkBytes is the size of the payload with which a mark begins: the watermark.
const MarkBytes = 8

// Kind says what a frame holds. Zero is none of them, so that zeros are never
// a frame.
type Kind uint8

const (
	// KindRecord is a frame whose payload is a record.
	KindRecord Kind = 1
	// KindMark is a frame without a record, and without an LSN of its own: it
	// repeats the LSN before it. Its payload begins with the watermark, 8
	// bytes; zeros may follow that carry the next frame to a boundary.
	KindMark Kind = 2
)

// Bits of a frame's flags byte. The others are zero.
const (
	flagKinds = 0x03
	flagFirst = 0x04
	flagLast  = 0x08
	flagKnown = flagKinds | flagFirst | flagLast
)

// Link is one link of the chain that runs through the headers of a segment's
// frames.
type Link uint32

// Seed is the checksum of what all links of a segment have in common: the
// log's UUID, the segment's ordinal and its salt.
type Seed uint32

// Frame is a frame's header:
//
//	offset  bytes  field
//	     0      4  length     of the payload, in bytes
//	     4      4  payload    CRC-32C of the payload
//	     8      4  lsn        low 32 bits of the record's LSN
//	    12      4  epoch      of the log when the frame was appended
//	    16      1  flags      kind (bits 0-1), first (2) and last (3) of its batch
//	    17      3  distance   LSN minus the durable watermark; 0 names none
//	    20      4  link       CRC-32C, chained
//
// The payload follows, and zeros up to the next multiple of 8 bytes.
//
// The link covers, in this order: the segment's seed (log UUID, ordinal,
// salt), the previous frame's link, the frame's offset in the segment, the
// high 32 bits of its LSN, and the header's first 20 bytes. The first frame of
// a segment is chained to the stamp's checksum.
//
// A frame is valid behind a given place of the chain if
//
//  1. its kind is known, and its unused flags are zero, in a mark those of a
//     batch, too;
//  2. it ends, payload included, within the segment, and a mark's payload has
//     space for the watermark;
//  3. its link is the one computed from its predecessor's link;
//  4. its LSN follows its predecessor's: by one for a record, by none for a
//     mark;
//  5. its epoch is not smaller than its predecessor's;
//  6. its payload's CRC-32C is the one in the header.
//
// Chain.Next checks 1 to 5, and Frame.Payload 6.
//
// So what a recycled segment held before (other salt), what was moved (other
// offset) or spliced (other predecessor), and a payload that imitates frames
// are not valid. Of two neighbours whose predecessor is lost, the second is
// proved by the first's link, and with it the place and length of the first.
type Frame struct {
	Length     uint32
	PayloadCRC uint32
	LSN        LSN
	Epoch      uint32
	Distance   uint32 // up to MaxDistance
	Kind       Kind
	First      bool
	Last       bool
	Link       Link
}

// Watermark returns the LSN that was durable when the frame was appended, and
// whether the header names one. A mark names it in its payload. A distance takes three
// bytes where an LSN would take eight: the record 1000 with the distance 40 names 960.
func (f *Frame) Watermark() (LSN, bool) {
	if f.Distance == 0 || LSN(f.Distance) > f.LSN {
		return 0, false
	}
	return f.LSN - LSN(f.Distance), true
}

// Size returns the bytes that the frame takes in its segment: header, payload
// and padding to the next multiple of Alignment.
func (f *Frame) Size() int64 { return Size(int64(f.Length)) }

// Size returns the bytes that a frame with a payload of n bytes takes.
func Size(n int64) int64 { return (HeaderBytes + n + Alignment - 1) &^ (Alignment - 1) }

// Distance returns the distance by which a frame with the given LSN names that
// watermark, or 0, which names none, where it does not fit. It never saturates,
// since a smaller distance would call records durable that are not.
func Distance(lsn, watermark LSN) uint32 {
	if watermark >= lsn || lsn-watermark > MaxDistance {
		return 0
	}
	return uint32(lsn - watermark)
}

// Buffer is where a frame's header is encoded and checked: what
// the link covers besides the seed, in one piece, the header last. The caller
// keeps one and hands it in, since a buffer handed to hash/crc32 would
// otherwise be allocated for every frame. It is not safe for concurrent use.
type Buffer [bufferPrefix + HeaderBytes]byte

// bufferPrefix is what a link covers before the header: previous link, offset
// and the LSN's high half.
const bufferPrefix = 12

// linkOffset is where the link lies in a Buffer: right behind all it covers.
const linkOffset = bufferPrefix + LinkOffset

// LinkOffset is where the link lies in a frame's header, and StampLinkOffset where the
// link that a stamp begins lies in its segment, in bytes.
const (
	LinkOffset      = 20
	StampLinkOffset = StampOffset + StampBytes - 4
)

// NewSeed returns the seed of a segment. The salt makes it another one in each life of the
// file, so that a recycled segment's old frames do not validate, and the log's UUID and the
// ordinal set it apart from every other segment.
func NewSeed(id UUID, ordinal, salt uint64) Seed {
	var b [32]byte
	copy(b[:16], id[:])
	binary.LittleEndian.PutUint64(b[16:], ordinal)
	binary.LittleEndian.PutUint64(b[24:], salt)
	return Seed(crc32.Checksum(b[:], castagnoli))
}

// Encode writes the header of a frame at offset off, chained to prev, and
// returns its bytes, which are valid until the buffer's next use, and its
// link. f.Link is not read. It panics if the distance does not fit: the caller
// takes it from Distance.
func (b *Buffer) Encode(f *Frame, seed Seed, prev Link, off int64) ([]byte, Link) {
	if f.Distance > MaxDistance {
		panic("frame: distance out of range")
	}
	link := b.link(f, seed, prev, off)
	binary.LittleEndian.PutUint32(b[linkOffset:], uint32(link))
	return b[bufferPrefix:], link
}

// link computes the link of a frame.
func (b *Buffer) link(f *Frame, seed Seed, prev Link, off int64) Link {
	b.fill(f, prev, off)
	return Link(crc32.Update(uint32(seed), castagnoli, b[:linkOffset]))
}

// fill puts into the buffer what a frame's link covers. The stores are of 8 bytes and
// aligned, like the loads of hash/crc32: a load of bytes that two stores wrote waits until
// both have left the processor's store buffer, as long as the checksum itself takes.
func (b *Buffer) fill(f *Frame, prev Link, off int64) {
	put := func(at int, low, high uint32) {
		binary.LittleEndian.PutUint64(b[at:], uint64(high)<<32|uint64(low))
	}
	put(0, uint32(prev), uint32(off))
	put(8, uint32(f.LSN>>32), f.Length)
	put(16, f.PayloadCRC, uint32(f.LSN))
	put(24, f.Epoch, f.Distance<<8|uint32(f.flags()))
}

// flags returns the flags byte.
func (f *Frame) flags() byte {
	v := byte(f.Kind) & flagKinds
	if f.First {
		v |= flagFirst
	}
	if f.Last {
		v |= flagLast
	}
	return v
}

// Decode reads the header at the start of p without the chain, by rules 1 and 2: p
// reaches to the end of the segment, and a frame that would not fit into it is
// invalid. It is no proof: many other bytes pass for a header. The LSN is the first
// one not below least whose low half is the header's; where there is none, since
// LSNs end, the frame is invalid. Decode returns ErrZero for a header of zeros and
// ErrInvalid otherwise.
func Decode(p []byte, least LSN) (f Frame, err error) {
	if err = f.decode(p, least); err != nil {
		f = Frame{}
	}
	return f, err
}

// decode is Decode into a frame that the caller has: a frame takes more registers than
// there are for results, and the copies of one took as long as its decoding. After an error
// the frame is anything.
func (f *Frame) decode(p []byte, least LSN) error {
	if len(p) < HeaderBytes {
		return ErrInvalid
	}
	word := binary.LittleEndian.Uint32(p[16:])
	flags := byte(word)
	f.Length = binary.LittleEndian.Uint32(p[0:])
	f.PayloadCRC = binary.LittleEndian.Uint32(p[4:])
	f.LSN = least + LSN(binary.LittleEndian.Uint32(p[8:])-uint32(least))
	f.Epoch = binary.LittleEndian.Uint32(p[12:])
	f.Distance = word >> 8
	f.Kind = Kind(flags & flagKinds)
	f.First = flags&flagFirst != 0
	f.Last = flags&flagLast != 0
	f.Link = Link(binary.LittleEndian.Uint32(p[20:]))
	switch {
	case f.Kind == KindRecord:
	case f.Kind == KindMark && !f.First && !f.Last && f.Length >= MarkBytes:
	case isZero(p[:HeaderBytes]):
		return ErrZero
	default:
		return ErrInvalid
	}
	if flags&^flagKnown != 0 || f.LSN < least || int64(f.Length) > int64(len(p))-HeaderBytes {
		return ErrInvalid
	}
	return nil
}

// Linked reports whether a frame that Decode returned is chained to prev at offset off:
// rule 3. The link covers the LSN's high half too, which is not in the header: where Decode
// guessed it wrong, from a least that is far off, the frame is not linked.
func (b *Buffer) Linked(f *Frame, seed Seed, prev Link, off int64) bool {
	return b.link(f, seed, prev, off) == f.Link
}

// Payload returns the frame's payload, given the bytes from the frame's start
// on, and whether its checksum is the header's.
func (f *Frame) Payload(p []byte) ([]byte, bool) {
	payload := p[HeaderBytes : HeaderBytes+int64(f.Length)]
	return payload, Checksum(payload) == f.PayloadCRC
}

// PutMark writes a mark's payload, as far as it is not zeros, and returns it.
func PutMark(dst *[MarkBytes]byte, watermark LSN) []byte {
	binary.LittleEndian.PutUint64(dst[:], uint64(watermark))
	return dst[:]
}

// MarkChecksum returns the CRC-32C of a mark's payload of n bytes: the
// watermark, then zeros.
func MarkChecksum(mark []byte, n int64) uint32 {
	crc := crc32.Update(0, castagnoli, mark)
	for n -= int64(len(mark)); n > 0; {
		k := min(n, int64(len(zeroBlock)))
		crc = crc32.Update(crc, castagnoli, zeroBlock[:k])
		n -= k
	}
	return crc
}

// Mark returns the watermark that a mark's payload names. The payload has been
// checked.
func Mark(payload []byte) LSN { return LSN(binary.LittleEndian.Uint64(payload)) }
