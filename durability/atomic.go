package durability

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// WriteFile makes data the content of the file path, atomically and durably:
// after a crash at any moment the file has its old content, or none if it did
// not exist, or all of the new; when WriteFile has returned nil, the new. A
// crash may leave a temporary file next to it, whose name begins with a dot and
// the file's name. Permissions are perm without the umask, also where the file
// existed. A symbolic link under the name is replaced, not followed.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return inDirOf(path, func(d *Dir, name string) error { return d.WriteFile(name, data, perm) })
}

// CreateFile makes a new file path with the content data, atomically and
// durably: after a crash at any moment the file is complete or absent; when
// CreateFile has returned nil, it is complete. A file that exists is left alone,
// and is an error that matches fs.ErrExist. A crash may leave a temporary file
// next to it, whose name begins with a dot and the file's name.
func CreateFile(path string, data []byte, perm fs.FileMode) error {
	return inDirOf(path, func(d *Dir, name string) error { return d.CreateFile(name, data, perm) })
}

// inDirOf runs do with the directory of a path open.
func inDirOf(path string, do func(d *Dir, name string) error) error {
	dir, name := filepath.Split(path)
	d, err := OpenDir(filepath.Clean(dir), nil) // no directory is "."
	if err != nil {
		return err
	}
	return errors.Join(do(d, name), d.Close())
}

// WriteFile is the function WriteFile for a file of the directory. Where the
// last step, the sync of the directory, fails, the file has its new content, and
// either may be there after a crash.
//
// renameio makes the temporary file and replaces the target. It gives atomicity,
// not durability, and by itself may choose another directory for the temporary
// file: the directory is ours to name, and to sync.
func (d *Dir) WriteFile(name string, data []byte, perm fs.FileMode) error {
	if err := checkName("write", d.path, name); err != nil {
		return err
	}
	pending, f, err := d.pendingFile(name, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		// Our own, so that a failure of the sync is told from one of the rename.
		// renameio syncs once more, and finds nothing to write.
		err = f.Sync()
	}
	if err == nil {
		err = d.replace(pending, f, name)
	}
	if err != nil {
		err = errors.Join(err, d.discard(pending, f, name))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return d.Sync()
}

// pendingFile lets renameio make the temporary file, and returns it with a File
// of its own on it. Both of the tracer's events come when it is made, because
// renameio chooses the name: no state of a crash is lost by that, since the file
// is as empty after the Before event as it was when it was made.
func (d *Dir) pendingFile(name string, perm fs.FileMode) (*renameio.PendingFile, *File, error) {
	var pending *renameio.PendingFile
	_, err := ask(&fault.Call{Op: fault.Op(OpCreate), Dir: d.path, Name: "." + name}, func() error {
		return d.with(func(fd int) (err error) {
			own := d.ownPath(fd)
			pending, err = renameio.NewPendingFile(filepath.Join(own, name),
				renameio.WithTempDir(own), renameio.WithPermissions(perm))
			return bare(err)
		})
	})
	var f *File
	if err == nil {
		f, err = d.Open(filepath.Base(pending.Name()), true)
	}
	if err != nil {
		if pending != nil {
			err = errors.Join(err, bare(pending.Cleanup()))
		}
		return nil, nil, pathError("create", filepath.Join(d.path, "."+name), err)
	}
	if d.tracer != nil {
		e := f.event(OpCreate)
		e.ID, e.Phase = lastEvent.Add(1), Before
		d.tracer.Trace(e)
		e.Phase = After
		d.tracer.Trace(e)
	}
	return pending, f, nil
}

// replace renames the temporary file over the target.
func (d *Dir) replace(pending *renameio.PendingFile, f *File, name string) error {
	e := f.event(OpRename)
	e.NewName = name
	err := perform(d.tracer, &e, func() error {
		err := d.with(func(int) error { return bare(pending.CloseAtomicallyReplace()) })
		if err == nil {
			f.name.Store(&name)
		}
		return err
	})
	return pathError("replace", filepath.Join(d.path, name), err)
}

// discard removes the temporary file, unless it has replaced the target already.
func (d *Dir) discard(pending *renameio.PendingFile, f *File, name string) error {
	if f.Name() == name {
		return nil
	}
	e := f.event(OpRemove)
	err := perform(d.tracer, &e, func() error {
		return d.with(func(int) error { return bare(pending.Cleanup()) })
	})
	return pathError("remove", f.Path(), err)
}

// ownPath names the very directory that is open as fd, wherever it has been
// moved to. Without /proc its path as it was given has to do.
func (d *Dir) ownPath(fd int) string {
	own := fmt.Sprintf("/proc/self/fd/%d", fd)
	if there, err := isDir(own); there && err == nil {
		return own
	}
	return d.path
}

// bare takes the names out of an error of package os: they are those of /proc.
func bare(err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// CreateFile is the function CreateFile for a file of the directory. Where the
// last step, the sync of the directory, fails, the file is there, and may be gone
// after a crash.
func (d *Dir) CreateFile(name string, data []byte, perm fs.FileMode) error {
	if err := checkName("create", d.path, name); err != nil {
		return err
	}
	f, err := d.Create(fmt.Sprintf(".%s%016x", name, rand.Uint64()), perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.publish(f, name)
	}
	if err != nil {
		err = errors.Join(err, d.Remove(f.Name()))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return d.Sync()
}

// publish gives the file its final name, unless that is taken. A filesystem
// without RENAME_NOREPLACE has a second name instead (linkat(2) never replaces),
// and the first is removed.
func (d *Dir) publish(f *File, name string) error {
	temporary := f.Name()
	err := d.bind(OpRename, f, name, func(fd int) error {
		return unix.Renameat2(fd, temporary, fd, name, unix.RENAME_NOREPLACE)
	})
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	err = d.bind(OpLink, f, name, func(fd int) error { return unix.Linkat(fd, temporary, fd, name, 0) })
	if err != nil {
		return err
	}
	return d.Remove(temporary)
}

// bind performs an operation that gives the file its final name.
func (d *Dir) bind(op Op, f *File, name string, call func(fd int) error) error {
	e := f.event(op)
	e.NewName = name
	err := perform(d.tracer, &e, func() error {
		err := d.with(call)
		if err == nil {
			f.name.Store(&name)
		}
		return err
	})
	return pathError("create", filepath.Join(d.path, name), err)
}
