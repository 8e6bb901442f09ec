// Package frame turns records into the bytes of a Seawall log and back. It is
// pure: it does no input or output, keeps no state, and encoding or checking a
// frame does not allocate. Functions may be called concurrently; a Buffer or a
// Chain is for one goroutine at a time.
//
// A segment is a file of fixed size that begins with five blocks of 4 KiB, of
// which each holds one thing in its first 512-byte sector, and goes on with
// frames:
//
//	offset    bytes  block
//	     0     4096  header   written once, at birth (type Header)
//	  4096     4096  stamp    written when the log rotates into the segment (type Stamp)
//	  8192     4096  slot 0   record of a checkpoint or a cut (type Slot)
//	 12288     4096  slot 1   the other one: a slot is never overwritten by its successor
//	 16384     4096  control  what readers in other processes load (type Control); recovery never reads it
//	 20480      ...  frames, each aligned to 8 bytes (type Frame)
//
// The log's lock file has three such blocks: its name, as text, and two for the
// last checkpoint (type Checkpoint).
//
// Blocks are the format's own unit: nothing here depends on the size of a VM
// page or of a device's sector. All integers are little-endian.
//
// A decoder never trusts a length, an offset or a kind before the checksum
// that covers it has been compared, and it says ErrZero for bytes that were
// never written and ErrInvalid for bytes that are not what they should be: the
// first is what a prepared segment holds, the second is torn or damaged.
package frame

import (
	"errors"
	"hash/crc32"
)

// LSN is a log sequence number: the number of a record in its log. The first
// record of a new log has LSN 1, every next one the number after; zero is no
// record's.
type LSN uint64

// UUID is the identity of a log, the same in all of its segments.
type UUID [16]byte

// Offsets of a segment's blocks, in bytes from its start.
const (
	// BlockBytes is the size of each of the blocks before the frames.
	BlockBytes = 4096
	// HeaderOffset is where the segment's header lies.
	HeaderOffset = 0
	// StampOffset is where the stamp lies.
	StampOffset = 1 * BlockBytes
	// SlotOffset is where the first of the two checkpoint slots lies; the second
	// is one block behind it.
	SlotOffset = 2 * BlockBytes
	// ControlOffset is where the control block lies.
	ControlOffset = 4 * BlockBytes
	// DataOffset is where the first frame of a segment begins.
	DataOffset = 5 * BlockBytes
)

// Limits of a segment's size, in bytes. The lower one leaves space for the
// blocks and some records; the upper one keeps every frame's offset within 32
// bits.
const (
	MinSegmentBytes = 64 << 10
	MaxSegmentBytes = 4 << 30
)

// Slots is the number of checkpoint slots of a segment.
const Slots = 2

var (
	// ErrZero reports bytes that are all zero: nothing was ever written there.
	ErrZero = errors.New("frame: zero")
	// ErrInvalid reports bytes that are neither zero nor valid: torn by a
	// crash, damaged, or not of this segment.
	ErrInvalid = errors.New("frame: invalid")
	// ErrVersion reports an intact header of a format that this package does
	// not know. Use a newer Seawall.
	ErrVersion = errors.New("frame: unknown format version or feature")
)

// castagnoli is CRC-32C: the polynomial that amd64 and arm64 compute in
// hardware, and that finds every burst of up to 32 bits.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of p, as frames carry it of their payload.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// UpdateChecksum returns the CRC-32C of what sum is the checksum of, followed by p.
func UpdateChecksum(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// zeroBlock is what decoders compare with to tell never written from torn.
var zeroBlock [512]byte

// isZero reports whether p, which is at most a sector long, is all zero.
func isZero(p []byte) bool { return string(p) == string(zeroBlock[:len(p)]) }
