package wal

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

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

// lockNote is what the lock file says: whose log it is, and how far that came. The
// zero value says nothing.
type lockNote struct {
	uuid   frame.UUID
	newest frame.Checkpoint // zero for none, or none of that log
	slot   int              // the block that it is in
	device []byte           // the file's bytes, as the device has them
}

// deviceLockNote returns what the lock file says, durably and as the device holds
// it: the writer decides by it whether segments are missing.
func deviceLockNote(f *durability.File) (lockNote, error) {
	if err := f.Sync(); err != nil {
		return lockNote{}, err
	}
	n, err := readLockNote(func(p []byte, off int64) (int, error) {
		n, _, err := f.ReadDirect(p, off)
		return n, err
	})
	return n, errors.Join(err, f.EndDirect())
}

// readLockNote returns what the lock file says.
func readLockNote(read func([]byte, int64) (int, error)) (lockNote, error) {
	buf := make([]byte, frame.LockBytes)
	n, err := read(buf, 0)
	if n < len(buf) && isEOF(err) {
		err = nil
	}
	if n < len(buf) && err != nil {
		return lockNote{}, err
	}
	note := parseLock(buf[:n])
	note.device = buf[:n]
	return note, nil
}

// parseLock returns what a lock file of these bytes says. One that was made before
// it had room for a checkpoint is shorter.
func parseLock(b []byte) lockNote {
	n := lockNote{uuid: parseLockText(b), slot: frame.Slots - 1}
	if len(b) < frame.LockBytes {
		return n
	}
	for i := range frame.Slots {
		c, err := frame.DecodeCheckpoint(b[frame.CheckpointOffset+i*frame.BlockBytes:])
		if err == nil && c.UUID == n.uuid && c.Counter > n.newest.Counter {
			n.newest, n.slot = c, i
		}
	}
	return n
}

// lockBytes is the length of what the lock file says.
var lockBytes = len(lockText(frame.UUID{}))

// parseLockText returns the UUID in what the lock file says, or zero where it begins
// with anything but lockText.
func parseLockText(b []byte) (id frame.UUID) {
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

// writeLock makes the lock file name the log, durably, and gives it room for
// checkpoints, if it does not and has not yet: have is what deviceLockNote found. The
// page cache is made to hold what the device holds. Where there is no space for the
// room, the log does without.
func (o *owner) writeLock(have lockNote, id frame.UUID) error {
	want, text := make([]byte, frame.LockBytes), []byte(lockText(id))
	if o.note = have; have.uuid == id {
		copy(want, have.device)
	} else {
		o.note = lockNote{uuid: id, slot: frame.Slots - 1}
		copy(want, text)
	}
	o.note.device = nil
	cached := make([]byte, frame.LockBytes)
	n, err := o.lock.ReadAt(cached, 0)
	if err != nil && !isEOF(err) {
		return err
	}
	if o.room = true; bytes.Equal(have.device, want) && bytes.Equal(cached[:n], want) {
		return nil
	}
	_, err = o.lock.WriteAt(want, 0)
	if err == nil {
		err = o.lock.Sync()
	}
	if errors.Is(err, ErrNoSpace) {
		o.room = false
		if have.uuid == id && bytes.HasPrefix(cached[:n], text) {
			return nil
		}
		_, err = o.lock.WriteAt(text, 0)
		err = errors.Join(err, o.lock.Sync())
	}
	if err != nil {
		return err
	}
	return o.dir.Sync()
}

// noteCheckpoint leaves a checkpoint in the lock file, durably, unless what it says
// is there. All that it names is durable before. Where the filesystem has no space
// for it, what is there stays and is no less true: noted is false then.
func (o *owner) noteCheckpoint(c frame.Checkpoint) (noted bool, err error) {
	c.UUID, c.Counter = o.note.uuid, o.note.newest.Counter
	if !o.room || c == o.note.newest {
		return o.room, nil
	}
	c.Counter++
	slot := (o.note.slot + 1) % frame.Slots
	b := c.Encode()
	if _, err = o.lock.WriteAt(b[:], frame.CheckpointOffset+int64(slot)*frame.BlockBytes); err == nil {
		err = o.lock.Sync()
	}
	if err != nil {
		if errors.Is(err, ErrNoSpace) {
			return false, nil
		}
		return false, err
	}
	o.note.newest, o.note.slot = c, slot
	return true, nil
}
