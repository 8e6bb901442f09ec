package durability

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// Lock takes the write lock of the whole file, or returns ErrLocked at once
// where another open file description has it. The lock belongs to this open
// file description (fcntl(2), F_OFD_SETLK): a second File of the same file is
// refused in the same process too, and the kernel releases the lock with the
// last descriptor of it, so at the latest when the process dies. The file must
// be open for writing. A second Lock of the same File changes nothing.
func (f *File) Lock() error {
	lock := wholeFile()
	_, err := ask(f.call(fault.Lock), func() error {
		return f.with(func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
	})
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, unix.EBADF):
		err = fmt.Errorf("the file must be open for writing: %w", err)
	}
	if err == nil {
		f.locked.Store(true)
	}
	return pathError("lock", f.Path(), err)
}

// unlock releases the lock before the descriptor is closed: a child that is
// being forked at this moment holds a copy of the descriptor until it executes
// its program, and with it the lock, which a writer that closes a log and opens
// it again would find taken.
func (f *File) unlock() error {
	if !f.locked.CompareAndSwap(true, false) {
		return nil
	}
	lock := wholeFile()
	lock.Type = unix.F_UNLCK
	return f.with(func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
}

// Locked reports whether another open file description holds the lock. It takes
// no lock, and works on a File that is open for reading. A lock of this very
// File does not count.
func (f *File) Locked() (bool, error) {
	lock := wholeFile()
	_, err := ask(f.call(fault.Lock), func() error {
		return f.with(func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) })
	})
	if err != nil {
		return false, pathError("ask for the lock", f.Path(), err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

// wholeFile is a write lock from the first byte on without an end.
func wholeFile() unix.Flock_t {
	return unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
}
