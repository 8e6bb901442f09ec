package wal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seawall-wal/seawall/wal"
)

// generationBytes is the size of what every record of a generation begins with.
const generationBytes = 16

// generationRecord is a record that says what it is: the generation, which its
// writer raises with each cut at the back, and its LSN. Its length and the rest
// of it follow from both.
func generationRecord(generation uint64, lsn wal.LSN) []byte {
	rng := newRand(generation<<40 ^ uint64(lsn))
	p := make([]byte, generationBytes, generationBytes+2000)
	binary.LittleEndian.PutUint64(p, generation)
	binary.LittleEndian.PutUint64(p[8:], uint64(lsn))
	for n := rng.IntN(250); n > 0; n-- {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64())
	}
	return p
}

// generationOf returns the generation of a record that was read under an LSN,
// and an error where it was never appended under it.
func generationOf(lsn wal.LSN, p []byte) (uint64, error) {
	if len(p) < generationBytes {
		return 0, fmt.Errorf("record %d has %d bytes", lsn, len(p))
	}
	generation := binary.LittleEndian.Uint64(p)
	if !bytes.Equal(p, generationRecord(generation, lsn)) {
		return 0, fmt.Errorf("record %d, %d bytes, of generation %d, was never appended under that LSN", lsn, len(p), generation)
	}
	return generation, nil
}

// succession checks what one Reader returns: LSNs without a gap, generations
// that never fall.
type succession struct {
	lsn        wal.LSN // the last one, or 0
	generation uint64
	records    int
}

// add checks the next record.
func (s *succession) add(lsn wal.LSN, p []byte) error {
	generation, err := generationOf(lsn, p)
	switch {
	case err != nil:
		return err
	case s.lsn != 0 && lsn != s.lsn+1:
		return fmt.Errorf("record %d was read behind %d", lsn, s.lsn)
	case generation < s.generation:
		return fmt.Errorf("record %d is of generation %d, the one before of %d", lsn, generation, s.generation)
	}
	s.lsn, s.generation = lsn, generation
	s.records++
	return nil
}
