//go:build linux

package truncate

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/seawall-wal/seawall/wal"
)

// A record is made from its LSN and its generation, which it names: another generation
// begins with each opening of the log and behind each cut at the back, so that no two
// records with one LSN are alike.

// recordOf returns the record.
func recordOf(lsn wal.LSN, gen uint64) []byte {
	rng := rand.New(rand.NewPCG(uint64(lsn), gen))
	p := make([]byte, 16+rng.IntN(9000))
	binary.LittleEndian.PutUint64(p, gen)
	for i := 8; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
	return p
}

// genOf returns the generation of a record, and whether it is one, byte by byte.
func genOf(lsn wal.LSN, p []byte) (gen uint64, ok bool) {
	if len(p) < 16 {
		return 0, false
	}
	gen = binary.LittleEndian.Uint64(p)
	return gen, bytes.Equal(p, recordOf(lsn, gen))
}
