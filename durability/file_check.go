package durability

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// Expectation is a file as File.Expect found it, for File.Check.
type Expectation struct {
	stat Stat

	// covered says that the blocks were enough for the size: only then does a
	// lack of them mean something. Filesystems that compress, or keep small files
	// in the inode, have fewer from the start.
	covered bool
}

// Expect records the file's inode, size and blocks, to be compared by Check.
// Call it when the file is allocated.
func (f *File) Expect() (Expectation, error) {
	st, err := f.Stat()
	return Expectation{stat: st, covered: covers(st)}, err
}

// covers reports whether the blocks are enough for the size.
func covers(st Stat) bool { return st.Blocks*512 >= st.Size }

// Check says whether what was stored in the file can still be there: call it
// after a sync, before anything is acknowledged. A file that was truncated takes
// stores in its last page without a signal and loses them, and msync returns 0;
// a file that was removed or replaced is synced faithfully, and nobody will find
// it. Check returns a *ChangedError when
//
//   - the size is not as expected,
//   - blocks are missing: truncated and extended again, or a hole was punched,
//   - the file has no name left,
//   - its name is gone, or leads to another file.
//
// It costs one statx(2) of the name, which answers all four where that leads to the file, and never
// asks for times (Stat says why); only what has changed is asked a second time, of the file itself.
// What is undone between two checks, truncated and filled again, cannot be seen, nor a
// hole smaller than the blocks that the file has to spare. A Dir.Rename with
// this File at the same moment is no change.
func (f *File) Check(e Expectation) error {
	f.renaming.RLock()
	defer f.renaming.RUnlock()
	var named unix.Statx_t
	_, err := ask(f.call(fault.Statx), func() error {
		return f.with(func(int) error {
			return f.dir.with(func(fd int) error {
				return unix.Statx(fd, f.Name(), unix.AT_SYMLINK_NOFOLLOW, statMask, &named)
			})
		})
	})
	isOurs := err == nil && keyOf(&named) == f.key
	got := statOf(&named)
	switch {
	case isOurs:
	case err == nil, errors.Is(err, unix.ENOENT):
		var serr error
		if got, serr = f.Stat(); serr != nil {
			return serr
		}
	default:
		return pathError("statx", f.Path(), err)
	}
	what := e.differs(got)
	switch {
	case what != "":
	case isOurs:
		return nil
	case err != nil:
		what = "its name is gone"
	default:
		what = "its name leads to another file"
	}
	return &ChangedError{File: f.Path(), What: what}
}

// Check says whether the directory is where it was when it was opened. Where it
// was moved, removed or replaced, or its path leads elsewhere for another
// reason, its files are written and synced faithfully, and nobody will find them
// by that path: Check returns a *ChangedError then. A path that may not be
// searched any more is no change. It costs one statx(2), which asks for no times.
func (d *Dir) Check() error {
	var named unix.Statx_t
	_, err := ask(&fault.Call{Op: fault.Statx, Dir: d.path}, func() error {
		return d.with(func(int) error {
			return unix.Statx(unix.AT_FDCWD, d.whole, 0, unix.STATX_INO, &named)
		})
	})
	switch {
	case errors.Is(err, unix.EACCES):
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return &ChangedError{File: d.path, What: "its name is gone"}
	case err != nil:
		return pathError("statx", d.path, err)
	case keyOf(&named) != d.id.key:
		return &ChangedError{File: d.path, What: "its name leads to another directory"}
	}
	return nil
}

// differs says what is not as it was, or nothing.
func (e Expectation) differs(got Stat) string {
	switch {
	case got.Dev != e.stat.Dev || got.Ino != e.stat.Ino:
		return "the expectation is about another file"
	case got.Size != e.stat.Size:
		return fmt.Sprintf("its size is %d bytes instead of %d", got.Size, e.stat.Size)
	case got.Links == 0:
		return "it was removed"
	case e.covered && !covers(got):
		return fmt.Sprintf("it has %d blocks of 512 bytes instead of %d, too few for its %d bytes: "+
			"it was truncated and extended again, or a hole was punched", got.Blocks, e.stat.Blocks, got.Size)
	}
	return ""
}
