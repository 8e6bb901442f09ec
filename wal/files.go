package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
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

// parseName reads a segment's name. Others are no business of the log.
func parseName(name string) (entry, bool) {
	e := entry{name: name}
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		digits, e.temp = strings.CutSuffix(name, tempSuffix)
		if !e.temp {
			return e, false
		}
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || n == 0 {
		return e, false
	}
	e.ordinal = n
	return e, name == finalName(n) || name == tempName(n)
}

// listSegments returns the segments' files by ordinal, the final name before
// the temporary one.
func listSegments(dir *durability.Dir) ([]entry, error) {
	names, err := dir.Names() // sorted, and the digits have a fixed width
	if err != nil {
		return nil, err
	}
	var finals []entry
	for _, name := range names {
		e, ok := parseName(name)
		if !ok {
			continue
		}
		if n := len(finals); !e.temp && n > 0 && finals[n-1].temp && finals[n-1].ordinal == e.ordinal {
			finals[n-1], e = e, finals[n-1]
		}
		finals = append(finals, e)
	}
	return finals, nil
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
	if err := f.Lock(); err != nil {
		_ = f.Close()
		if errors.Is(err, durability.ErrLocked) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, f.Path())
		}
		return nil, err
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
	buf := make([]byte, len(lockText(frame.UUID{})))
	n, err := read(buf, 0)
	if n < len(buf) {
		if isEOF(err) {
			err = nil
		}
		return frame.UUID{}, err
	}
	var id frame.UUID
	hex := strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(string(buf), "\n"), "seawall log "), "-", "")
	if len(hex) != 2*len(id) {
		return frame.UUID{}, nil
	}
	for i := range id {
		b, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			return frame.UUID{}, nil
		}
		id[i] = byte(b)
	}
	if string(buf) != lockText(id) {
		return frame.UUID{}, nil
	}
	return id, nil
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
