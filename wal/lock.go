package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
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
	note   lockNote // what the lock file says
	room   bool     // it has blocks for checkpoints
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
	for _, d := range op.files {
		f, err := d.held.use()
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
