package wal

import (
	"encoding/hex"
	"math"

	"github.com/seawall-wal/seawall/wal/frame"
)

// LSN is a log sequence number: the number of a record in its log. The first
// record of a new log has LSN 1, each next one the number after. Zero is no
// record's.
type LSN = frame.LSN

// MaxLSN is the last LSN that a record can get: the one behind it is still a number.
const MaxLSN LSN = math.MaxUint64 - 1

// Range is a run of LSNs, both ends inclusive.
type Range struct {
	First LSN `json:"first_lsn"`
	Last  LSN `json:"last_lsn"`
}

// UUID is the identity of a log, written into each of its segments.
type UUID frame.UUID

// String returns the UUID in its usual form.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MarshalText implements encoding.TextMarshaler.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
