package frame_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
)

// The samples have no two fields alike, so that swapped ones are seen.
var (
	sampleUUID = frame.UUID{
		0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
		0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
	}
	sampleCut    = frame.Cut{Ordinal: 0x21, Offset: 0x6228, LSN: 0x23}
	sampleHeader = frame.Header{
		UUID: sampleUUID, Ordinal: 0x22, SegmentBytes: 64 << 20, Salt: 0x3132333435363738,
		Epoch: 3, FillBytes: 64 << 10,
	}
	sampleStamp = frame.Stamp{
		UUID: sampleUUID, Ordinal: 0x22, Salt: 0x3132333435363738, First: 0x4142434445464748,
		Previous: 0x51525354, Epoch: 3, Cut: sampleCut, Front: 0x61, Watermark: 0x4142434445464740,
		Flags: frame.StampReset,
	}
	sampleSlot = frame.Slot{
		Counter: 0x7172, Epoch: 3, Link: 0x81828384, Cut: sampleCut, Front: 0x61,
		Watermark: 0x4142434445464749, Tail: 0x7fe8,
	}
	sampleCheckpoint = frame.Checkpoint{
		Counter: 0x7172, UUID: sampleUUID, Ordinal: 0x22, Watermark: 0x4142434445464749, Front: 0x61, Epoch: 3,
	}
)

// crc32c is CRC-32C bit by bit (RFC 3720, appendix B.4), so that the package's
// checksums are compared with something that is not hash/crc32.
func crc32c(parts ...[]byte) uint32 {
	crc := ^uint32(0)
	for _, p := range parts {
		for _, b := range p {
			crc ^= uint32(b)
			for range 8 {
				crc = crc>>1 ^ 0x82f63b78&-(crc&1)
			}
		}
	}
	return ^crc
}

// reseal sets the checksum in the last four bytes of b to what the others ask
// for.
func reseal(b []byte, seed frame.Seed) {
	n := len(b) - 4
	crc := crc32.Update(uint32(seed), crc32.MakeTable(crc32.Castagnoli), b[:n])
	binary.LittleEndian.PutUint32(b[n:], crc)
}

// place is where a chain goes on: what a frame's validity depends on.
type place struct {
	seed  frame.Seed
	link  frame.Link
	off   int64
	lsn   frame.LSN
	epoch uint32
}

// sampleStart returns where the chain of the sample segment begins.
func sampleStart() place {
	_, link := sampleStamp.Encode()
	return place{
		seed: sampleHeader.Seed(), link: link, off: frame.DataOffset,
		lsn: sampleStamp.First - 1, epoch: sampleStamp.Epoch,
	}
}

// put encodes a frame and its payload into the segment at the place, sets what
// the payload and the place determine in f, and moves on.
func (at *place) put(seg []byte, f *frame.Frame, payload []byte) {
	if f.Kind == frame.KindRecord {
		at.lsn++
	}
	f.LSN, f.Epoch = at.lsn, at.epoch
	f.Length, f.PayloadCRC = uint32(len(payload)), frame.Checksum(payload)
	var buf frame.Buffer
	h, link := buf.Encode(f, at.seed, at.link, at.off)
	f.Link = link
	copy(seg[at.off:], h)
	copy(seg[at.off+frame.HeaderBytes:], payload)
	at.off, at.link = at.off+f.Size(), link
}

// next checks the frame at the place by the rules, moves behind it and returns
// it with its payload. The rule that fails is returned, or 0.
func (at *place) next(seg []byte) (frame.Frame, []byte, int) {
	p := seg[at.off:]
	f, err := frame.Decode(p, at.lsn)
	if err != nil {
		return f, nil, 1 // or 2
	}
	want := at.lsn
	if f.Kind == frame.KindRecord {
		want++
	}
	var buf frame.Buffer
	if !buf.Linked(&f, at.seed, at.link, at.off) {
		return f, nil, 3
	}
	if f.LSN != want {
		return f, nil, 4
	}
	if f.Epoch < at.epoch {
		return f, nil, 5
	}
	payload, ok := f.Payload(p)
	if !ok {
		return f, nil, 6
	}
	at.off, at.link, at.lsn, at.epoch = at.off+f.Size(), f.Link, f.LSN, f.Epoch
	return f, payload, 0
}

// encoded returns a frame with the payload, as it lies at the place.
func encoded(t testing.TB, at place, f frame.Frame, payload []byte) ([]byte, frame.Frame) {
	t.Helper()
	seg := make([]byte, at.off+frame.Size(int64(len(payload))))
	from := at.off
	at.put(seg, &f, payload)
	return seg[from:], f
}
