package durability

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// Dir is an open directory. Every file of it is made, renamed and removed
// through it, by names relative to its descriptor, so that the Tracer sees every
// change of a name. None of that is durable before Sync returns nil, unless the
// method says so. All methods may be called at once from several goroutines.
type Dir struct {
	handle
	path   string
	whole  string // the path from the root, whatever the working directory becomes
	tracer Tracer
	id     *identity
	syncs  syncer
}

// OpenDir opens an existing directory. Its operations, and those of its files
// and their mappings, are reported to the tracer, which may be nil.
func OpenDir(path string, tracer Tracer) (*Dir, error) {
	fd, st := -1, unix.Statx_t{}
	_, err := ask(&fault.Call{Op: fault.Open, Dir: path}, func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &st)
	}
	if err != nil {
		closeUnused(fd)
		return nil, pathError("open directory", path, err)
	}
	return &Dir{handle: handle{fd: fd}, path: path, whole: fromRoot(path), tracer: tracer, id: identify(keyOf(&st))}, nil
}

// fromRoot returns a path that begins at the root, where the working directory
// can be told. It is not cleaned: that would change where symbolic links lead.
func fromRoot(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	return wd + "/" + path
}

// closeUnused closes a descriptor that nobody has seen, and through which
// nothing was written.
func closeUnused(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// Path returns the path as it was given to OpenDir.
func (d *Dir) Path() string { return d.path }

// Sync makes the names in the directory durable: what was created, renamed and
// removed before the call. The first failure, a *SyncError, is final: see
// ErrFailed.
func (d *Dir) Sync() error {
	return d.syncs.run(OpSyncDir.String(), d.path, func() error {
		e := Event{Op: OpSyncDir, File: d.id.id, Dir: d.path}
		return perform(d.tracer, &e, func() error { return d.with(unix.Fsync) })
	})
}

// Create makes a new, empty file, open for reading and writing. A file or
// symbolic link under the name is an error that matches fs.ErrExist. The name is
// not durable before Sync.
func (d *Dir) Create(name string, perm fs.FileMode) (*File, error) {
	if err := checkName("create", d.path, name); err != nil {
		return nil, err
	}
	var f *File
	e := Event{Op: OpCreate, Dir: d.path, Name: name}
	err := perform(d.tracer, &e, func() (err error) {
		f, err = d.openat(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, perm)
		if err == nil {
			e.File = f.id.id
		}
		return err
	})
	if err != nil && f != nil {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, pathError("create", filepath.Join(d.path, name), err)
	}
	return f, nil
}

// Open opens an existing regular file, for reading or for reading and writing.
// Anything else under the name, a symbolic link included, is ErrNotRegular. A
// fifo does not block it.
func (d *Dir) Open(name string, writable bool) (*File, error) {
	if err := checkName("open", d.path, name); err != nil {
		return nil, err
	}
	mode := unix.O_RDONLY
	if writable {
		mode = unix.O_RDWR
	}
	var f *File
	_, err := ask(&fault.Call{Op: fault.Open, Dir: d.path, Name: name}, func() (err error) {
		f, err = d.openat(name, mode|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil && f != nil {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, pathError("open", filepath.Join(d.path, name), err)
	}
	return f, nil
}

// openat opens or creates a regular file, and refuses everything else. What
// openat(2) answers to other things depends on the thing and the mode.
func (d *Dir) openat(name string, mode int, perm fs.FileMode) (*File, error) {
	var f *File
	err := d.with(func(dirfd int) error {
		fd, err := unix.Openat(dirfd, name, mode|unix.O_CLOEXEC|unix.O_NOFOLLOW, uint32(perm.Perm()))
		switch {
		case errors.Is(err, unix.ELOOP):
			return fmt.Errorf("%w: a symbolic link (%w)", ErrNotRegular, err)
		case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
			return fmt.Errorf("%w (%w)", ErrNotRegular, err)
		case err != nil:
			return err
		}
		var st unix.Statx_t
		if err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_INO, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = ErrNotRegular
		}
		if err != nil {
			closeUnused(fd)
			return err
		}
		f = newFile(d, name, fd, mode&unix.O_RDWR != 0, &st)
		return nil
	})
	return f, err
}

// Rename moves a file to another name in the directory, atomically replacing
// what was there. It is not durable before Sync; after a crash the file is under
// its old or its new name. f, if it is not nil, is the open file that is moved:
// it learns its new name, safely concurrently with calls of File.Check.
func (d *Dir) Rename(oldName, newName string, f *File) error {
	if err := errors.Join(checkName("rename", d.path, oldName), checkName("rename", d.path, newName)); err != nil {
		return err
	}
	e := Event{Op: OpRename, Dir: d.path, Name: oldName, NewName: newName}
	if f != nil {
		f.renaming.Lock()
		defer f.renaming.Unlock()
		if f.dir != d || f.Name() != oldName {
			return pathError("rename", filepath.Join(d.path, oldName), fmt.Errorf("the open file that was given with it is %s", f.Path()))
		}
		e.File = f.id.id
	}
	err := perform(d.tracer, &e, func() error {
		err := d.with(func(fd int) error { return unix.Renameat(fd, oldName, fd, newName) })
		if err == nil && f != nil {
			f.name.Store(&newName)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("to %s: %w", newName, classify(err))
	}
	return pathError("rename", filepath.Join(d.path, oldName), err)
}

// Remove unlinks a file. It is not durable before Sync.
func (d *Dir) Remove(name string) error {
	if err := checkName("remove", d.path, name); err != nil {
		return err
	}
	e := Event{Op: OpRemove, Dir: d.path, Name: name}
	err := perform(d.tracer, &e, func() error {
		return d.with(func(fd int) error { return unix.Unlinkat(fd, name, 0) })
	})
	return pathError("remove", filepath.Join(d.path, name), err)
}

// Writable returns nil where names may be made, changed and removed in the
// directory, and otherwise why not: an error that matches fs.ErrPermission, or
// unix.EROFS on a filesystem that is mounted read-only. It changes nothing. Ask
// before a change that must not end halfway.
func (d *Dir) Writable() error {
	err := d.with(func(fd int) error { return unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
	return pathError("write to directory", d.path, err)
}

// Names returns the names in the directory as they are now, sorted.
func (d *Dir) Names() ([]string, error) {
	var names []string
	err := d.with(func(fd int) error {
		// A description of its own: the position of the one that is held would be
		// shared between calls.
		own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		list := os.NewFile(uintptr(own), d.path)
		names, err = list.Readdirnames(-1)
		return errors.Join(err, list.Close())
	})
	if err != nil {
		return nil, pathError("read directory", d.path, err)
	}
	slices.Sort(names)
	return names, nil
}

// Close closes the directory, and syncs nothing. Close its files first: what
// they do by name returns ErrClosed afterwards.
func (d *Dir) Close() error {
	err := d.close()
	if err == nil {
		d.id.release()
	}
	return pathError("close directory", d.path, err)
}

// checkName refuses names that lead out of the directory.
func checkName(op, dir, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return pathError(op, dir, fmt.Errorf("%q is not the name of a file in the directory: %w", name, fs.ErrInvalid))
	}
	return nil
}
