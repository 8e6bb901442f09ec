package frame

import (
	"encoding/binary"
	"hash/crc32"
)

// CheckpointBytes is the size of an encoded Checkpoint.
const CheckpointBytes = 64

const checkpointMagic = "SEA-CHKP"

// Where the log's lock file keeps its newest checkpoint: in two blocks, of which
// the older one is overwritten. The first block holds the log's name.
const (
	// CheckpointOffset is where the first of the two blocks lies; the second is one
	// block behind it.
	CheckpointOffset = 1 * BlockBytes
	// LockBytes is the size of a lock file with space for both.
	LockBytes = 3 * BlockBytes
)

// Checkpoint says outside of the segments how far the log came: without it a
// directory whose newest segments were lost looks like the log that it was before
// they were made. It is written when all that it names is durable, and holds until
// a cut begins a higher epoch:
//
//	offset  bytes  field
//	     0      8  magic      "SEA-CHKP"
//	     8      8  counter    the higher one is the newer one
//	    16     16  uuid       of the log
//	    32      8  ordinal    of the segment that the log ended in
//	    40      8  watermark  every record up to it was durable
//	    48      8  front      the log's first LSN
//	    56      4  epoch      of the log
//	    60      4  crc        CRC-32C of the 60 bytes before
//
// The zero value is none.
type Checkpoint struct {
	Counter   uint64
	UUID      UUID
	Ordinal   uint64
	Watermark LSN
	Front     LSN
	Epoch     uint32
}

// Encode returns the checkpoint's bytes.
func (c *Checkpoint) Encode() [CheckpointBytes]byte {
	var b [CheckpointBytes]byte
	copy(b[0:8], checkpointMagic)
	binary.LittleEndian.PutUint64(b[8:], c.Counter)
	copy(b[16:32], c.UUID[:])
	binary.LittleEndian.PutUint64(b[32:], c.Ordinal)
	binary.LittleEndian.PutUint64(b[40:], uint64(c.Watermark))
	binary.LittleEndian.PutUint64(b[48:], uint64(c.Front))
	binary.LittleEndian.PutUint32(b[56:], c.Epoch)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// DecodeCheckpoint reads a checkpoint from the start of p. It returns ErrZero or
// ErrInvalid. Whether it is of the log whose directory it was found in, and of an epoch that
// still counts, is for the caller.
func DecodeCheckpoint(p []byte) (Checkpoint, error) {
	b, err := sealed(p, CheckpointBytes, checkpointMagic, 0)
	if err != nil {
		return Checkpoint{}, err
	}
	c := Checkpoint{
		Counter:   binary.LittleEndian.Uint64(b[8:]),
		UUID:      UUID(b[16:32]),
		Ordinal:   binary.LittleEndian.Uint64(b[32:]),
		Watermark: LSN(binary.LittleEndian.Uint64(b[40:])),
		Front:     LSN(binary.LittleEndian.Uint64(b[48:])),
		Epoch:     binary.LittleEndian.Uint32(b[56:]),
	}
	if c.Counter == 0 || c.UUID == (UUID{}) || c.Ordinal == 0 || c.Front == 0 || c.Epoch == 0 {
		return Checkpoint{}, ErrInvalid
	}
	return c, nil
}
