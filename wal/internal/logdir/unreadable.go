package logdir

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// This file tells blocks that cannot be read from errors that end the reading. What
// recovery makes of such blocks is in unreadable.go of that package.

// IsUnreadable reports whether a read failed because the device, or the filesystem
// by a checksum of its own, cannot give the bytes: EIO at large, the block layer's errors of
// a medium, of a target and of its integrity data, the filesystems' for a bad checksum or
// structure, and that of broken memory. Any other error, of a missing permission say, says
// nothing of the bytes.
func IsUnreadable(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EIO, unix.ENODATA, unix.EILSEQ, unix.EBADMSG, unix.EUCLEAN, unix.EREMOTEIO, unix.EHWPOISON,
	}, func(e error) bool { return errors.Is(err, e) })
}

// Readable returns nil for a *recovery.UnreadableError: the rest was read, and
// what was not is zeros.
func Readable(err error) error {
	var u *recovery.UnreadableError
	if errors.As(err, &u) {
		return nil
	}
	return err
}

// EachPage calls fn with each page of [from, to), and returns those for which it
// says that they cannot be read. Any other error of fn ends it. It costs a call for each
// page, so it comes only after one for all of them has failed.
func EachPage(from, to int64, fn func(from, to int64) error) error {
	var u recovery.UnreadableError
	for from < to {
		end := min((from/int64(pageSize)+1)*int64(pageSize), to)
		switch err := fn(from, end); {
		case err == nil:
		case IsUnreadable(err):
			if u.Err == nil {
				u.Err = cause(err)
			}
			u.Spans = append(u.Spans, recovery.Span{From: from, To: end})
		default:
			return err
		}
		from = end
	}
	if u.Err == nil {
		return nil
	}
	u.Spans = recovery.JoinSpans(u.Spans)
	return &u
}

// cause returns the kernel's word for an error.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// ReadPages reads all of p by read, and page by page where that cannot be done:
// what cannot be read is zeros, and told by a *recovery.UnreadableError.
func ReadPages(p []byte, off int64, read func(p []byte, off int64) error) error {
	err := read(p, off)
	if !IsUnreadable(err) {
		return err
	}
	return EachPage(off, off+int64(len(p)), func(from, to int64) error {
		q := p[from-off : to-off]
		err := read(q, from)
		if err != nil {
			clear(q)
		}
		return err
	})
}

// Populate makes bytes [from, to) of a mapping of a file's first size bytes
// readable. Pages that cannot be read become zeros, and are told by a
// *recovery.UnreadableError. Where the file has become shorter, that is a fault.
//
// A page that the device cannot give and one that was truncated away fault alike, so the
// file's size is asked in between: what somebody has truncated must not pass for zeros. The
// zeros are in this mapping only (Blank), in front of the page that cannot be had.
func Populate(mem *durability.Mapping, size, from, to int64) error {
	err := mem.PopulateRead(from, to-from)
	fault := (*durability.FaultError)(nil)
	if !errors.As(err, &fault) && !IsUnreadable(err) {
		return err
	}
	if now, serr := mem.File().Size(); serr != nil || now < size {
		return err
	}
	return EachPage(from, to, func(from, to int64) error {
		err := mem.PopulateRead(from, to-from)
		if errors.As(err, &fault) {
			err = unix.EIO // what a read of it would say
		}
		if IsUnreadable(err) {
			err = errors.Join(err, mem.Blank(from, to-from))
		}
		return err
	})
}
