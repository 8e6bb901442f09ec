package durability

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MkdirAll makes the directory path, with every directory above it that is
// missing, and makes the names of all it made durable: the parent of each is
// synced before it goes on below. Where the directory is there already, its
// parent is synced too, as far as it may be opened: a process that died between
// the two steps may have made it.
//
// A directory that is there keeps its permissions; what is there and is no
// directory is an error that matches unix.ENOTDIR.
func MkdirAll(path string, perm fs.FileMode, tracer Tracer) error {
	path = filepath.Clean(path)
	there, err := isDir(path)
	if err != nil {
		return pathError("mkdir", path, err)
	}
	parent := filepath.Join(path, "..") // of "." and ".." too
	if there {
		return settle(parent, tracer)
	}
	if err = MkdirAll(parent, perm, tracer); err != nil {
		return err
	}
	d, err := OpenDir(parent, tracer)
	if err != nil {
		return err
	}
	err = d.mkdir(filepath.Base(path), perm)
	if errors.Is(err, fs.ErrExist) {
		// Another process was faster, and may not have synced the name yet.
		if there, err = isDir(path); err == nil && !there {
			err = fmt.Errorf("a name without a directory: %w", unix.ENOTDIR)
		}
		err = pathError("mkdir", path, err)
	}
	if err == nil {
		err = d.Sync()
	}
	return errors.Join(err, d.Close())
}

// mkdir makes one directory, not durably.
func (d *Dir) mkdir(name string, perm fs.FileMode) error {
	e := Event{Op: OpMkdir, Dir: d.path, Name: name}
	err := perform(d.tracer, &e, func() error {
		return d.with(func(fd int) error { return unix.Mkdirat(fd, name, uint32(perm.Perm())) })
	})
	return pathError("mkdir", filepath.Join(d.path, name), err)
}

// settle syncs the parent of a directory that exists already. A parent that the
// caller may not read, or that has nothing to sync (a read-only or a pseudo
// filesystem), cannot be helped.
func settle(parent string, tracer Tracer) error {
	d, err := OpenDir(parent, tracer)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// isDir reports whether a directory is there, or, without an error, nothing.
func isDir(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_TYPE, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return false, unix.ENOTDIR
	}
	return true, nil
}
