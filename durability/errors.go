package durability

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoSpace says that the filesystem has no space, or the user no quota, for
	// what was asked. The error wraps the kernel's (ENOSPC or EDQUOT) too. Free
	// some space, then try again: nothing else is wrong.
	ErrNoSpace = errors.New("durability: no space left for it: free some, then try again")

	// ErrLocked says that another open file description holds the lock, in this
	// process or in another. Use the file read-only, or stop its other user.
	ErrLocked = errors.New("durability: locked by another user")

	// ErrFailed says that an earlier sync of the same open file failed, so this
	// one was not tried. The kernel reports a failed writeback once, marks the
	// pages clean, and lets the next sync succeed for data that the device never
	// got (Rebello et al., "Can Applications Recover from fsync Failures?",
	// USENIX ATC 2020). The error wraps the first failure too. What was not
	// acknowledged before it is to be taken for lost: close the file, open it
	// afresh and read what the device holds (File.ReadDirect).
	ErrFailed = errors.New("durability: an earlier sync failed, what was written since the last good one may be lost")

	// ErrClosed says that the File, Dir or Mapping is closed. It matches
	// fs.ErrClosed too.
	ErrClosed = fmt.Errorf("durability: used after close: %w", fs.ErrClosed)

	// ErrReadOnly says that the mapping was made without write access: map the
	// file with writable set.
	ErrReadOnly = errors.New("durability: the mapping is read-only")

	// ErrRange says that an offset and length lie outside of the mapping, or that
	// an offset is not aligned as the method asks: the caller's arithmetic is
	// wrong, and nothing was touched.
	ErrRange = errors.New("durability: outside of the mapping")

	// ErrOverwritten says that the bytes before the place of a StoreBehind are not what was
	// stored there: somebody has overwritten the file, or truncated and extended it again.
	ErrOverwritten = errors.New("durability: what was stored before is not there any more")

	// ErrNotRegular says that a name leads to something else than a regular file:
	// a directory, a symbolic link, a device, a fifo. It is not opened.
	ErrNotRegular = errors.New("durability: not a regular file")
)

// FaultError is a load or a store that the kernel could not serve: it raised
// SIGBUS or SIGSEGV for an address inside a known Mapping, or a system call that
// was handed mapped bytes returned EFAULT. The usual causes: the file was
// truncated by someone else; a store into a hole found the filesystem full;
// reading the page from the device failed (mmap(2), SIGBUS). A store that
// faulted may have stored a part of its bytes.
type FaultError struct {
	File   string // path of the mapped file when it faulted; Mapping.Faulted tells whose it was
	Offset int64  // offset in the file of the byte that faulted, as the processor told it
	Op     string // "store", "load", "checksum", "read", ...; "access" inside Guard

	mapping *Mapping
}

// Error says what was touched, where, and the usual causes.
func (e *FaultError) Error() string {
	return fmt.Sprintf("durability: fault: %s at offset %d of %s: "+
		"the file was truncated or its disk is full or unreadable", e.Op, e.Offset, e.File)
}

// SyncError is a sync that failed: what was stored or written since the last
// one that succeeded may be lost, whatever a later sync says. It is final for
// the open file: later syncs return ErrFailed without asking the kernel.
type SyncError struct {
	Op   string // "msync", "fdatasync", "fsync", "fsync directory"
	Path string // path of the file or directory
	Err  error  // the kernel's answer, or ErrFailed with the first failure
}

// Error says what was to be synced and why it was not.
func (e *SyncError) Error() string {
	return fmt.Sprintf("durability: %s %s: %v", e.Op, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *SyncError) Unwrap() error { return e.Err }

// ChangedError says that another process changed the file: what was stored may be
// lost although every store and every sync of it succeeded (truncated pages
// take stores without a signal, and msync returns 0). Acknowledge nothing.
type ChangedError struct {
	File string // path of the file, as it was opened or last renamed
	What string // what is not as it was
}

// Error says what changed.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("durability: %s was changed by someone else: %s", e.File, e.What)
}

// What to do about too many open files.
var (
	errProcessLimit = errors.New("raise the limit of the process (ulimit -n)")
	errSystemLimit  = errors.New("raise the limit of the system (sysctl fs.file-max)")
)

// classify adds the sentinel that belongs to the kernel's answer, or what to do
// about it where its own words do not say that.
func classify(err error) error {
	if errors.Is(err, ErrNoSpace) || errors.Is(err, errProcessLimit) || errors.Is(err, errSystemLimit) {
		return err
	}
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("%w: %w", err, errProcessLimit)
	}
	if errors.Is(err, unix.ENFILE) {
		return fmt.Errorf("%w: %w", err, errSystemLimit)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// isFault reports whether the error is a fault in a mapping.
func isFault(err error) bool {
	f := (*FaultError)(nil)
	return errors.As(err, &f)
}

// pathError says what failed on which file. A fault names its file itself.
func pathError(op, path string, err error) error {
	if err == nil || isFault(err) {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: classify(err)}
}

// rangeError is pathError with the place in the file.
func rangeError(op, path string, off, n int64, err error) error {
	if err == nil || isFault(err) {
		return err
	}
	return pathError(op, path, fmt.Errorf("%d bytes at offset %d: %w", n, off, classify(err)))
}
