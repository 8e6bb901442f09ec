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

// owner checks that this process is still the log's only writer. The lock belongs
// to an inode: where the lock file was removed or replaced, the next writer locks
// another inode, and neither writer is told. So the lock file is checked after each
// sync, before it is acknowledged. Until then the locks of the segments that are
// mapped for writing keep the other writer out: Open refuses a directory in which a
// segment is locked (checkUnowned). The lock of the lock file alone is what readers ask
// whether the log has a writer.
//
// syncMu guards note and hasSlots; the rest does not change after Open.
//
// Open locks (openLock, begin, checkUnowned) and names the log (writeLock); each sync checks
// (check); Checkpoint and Close write what they made durable into the file (noteCheckpoint),
// and a repair that leaves no segment of the log writes where it goes on.
type owner struct {
	dir      *durability.Dir
	lock     *durability.File
	expect   durability.Expectation
	note     logdir.Identity // what the lock file says
	hasSlots bool            // the file has blocks for checkpoint records
}

// begin notes how the lock file is to be from now on, and checks that it is the one
// under its name: another process may have removed it between its opening and its
// locking.
func (o *owner) begin() (err error) {
	if o.expect, err = o.lock.Expect(); err != nil {
		return err
	}
	return o.check()
}

// check returns an error that names the lock file, or the directory, if it is not
// the same any more or not in its place: another process that opens the log by its
// path would then find another one, or none. checkSynced calls it, so that no writer that
// has lost its lock acknowledges anything.
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

// lockedBy returns the error for a file that another writer has locked: another process,
// or another Log of this one.
func lockedBy(f *durability.File) error { return fmt.Errorf("%w: %s", ErrLocked, f.Path()) }

// lockSegment locks a segment's file, and returns what holds the lock: an open file
// description of its own. A lock on the description that is mapped would outlive the
// process for as long as anything, a debugger say, holds its memory.
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

// checkUnowned returns ErrLocked where a segment has a writer, also where the lock
// file was removed. That writer unlocks a segment only after a sync for which it
// still had the lock file, and never the segment that the sync ended in. So as long
// as it may acknowledge anything, one of the files that were listed after this process
// got the lock file is locked.
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

// openLock opens the file whose lock makes a writer the only one, and locks it. It is
// created if need be, and never replaced: a lock belongs to the inode. Two writers may
// race to create it; the one that comes second opens the other's file. The kernel
// releases the lock when the process dies, so no stale lock has to be broken.
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

// writeLock makes the lock file name the log, durably, and allocates its slots for
// checkpoint records, unless both are done: have is what the device holds. The page
// cache is made to hold what the device holds. Where the filesystem has no space for
// the slots, the log does without them. A lock file that names no log is no damage: the
// headers of the segments say whose they are.
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
	if o.hasSlots = true; bytes.Equal(have.Device, want) && bytes.Equal(cached[:n], want) {
		return nil
	}
	_, err = o.lock.WriteAt(want, 0)
	if err == nil {
		err = o.lock.Sync()
	}
	if errors.Is(err, ErrNoSpace) {
		o.hasSlots = false
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

// noteCheckpoint writes a checkpoint into the lock file, durably, unless the newest
// one there says the same. The caller has made durable what it names, or is about to remove
// it (Opening.recreate). Where the filesystem
// has no space for it, noted is false: the older checkpoint stays, and is still true. The
// slots are used in turn, as in a segment: a torn write leaves the older record whole.
func (o *owner) noteCheckpoint(c frame.Checkpoint) (noted bool, err error) {
	c.UUID, c.Counter = o.note.UUID, o.note.Newest.Counter
	if !o.hasSlots || c == o.note.Newest {
		return o.hasSlots, nil
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
