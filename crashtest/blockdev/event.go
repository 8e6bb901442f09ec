//go:build linux

package blockdev

import (
	"hash/crc64"
)

const (
	// SectorBytes is what a disk writes atomically.
	SectorBytes = 512
	// BlockBytes is the unit in which what was read is reported.
	BlockBytes    = 4096
	blockSectors  = BlockBytes / SectorBytes
	maxDiskBytes  = 1 << 40
	maxWriteBytes = 1 << 20

	maxDiscardBytes = 1 << 30
)

// Op is a kind of request.
type Op uint8

// The requests. A discarded sector reads as zeros.
const (
	Read Op = iota + 1
	Write
	Flush
	Discard
)

// String returns the op's name.
func (o Op) String() string {
	switch o {
	case Read:
		return "read"
	case Write:
		return "write"
	case Flush:
		return "flush"
	case Discard:
		return "discard"
	}
	return "unknown"
}

// Event is a request that a disk has handled and that changed something.
type Event struct {
	Op     Op
	Off    int64 // in bytes, a multiple of SectorBytes
	Length int64

	// Acks is how many acknowledgements had been heard when it was handled.
	Acks int

	// Sums are the sums of the sectors' contents, each under its own number; 0 is
	// one of zeros. A discard has none.
	Sums []uint64

	// Digest, of a flush, is that of all that the disk held when it was asked for:
	// the exclusive or of the sums of all sectors that differ from the view below.
	// It is kept as data comes in, not made of events: what is missing among the
	// events does not agree with it.
	Digest uint64

	// Failed says that the request was answered by an error. A flush that failed
	// promises nothing. Lied says that a fault has made the disk promise what it did
	// not do.
	Failed bool
	Lied   bool
}

// Sectors returns how many sectors it covers.
func (e *Event) Sectors() int { return int(e.Length / SectorBytes) }

// sumTable is of a checksum that does not depend on the process.
var sumTable = crc64.MakeTable(crc64.ECMA)

// SectorSum returns the sum of a sector's content under its number; 0 is zeros.
func SectorSum(n int64, p []byte) uint64 {
	if allZero(p) {
		return 0
	}
	// A checksum is linear, and sums of sectors are added up by exclusive or:
	// mixed, those of equal changes do not cancel out.
	x := crc64.Checksum(p, sumTable) + uint64(n)*0x9e3779b97f4a7c15
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// allZero reports whether there is nothing but zeros.
func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Lost is a request of which nothing is left, or of which some sectors are not.
type Lost struct {
	Event   int
	Sectors []int // of the request, from 0; nil is all of them
}

// View is what a disk holds after the first Cut requests of a layer, without
// those that were lost, on what lies below. Layer 0 is an empty disk.
type View struct {
	Layer int
	Cut   int
	Lost  []Lost
}
