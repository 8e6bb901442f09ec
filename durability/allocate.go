package durability

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// AllocateOptions says how zeros are written. The zero value is a good default.
type AllocateOptions struct {
	// FillBytes is the size of one zero-filling write, a multiple of the page
	// size; 0 is 64 KiB. It decides the size of the page-cache folios: a store
	// dirties its whole folio, so that with 2 MiB folios the sync of a 100-byte
	// record writes 2 MiB (measured on ext4, Linux 6.18), while larger folios
	// fault less often.
	FillBytes int

	// Head is the number of bytes at the start of the file that are filled page by
	// page, so that their folios stay small; rounded up to pages.
	Head int64

	// End is where FillHoles ends, in bytes from the file's start; 0, and all that
	// is larger than the file, is its end. Others do not look at it.
	End int64

	// Cancel, if it is not nil, is asked before each write: true ends the call
	// with an error that matches context.Canceled.
	Cancel func() bool
}

// defaultFillBytes is AllocateOptions.FillBytes where that is 0.
const defaultFillBytes = 64 << 10

// flagNoCOW is FS_NOCOW_FL of include/uapi/linux/fs.h.
const flagNoCOW = 0x00800000

// Allocate makes the file size bytes long, with blocks behind every byte, so
// that a store through a mapping finds them: fallocate(2), then real zeros from
// the old end of the file on, because blocks that were only reserved cost a
// journal commit at the first sync of each. What the file held stays; holes in
// it keep their lack of data (FillHoles). A file that is that long already gets
// the reservation only. Nothing is durable before a sync.
//
// On btrfs an empty file is first taken out of copy-on-write, which would need
// new space at each store: NoCOW tells how that went. Where fallocate is not
// supported the zeros alone have to do. A lack of space matches ErrNoSpace; the
// file may be longer then, and is best truncated or removed.
func (f *File) Allocate(size int64, o AllocateOptions) error {
	if err := o.validate(); err != nil {
		return pathError("allocate", f.Path(), err)
	}
	old, err := f.Size()
	if err != nil {
		return err
	}
	if old == 0 {
		if fsys, ferr := f.Filesystem(); ferr != nil || fsys.Magic == unix.BTRFS_SUPER_MAGIC {
			f.leaveCopyOnWrite()
		}
	}
	e := f.event(OpAllocate)
	e.Length = size
	err = perform(f.dir.tracer, &e, func() error {
		return f.with(func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	})
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return rangeError("allocate", f.Path(), 0, size, err)
	}
	return f.writeZeros(old, size, o)
}

// NoCOW returns nil when, as far as Allocate saw to it, stores rewrite the file's
// blocks in place: on every filesystem but btrfs, where a file is born with that
// flag or never has it. Otherwise it returns the reason: a store into the
// mapping may then find the disk full, and comes back as a *FaultError.
func (f *File) NoCOW() error {
	if err := f.noCOW.Load(); err != nil {
		return *err
	}
	return nil
}

// leaveCopyOnWrite sets the flag on an empty file of a btrfs, which needs no
// privilege. That it fails is no failure: stores work, only less safely on a
// full disk.
func (f *File) leaveCopyOnWrite() {
	err := f.with(func(fd int) error {
		flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|flagNoCOW)
	})
	if err != nil {
		err = pathError("leave copy-on-write", f.Path(), err)
		f.noCOW.Store(&err)
	}
}

// FillHoles writes real zeros wherever the file has a hole or blocks that were
// reserved and never written, and changes nothing else: afterwards stores
// through a mapping find blocks. It returns the number of bytes that it wrote.
// No other goroutine or process may store into the holes during the call, or the stores may be overwritten.
// A filesystem that cannot tell holes from data (lseek(2), SEEK_HOLE) has none
// for it.
func (f *File) FillHoles(o AllocateOptions) (filled int64, err error) {
	if err = o.validate(); err != nil {
		return 0, pathError("fill holes", f.Path(), err)
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if o.End > 0 {
		size = min(size, o.End)
	}
	for at := int64(0); at < size; {
		hole, err := f.seek(at, unix.SEEK_HOLE, size)
		if err != nil || hole >= size {
			return filled, err
		}
		data, err := f.seek(hole, unix.SEEK_DATA, size)
		if err != nil {
			return filled, err
		}
		if err := f.writeZeros(hole, data, o); err != nil {
			return filled, err
		}
		filled += data - hole
		at = data
	}
	return filled, nil
}

// Wipe writes real zeros over all that the file holds, by the writes that
// AllocateOptions says, and keeps its size and blocks: a file that is used again
// needs no allocation. Nothing is durable before a sync.
func (f *File) Wipe(o AllocateOptions) error {
	if err := o.validate(); err != nil {
		return pathError("wipe", f.Path(), err)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	return f.writeZeros(0, size, o)
}

// seek returns where the next hole or the next data begins, at most at size.
func (f *File) seek(off int64, whence int, size int64) (at int64, err error) {
	err = f.with(func(fd int) error {
		at, err = unix.Seek(fd, off, whence)
		return err
	})
	if errors.Is(err, unix.ENXIO) {
		return size, nil // no data, or no hole, from off on
	}
	return min(at, size), rangeError("seek hole", f.Path(), off, size-off, err)
}

// writeZeros writes zeros to [from, to), by writes that end at multiples of
// FillBytes, or of the page size within Head.
func (f *File) writeZeros(from, to int64, o AllocateOptions) error {
	fill, head := o.fill(), pageCeil(o.Head)
	zeros := make([]byte, fill)
	for from < to {
		if o.Cancel != nil && o.Cancel() {
			return rangeError("write zeros", f.Path(), from, to-from, context.Canceled)
		}
		end := ceil(from+1, fill)
		if from < head {
			end = ceil(from+1, pageBytes)
		}
		end = min(end, to)
		e := f.event(OpWrite)
		if _, err := f.write(&e, zeros[:end-from], from); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// fill returns the size of one write.
func (o AllocateOptions) fill() int64 {
	if o.FillBytes == 0 {
		return ceil(defaultFillBytes, pageBytes)
	}
	return int64(o.FillBytes)
}

// validate checks the options.
func (o AllocateOptions) validate() error {
	if o.FillBytes < 0 || o.fill()%pageBytes != 0 {
		return fmt.Errorf("zeros by %d bytes (FillBytes): it must be a multiple of the page size, %d bytes", o.FillBytes, pageBytes)
	}
	if o.Head < 0 {
		return fmt.Errorf("a head of %d bytes: it must not be negative", o.Head)
	}
	return nil
}
