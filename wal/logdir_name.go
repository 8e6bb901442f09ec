package wal

import (
	"fmt"
	"math"
	"strings"

	"github.com/seawall-wal/seawall/durability"
)

// Names within a log's directory.
const (
	segmentSuffix = ".wal"
	tempSuffix    = ".tmp"
	lockName      = "seawall.lock"
	lostName      = "lost"
)

// finalName and tempName are a segment's names: its ordinal in 16 hexadecimal
// digits, so that a listing sorts and shows a gap.
func finalName(ordinal uint64) string { return fmt.Sprintf("%016x%s", ordinal, segmentSuffix) }
func tempName(ordinal uint64) string  { return fmt.Sprintf("%016x%s", ordinal, tempSuffix) }

// entry is a segment's file as its directory shows it.
type entry struct {
	name    string
	ordinal uint64
	temp    bool
}

// maxOrdinal is the last ordinal of a segment: far from where numbers end, so that
// the one behind it and the difference of two are numbers.
const maxOrdinal = math.MaxInt64

const (
	// ordinalDigits is how many digits an ordinal has in a name.
	ordinalDigits = 16
	hexDigits     = "0123456789abcdef"
)

// parseName reads a segment's name, as finalName and tempName write it. Others
// are no business of the log.
func parseName(name string) (entry, bool) {
	e := entry{name: name}
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		digits, e.temp = strings.CutSuffix(name, tempSuffix)
		if !e.temp {
			return e, false
		}
	}
	if len(digits) != ordinalDigits {
		return e, false
	}
	for i := range len(digits) {
		d := strings.IndexByte(hexDigits, digits[i])
		if d < 0 {
			return e, false
		}
		e.ordinal = e.ordinal<<4 | uint64(d)
	}
	return e, e.ordinal != 0 && e.ordinal <= maxOrdinal
}

// listSegments returns the segments' files by ordinal, the final name before
// the temporary one.
func listSegments(dir *durability.Dir) ([]entry, error) {
	names, err := dir.Names() // sorted, and the digits have a fixed width
	if err != nil {
		return nil, err
	}
	return appendEntries(nil, names), nil
}

// appendEntries appends the segments among a directory's names, which are
// sorted, in the order of listSegments.
func appendEntries(list []entry, names []string) []entry {
	for _, name := range names {
		e, ok := parseName(name)
		if !ok {
			continue
		}
		if n := len(list); !e.temp && n > 0 && list[n-1].temp && list[n-1].ordinal == e.ordinal {
			list[n-1], e = e, list[n-1]
		}
		list = append(list, e)
	}
	return list
}
