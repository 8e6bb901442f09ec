package logdir

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
	LockName      = "seawall.lock" // the file that the writer locks, and that names the log (Identity)
	LostName      = "lost"         // the directory that a trim or a repair saves into what it removes
)

// FinalName is a segment's name: its ordinal in 16 hexadecimal digits, so that a
// listing sorts and shows a gap.
func FinalName(ordinal uint64) string { return fmt.Sprintf("%016x%s", ordinal, segmentSuffix) }

// TempName is the name of a segment that is being prepared.
func TempName(ordinal uint64) string { return fmt.Sprintf("%016x%s", ordinal, tempSuffix) }

// Entry is a segment's file as its directory shows it.
type Entry struct {
	Name    string
	Ordinal uint64
	Temp    bool
}

// MaxOrdinal is the last ordinal of a segment: far from where numbers end, so that
// the one behind it and the difference of two are numbers.
const MaxOrdinal = math.MaxInt64

const (
	// ordinalDigits is how many digits an ordinal has in a name.
	ordinalDigits = 16
	hexDigits     = "0123456789abcdef"
)

// ParseName reads a segment's name, as FinalName and TempName write it.
// Other names are none of the log's: such files are neither read nor removed. It accepts
// just one spelling, so that no two names stand for the same segment; upper-case digits,
// say, are another name.
func ParseName(name string) (Entry, bool) {
	e := Entry{Name: name}
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		digits, e.Temp = strings.CutSuffix(name, tempSuffix)
		if !e.Temp {
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
		e.Ordinal = e.Ordinal<<4 | uint64(d)
	}
	return e, e.Ordinal != 0 && e.Ordinal <= MaxOrdinal
}

// List returns the segments' files by ordinal, the final name before
// the temporary one.
func List(dir *durability.Dir) ([]Entry, error) {
	names, err := dir.Names() // sorted, and the digits have a fixed width
	if err != nil {
		return nil, err
	}
	return appendEntries(nil, names), nil
}

// appendEntries appends the segments among a directory's names, which are
// sorted, in the order of List. Sorted names have 0000000000000004.tmp before
// 0000000000000004.wal, so that where both are there the two are exchanged.
func appendEntries(list []Entry, names []string) []Entry {
	for _, name := range names {
		e, ok := ParseName(name)
		if !ok {
			continue
		}
		if n := len(list); !e.Temp && n > 0 && list[n-1].Temp && list[n-1].Ordinal == e.Ordinal {
			list[n-1], e = e, list[n-1]
		}
		list = append(list, e)
	}
	return list
}
