package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// owner is what shows that the log is still its writer's. The lock belongs to
// an inode: where the lock file was removed or replaced, the next writer locks
// another one, and neither is told. So the lock file is looked at after each
// sync, before it is acknowledged. What keeps the other writer out until then
// are the locks of the segments that are mapped for writing.
type owner struct {
	dir    *durability.Dir
	lock   *durability.File
	expect durability.Expectation
	note   logdir.Identity // what the lock file says
	room   bool            // it has blocks for checkpoints
}

// begin notes the lock file as it is from now on, and looks whether it is the
// one under its name: between its opening and its locking it may have gone.
func (o *owner) begin() (err error) {
	if o.expect, err = o.lock.Expect(); err != nil {
		return err
	}
	return o.check()
}

// check returns an error that names the lock file if that is not what it was,
// or not where it was, any more; or the directory, if that is not: whoever opens
// the log by its path finds another one, or none.
func (o *owner) check() error {
	if err := o.dir.Check(); err != nil {
		return err
	}
	if err := o.lock.Check(o.expect); err != nil {
		return fmt.Errorf("the lock does not keep other writers out any more: %w", err)
	}
	return nil
}

// lockFile locks a file for the one writer.
func lockFile(f *durability.File) error {
	err := f.Lock()
	if errors.Is(err, durability.ErrLocked) {
		return lockedBy(f)
	}
	return err
}

// lockedBy returns the error for a file that another writer has locked.
func lockedBy(f *durability.File) error { return fmt.Errorf("%w: %s", ErrLocked, f.Path()) }

// lockSegment locks a segment's file, and returns what holds the lock: a
// description of its own. The one that is mapped would keep the lock beyond the
// death of the process, for as long as somebody looks at its memory.
func lockSegment(dir *durability.Dir, name string) (*durability.File, error) {
	f, err := dir.Open(name, true)
	if err != nil {
		return nil, err
	}
	if err = lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkUnowned returns ErrLocked where a file has a writer, whatever became of
// the lock file. That writer lets go of a segment only behind a sync for which
// it still had the lock file, and not of the one that the sync ended in: so if
// it goes on, one of those that were listed since is locked.
func (op *opening) checkUnowned() error {
	if op.l.wrong.Has(seam.Unlocked) {
		return nil
	}
	for _, d := range op.files {
		f, err := d.held.Use()
		if err != nil {
			return err
		}
		locked, err := f.Locked()
		if err != nil {
			return err
		}
		if locked {
			return lockedBy(f)
		}
	}
	return nil
}

// openLock opens the file whose lock makes a writer the only one. It is
// created if need be, and never replaced: a lock belongs to the inode.
func openLock(dir *durability.Dir, perm fs.FileMode) (*durability.File, error) {
	f, err := dir.Open(logdir.LockName, true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Create(logdir.LockName, perm)
		if errors.Is(err, fs.ErrExist) {
			f, err = dir.Open(logdir.LockName, true)
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

// writeLock makes the lock file name the log, durably, and gives it room for
// checkpoints, if it does not and has not yet: have is what deviceLockNote found. The
// page cache is made to hold what the device holds. Where there is no space for the
// room, the log does without.
func (o *owner) writeLock(have logdir.Identity, id frame.UUID) error {
	want, text := make([]byte, frame.LockBytes), []byte(logdir.IdentityText(id))
	if o.note = have; have.UUID == id {
		copy(want, have.Device)
	} else {
		o.note = logdir.Identity{UUID: id, Slot: frame.Slots - 1}
		copy(want, text)
	}
	o.note.Device = nil
	cached := make([]byte, frame.LockBytes)
	n, err := o.lock.ReadAt(cached, 0)
	if err != nil && !isEOF(err) {
		return err
	}
	if o.room = true; bytes.Equal(have.Device, want) && bytes.Equal(cached[:n], want) {
		return nil
	}
	_, err = o.lock.WriteAt(want, 0)
	if err == nil {
		err = o.lock.Sync()
	}
	if errors.Is(err, ErrNoSpace) {
		o.room = false
		if have.UUID == id && bytes.HasPrefix(cached[:n], text) {
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
	c.UUID, c.Counter = o.note.UUID, o.note.Newest.Counter
	if !o.room || c == o.note.Newest {
		return o.room, nil
	}
	c.Counter++
	slot := (o.note.Slot + 1) % frame.Slots
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
	o.note.Newest, o.note.Slot = c, slot
	return true, nil
}
