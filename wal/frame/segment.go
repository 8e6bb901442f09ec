package frame

import (
	"encoding/binary"
	"hash/crc32"
)

// Version is the format version that this package writes and reads.
const Version = 1

// KnownFeatures are the incompatible features that this package understands: a
// header that has any other is refused.
const KnownFeatures uint32 = 0

// SegmentHeaderBytes is the size of an encoded Header.
const SegmentHeaderBytes = 80

const headerMagic = "SEAWALL\n"

// Header is the first block of a segment, written once, before the file gets
// its final name:
//
//	offset  bytes  field
//	     0      8  magic     "SEAWALL\n"
//	     8      4  version   of the format
//	    12      4  features  incompatible ones: an unknown bit is refused
//	    16     16  uuid      of the log
//	    32      8  ordinal   of the segment, as in its name
//	    40      8  bytes     the segment's size
//	    48      8  salt      random, new for each life of the file
//	    56      4  epoch     of the log at the segment's birth
//	    60      4  fill      size of the writes that filled it with zeros, in bytes
//	    64     12  reserved  zero
//	    76      4  crc       CRC-32C of the 76 bytes before
//
// Every later version keeps magic, version, features and crc where they are,
// so that a newer log is told from a damaged one.
type Header struct {
	Features     uint32
	UUID         UUID
	Ordinal      uint64
	SegmentBytes int64
	Salt         uint64
	Epoch        uint32
	FillBytes    uint32
}

// Seed returns the seed of the segment's links.
func (h *Header) Seed() Seed { return NewSeed(h.UUID, h.Ordinal, h.Salt) }

// Encode returns the header's bytes.
func (h *Header) Encode() [SegmentHeaderBytes]byte {
	var b [SegmentHeaderBytes]byte
	copy(b[0:8], headerMagic)
	binary.LittleEndian.PutUint32(b[8:], Version)
	binary.LittleEndian.PutUint32(b[12:], h.Features)
	copy(b[16:32], h.UUID[:])
	binary.LittleEndian.PutUint64(b[32:], h.Ordinal)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.SegmentBytes))
	binary.LittleEndian.PutUint64(b[48:], h.Salt)
	binary.LittleEndian.PutUint32(b[56:], h.Epoch)
	binary.LittleEndian.PutUint32(b[60:], h.FillBytes)
	binary.LittleEndian.PutUint32(b[76:], crc32.Checksum(b[:76], castagnoli))
	return b
}

// DecodeHeader reads a header from the start of p. It returns ErrZero,
// ErrInvalid or, for an intact header of an unknown version or feature,
// ErrVersion.
func DecodeHeader(p []byte) (Header, error) {
	b, err := sealed(p, SegmentHeaderBytes, headerMagic, 0)
	if err != nil {
		return Header{}, err
	}
	h := Header{
		Features:     binary.LittleEndian.Uint32(b[12:]),
		UUID:         UUID(b[16:32]),
		Ordinal:      binary.LittleEndian.Uint64(b[32:]),
		SegmentBytes: int64(binary.LittleEndian.Uint64(b[40:])),
		Salt:         binary.LittleEndian.Uint64(b[48:]),
		Epoch:        binary.LittleEndian.Uint32(b[56:]),
		FillBytes:    binary.LittleEndian.Uint32(b[60:]),
	}
	if binary.LittleEndian.Uint32(b[8:]) != Version || h.Features&^KnownFeatures != 0 {
		return Header{}, ErrVersion
	}
	if !ValidSegmentBytes(h.SegmentBytes) || h.Epoch == 0 || h.Ordinal == 0 || !isZero(b[64:76]) {
		return Header{}, ErrInvalid
	}
	return h, nil
}

// ValidSegmentBytes reports whether a segment may have that size: within the
// limits, and whole blocks.
func ValidSegmentBytes(n int64) bool {
	return n >= MinSegmentBytes && n <= MaxSegmentBytes && n%BlockBytes == 0
}

// Cut is a place behind which frames and segments of a smaller epoch are
// remains: neither records nor damage. The epoch that goes with it begins
// there. Stamps and slots repeat the one that began their epoch, so that it outlives the
// segment that it was first written to. It is zero in the first epoch.
type Cut struct {
	Ordinal uint64 // the segment in which the log ended
	Offset  uint64 // where the log ended in it, in bytes
	LSN     LSN    // the last record before it; it was durable before the cut was
}

// put encodes the cut into 24 bytes.
func (c *Cut) put(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], c.Ordinal)
	binary.LittleEndian.PutUint64(b[8:], c.Offset)
	binary.LittleEndian.PutUint64(b[16:], uint64(c.LSN))
}

// getCut decodes 24 bytes.
func getCut(b []byte) Cut {
	return Cut{
		Ordinal: binary.LittleEndian.Uint64(b[0:]),
		Offset:  binary.LittleEndian.Uint64(b[8:]),
		LSN:     LSN(binary.LittleEndian.Uint64(b[16:])),
	}
}

// StampBytes is the size of an encoded Stamp.
const StampBytes = 104

const stampMagic = "SEASTAMP"

// StampReset marks a stamp whose segment begins a new chain: what lies before
// it is no part of the log any more.
const StampReset uint32 = 1

// Stamp is the second block of a segment, written when the log rotates into
// it:
//
//	offset  bytes  field
//	     0      8  magic      "SEASTAMP"
//	     8     16  uuid       of the log
//	    24      8  ordinal    of the segment
//	    32      8  salt       of the segment, as in its header
//	    40      8  first      LSN of the segment's first record
//	    48      4  previous   the final link of the segment before; 0 in the first
//	    52      4  epoch      of the log
//	    56     24  cut        with which that epoch began: ordinal, offset, LSN
//	    80      8  front      the log's first LSN
//	    88      8  watermark  the durable LSN when the log rotated
//	    96      4  flags      bit 0: the chain begins here
//	   100      4  crc        CRC-32C of the 100 bytes before
//
// The crc is also the link that the segment's first frame is chained to.
type Stamp struct {
	UUID      UUID
	Ordinal   uint64
	Salt      uint64
	First     LSN
	Previous  Link
	Epoch     uint32
	Cut       Cut
	Front     LSN
	Watermark LSN
	Flags     uint32
}

// Encode returns the stamp's bytes and the link that it begins.
func (s *Stamp) Encode() ([StampBytes]byte, Link) {
	var b [StampBytes]byte
	copy(b[0:8], stampMagic)
	copy(b[8:24], s.UUID[:])
	binary.LittleEndian.PutUint64(b[24:], s.Ordinal)
	binary.LittleEndian.PutUint64(b[32:], s.Salt)
	binary.LittleEndian.PutUint64(b[40:], uint64(s.First))
	binary.LittleEndian.PutUint32(b[48:], uint32(s.Previous))
	binary.LittleEndian.PutUint32(b[52:], s.Epoch)
	s.Cut.put(b[56:80])
	binary.LittleEndian.PutUint64(b[80:], uint64(s.Front))
	binary.LittleEndian.PutUint64(b[88:], uint64(s.Watermark))
	binary.LittleEndian.PutUint32(b[96:], s.Flags)
	crc := crc32.Checksum(b[:100], castagnoli)
	binary.LittleEndian.PutUint32(b[100:], crc)
	return b, Link(crc)
}

// DecodeStamp reads the stamp of the segment with the given header from the
// start of p, and the link that it begins. It returns ErrZero or ErrInvalid; a
// stamp of another log, ordinal or salt is invalid.
func DecodeStamp(p []byte, h *Header) (Stamp, Link, error) {
	b, err := sealed(p, StampBytes, stampMagic, 0)
	if err != nil {
		return Stamp{}, 0, err
	}
	s := Stamp{
		UUID:      UUID(b[8:24]),
		Ordinal:   binary.LittleEndian.Uint64(b[24:]),
		Salt:      binary.LittleEndian.Uint64(b[32:]),
		First:     LSN(binary.LittleEndian.Uint64(b[40:])),
		Previous:  Link(binary.LittleEndian.Uint32(b[48:])),
		Epoch:     binary.LittleEndian.Uint32(b[52:]),
		Cut:       getCut(b[56:80]),
		Front:     LSN(binary.LittleEndian.Uint64(b[80:])),
		Watermark: LSN(binary.LittleEndian.Uint64(b[88:])),
		Flags:     binary.LittleEndian.Uint32(b[96:]),
	}
	if s.UUID != h.UUID || s.Ordinal != h.Ordinal || s.Salt != h.Salt {
		return Stamp{}, 0, ErrInvalid
	}
	if s.First == 0 || s.Front == 0 || s.Epoch == 0 || s.Watermark >= s.First || s.Flags&^StampReset != 0 {
		return Stamp{}, 0, ErrInvalid
	}
	return s, Link(binary.LittleEndian.Uint32(b[100:])), nil
}

// SlotBytes is the size of an encoded Slot.
const SlotBytes = 80

const slotMagic = "SEA-SLOT"

// Slot is a checkpoint record: what was durable when a checkpoint or a cut was made.
// Each segment has two; the older one is overwritten, the newer one stays, since a crash may
// tear the one that is being written. It names neither log nor segment, as a stamp does. It
// is sealed with the segment's seed instead, so that one of an earlier life of the file does
// not validate:
//
//	offset  bytes  field
//	     0      8  magic      "SEA-SLOT"
//	     8      8  counter    the higher one is the newer one
//	    16      4  epoch      of the log
//	    20      4  link       of the last frame before the tail
//	    24     24  cut        with which that epoch began: ordinal, offset, LSN
//	    48      8  front      the log's first LSN
//	    56      8  watermark  every record up to it was durable
//	    64      8  tail       offset behind the last frame, in this segment
//	    72      4  reserved   zero
//	    76      4  crc        CRC-32C of the segment's seed and the 76 bytes before
type Slot struct {
	Counter   uint64
	Epoch     uint32
	Link      Link
	Cut       Cut
	Front     LSN
	Watermark LSN
	Tail      uint64
}

// Encode returns the slot's bytes for the segment with that seed.
func (s *Slot) Encode(seed Seed) [SlotBytes]byte {
	var b [SlotBytes]byte
	copy(b[0:8], slotMagic)
	binary.LittleEndian.PutUint64(b[8:], s.Counter)
	binary.LittleEndian.PutUint32(b[16:], s.Epoch)
	binary.LittleEndian.PutUint32(b[20:], uint32(s.Link))
	s.Cut.put(b[24:48])
	binary.LittleEndian.PutUint64(b[48:], uint64(s.Front))
	binary.LittleEndian.PutUint64(b[56:], uint64(s.Watermark))
	binary.LittleEndian.PutUint64(b[64:], s.Tail)
	binary.LittleEndian.PutUint32(b[76:], crc32.Update(uint32(seed), castagnoli, b[:76]))
	return b
}

// Place returns the place that the slot names, in a segment of that epoch.
func (s *Slot) Place(epoch uint32) Place {
	return Place{Off: int64(s.Tail), Link: s.Link, LSN: s.Watermark, Epoch: epoch}
}

// DecodeSlot reads a slot of the segment with that seed from the start of p.
// It returns ErrZero or ErrInvalid.
func DecodeSlot(p []byte, seed Seed) (Slot, error) {
	b, err := sealed(p, SlotBytes, slotMagic, seed)
	if err != nil {
		return Slot{}, err
	}
	s := Slot{
		Counter:   binary.LittleEndian.Uint64(b[8:]),
		Epoch:     binary.LittleEndian.Uint32(b[16:]),
		Link:      Link(binary.LittleEndian.Uint32(b[20:])),
		Cut:       getCut(b[24:48]),
		Front:     LSN(binary.LittleEndian.Uint64(b[48:])),
		Watermark: LSN(binary.LittleEndian.Uint64(b[56:])),
		Tail:      binary.LittleEndian.Uint64(b[64:]),
	}
	if s.Epoch == 0 || s.Front == 0 || s.Counter == 0 || !isZero(b[72:76]) {
		return Slot{}, ErrInvalid
	}
	return s, nil
}

// sealed checks magic and checksum of a block's first n bytes, the last four
// of which are the CRC-32C of the seed and what lies before, and returns them. Zeros are
// told apart first: a block that was never written is the usual state of a prepared segment,
// while any other invalid one was torn or damaged.
func sealed(p []byte, n int, magic string, seed Seed) ([]byte, error) {
	if len(p) < n {
		return nil, ErrInvalid
	}
	b := p[:n]
	if isZero(b) {
		return nil, ErrZero
	}
	crc := crc32.Update(uint32(seed), castagnoli, b[:n-4])
	if string(b[:8]) != magic || crc != binary.LittleEndian.Uint32(b[n-4:]) {
		return nil, ErrInvalid
	}
	return b, nil
}

// StampSalt returns the salt that an encoded stamp names, unchecked: where a
// segment's header is lost, it is what the stamp is then decoded with.
func StampSalt(p []byte) uint64 { return binary.LittleEndian.Uint64(p[32:]) }
