package wal

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// isUnreadable reports whether a read failed because the device, or the filesystem
// by a checksum of its own, cannot give the bytes.
func isUnreadable(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EIO, unix.ENODATA, unix.EILSEQ, unix.EBADMSG, unix.EUCLEAN, unix.EREMOTEIO, unix.EHWPOISON,
	}, func(e error) bool { return errors.Is(err, e) })
}

// readable returns nil for a *recovery.UnreadableError: the rest was read, and
// what was not is zeros.
func readable(err error) error {
	var u *recovery.UnreadableError
	if errors.As(err, &u) {
		return nil
	}
	return err
}

// eachPage calls fn with each page of [from, to), and returns those for which it
// says that they cannot be read.
func eachPage(from, to int64, fn func(from, to int64) error) error {
	var u recovery.UnreadableError
	for from < to {
		end := min((from/int64(pageSize)+1)*int64(pageSize), to)
		switch err := fn(from, end); {
		case err == nil:
		case isUnreadable(err):
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

// readPages reads all of p by read, and page by page where that cannot be done:
// what cannot be read is zeros, and told by a *recovery.UnreadableError.
func readPages(p []byte, off int64, read func(p []byte, off int64) error) error {
	err := read(p, off)
	if !isUnreadable(err) {
		return err
	}
	return eachPage(off, off+int64(len(p)), func(from, to int64) error {
		q := p[from-off : to-off]
		err := read(q, from)
		if err != nil {
			clear(q)
		}
		return err
	})
}

// populate makes bytes [from, to) of a mapping of a file's first size bytes
// readable. Pages that cannot be read become zeros, and are told by a
// *recovery.UnreadableError. Where the file has become shorter, that is a fault.
func populate(mem *durability.Mapping, size, from, to int64) error {
	err := mem.PopulateRead(from, to-from)
	fault := (*durability.FaultError)(nil)
	if !errors.As(err, &fault) && !isUnreadable(err) {
		return err
	}
	if now, serr := mem.File().Size(); serr != nil || now < size {
		return err
	}
	return eachPage(from, to, func(from, to int64) error {
		err := mem.PopulateRead(from, to-from)
		if errors.As(err, &fault) {
			err = unix.EIO // what a read of it would say
		}
		if isUnreadable(err) {
			err = errors.Join(err, mem.Blank(from, to-from))
		}
		return err
	})
}

// hits reports whether a byte of [from, to) is one that cannot be read.
func (d *diskFile) hits(from, to int64) bool {
	return slices.ContainsFunc(d.bad, func(s recovery.Span) bool { return s.From < to && from < s.To })
}

// noteBad notes what cannot be read, and returns err.
func (d *diskFile) noteBad(err error) error {
	var u *recovery.UnreadableError
	if errors.As(err, &u) {
		d.bad, d.why = recovery.JoinSpans(append(d.bad, u.Spans...)), u.Err
	}
	return err
}

// blank puts zeros in place of what cannot be read in p, the bytes at an offset.
func (d *diskFile) blank(p []byte, off int64) {
	for _, s := range d.bad {
		from, to := max(s.From, off), min(s.To, off+int64(len(p)))
		if from < to {
			clear(p[from-off : to-off])
		}
	}
}

// badIn returns an error that tells which of the bytes [from, to) cannot be read,
// or nil.
func (d *diskFile) badIn(from, to int64) error {
	u := recovery.UnreadableError{Err: d.why}
	for _, s := range d.bad {
		if s.From < to && from < s.To {
			u.Spans = append(u.Spans, s)
		}
	}
	if len(u.Spans) == 0 {
		return nil
	}
	return &u
}

// rewrite writes zeros where the file cannot be read, durably: a device then gives
// the place other room, a filesystem another checksum.
func (d *diskFile) rewrite() error {
	if len(d.bad) == 0 {
		return nil
	}
	f, err := d.held.use()
	if err != nil {
		return err
	}
	for _, s := range d.bad {
		for from := s.From; from < s.To; from += saveChunk {
			if _, err := f.WriteAt(make([]byte, min(saveChunk, s.To-from)), from); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}
