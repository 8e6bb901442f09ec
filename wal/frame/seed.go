package frame

import "encoding/binary"

// This file computes a segment's seed from what was sealed with it, for a segment whose
// header and stamp are both lost: package recovery follows its frames all the same
// (salvage.go there). It rests on two properties of a CRC. It can be computed backwards, from
// the sum behind some bytes to the sum before them. And a link is the seed's CRC continued
// over what the link covers, so that the sum before these bytes is the seed.

// SeedOf returns the seed with which a frame that Decode returned is chained to prev at
// offset off. There is one for any header: it says something only where other frames of the
// segment have the same.
func (b *Buffer) SeedOf(f *Frame, prev Link, off int64) Seed {
	b.fill(f, prev, off)
	return Seed(unwind(uint32(f.Link), b[:linkOffset]))
}

// SlotSeed returns the seed with which a slot at the start of p is sealed, and
// whether there is a slot. What is said of SeedOf holds here too.
func SlotSeed(p []byte) (Seed, bool) {
	if len(p) < SlotBytes || string(p[:8]) != slotMagic {
		return 0, false
	}
	return Seed(unwind(binary.LittleEndian.Uint32(p[SlotBytes-4:]), p[:SlotBytes-4])), true
}

// unwind returns the CRC-32C that p continues to the given one: what
// crc32.Update was handed. Each step of a CRC can be taken back, since the tables'
// entries differ in their highest bytes: a step shifts a zero byte in at the top and adds
// one entry, so that the top byte of the result tells which entry it was.
func unwind(crc uint32, p []byte) uint32 {
	crc = ^crc
	for i := len(p) - 1; i >= 0; i-- {
		k := unwinding[crc>>24]
		crc = (crc^castagnoli[k])<<8 | uint32(k^p[i])
	}
	return ^crc
}

// unwinding has the index of the table's entry with each highest byte.
var unwinding = func() (t [256]byte) {
	for i, v := range castagnoli {
		t[v>>24] = byte(i)
	}
	return t
}()
