package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
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
	return e, e.ordinal != 0
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

// openLock opens the file whose lock makes a writer the only one. It is
// created if need be, and never replaced: a lock belongs to the inode.
func openLock(dir *durability.Dir, perm fs.FileMode) (*durability.File, error) {
	f, err := dir.Open(lockName, true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Create(lockName, perm)
		if errors.Is(err, fs.ErrExist) {
			f, err = dir.Open(lockName, true)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockText is what the lock file says once the log's first segment is durable:
// a directory that says so and has no segment has lost them.
func lockText(id frame.UUID) string { return "seawall log " + UUID(id).String() + "\n" }

// deviceLockUUID returns the UUID that the lock file names, or zero, durably and
// as the device holds it: the writer decides by it whether segments are missing.
func deviceLockUUID(f *durability.File) (frame.UUID, error) {
	if err := f.Sync(); err != nil {
		return frame.UUID{}, err
	}
	return readLockUUID(func(p []byte, off int64) (int, error) {
		n, _, err := f.ReadDirect(p, off)
		return n, err
	})
}

// readLockUUID returns the UUID that the lock file names, or zero.
func readLockUUID(read func([]byte, int64) (int, error)) (frame.UUID, error) {
	buf := make([]byte, lockBytes)
	n, err := read(buf, 0)
	if n < len(buf) && isEOF(err) {
		err = nil
	}
	if n < len(buf) {
		return frame.UUID{}, err
	}
	return parseLock(buf), nil
}

// lockBytes is the length of what the lock file says.
var lockBytes = len(lockText(frame.UUID{}))

// parseLock returns the UUID in what the lock file says, or zero where it begins
// with anything but lockText.
func parseLock(b []byte) (id frame.UUID) {
	const head = "seawall log "
	if len(b) < lockBytes || string(b[:len(head)]) != head || b[lockBytes-1] != '\n' {
		return frame.UUID{}
	}
	// Two digits a byte, in groups of 4, 2, 2, 2 and 6 bytes.
	digits := b[len(head) : lockBytes-1]
	for i := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			if digits[0] != '-' {
				return frame.UUID{}
			}
			digits = digits[1:]
		}
		high, low := strings.IndexByte(hexDigits, digits[0]), strings.IndexByte(hexDigits, digits[1])
		if high < 0 || low < 0 {
			return frame.UUID{}
		}
		id[i] = byte(high<<4 | low)
		digits = digits[2:]
	}
	return id
}

// writeLockUUID makes the lock file name the log, durably, if it does not yet:
// have is what deviceLockUUID found.
func writeLockUUID(dir *durability.Dir, f *durability.File, have, id frame.UUID) error {
	if have == id {
		return nil
	}
	if _, err := f.WriteAt([]byte(lockText(id)), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return dir.Sync()
}
