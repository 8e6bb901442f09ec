package wal

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// A forced repair goes on where the device cannot give some bytes: they count as zeros, so
// that the records around them can be kept or saved. This file takes note of them for one
// diskFile: readAt tells it of each failure and blanks the bytes, recovery gets an error
// together with the zeros (badIn), and at the end rewrite makes them zeros on the device too.

// hits reports whether a byte of [from, to) is one that cannot be read. Such bytes of page
// cache and device are not compared: there is nothing to compare.
func (d *diskFile) hits(from, to int64) bool {
	return slices.ContainsFunc(d.bad, func(s recovery.Span) bool { return s.From < to && from < s.To })
}

// noteBad notes what cannot be read, and returns err. It is never forgotten: a block that
// fails once and can be read the next time would otherwise be zeros in one part of the
// recovery and records in another.
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
// or nil. It is a *recovery.UnreadableError, which recovery reports as damage and does
// not stop at.
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

// rewrite writes zeros where the file cannot be read, durably. That makes a device
// map the sectors to others, and a filesystem store a new checksum, so that they can
// be read again.
func (d *diskFile) rewrite() error {
	if len(d.bad) == 0 {
		return nil
	}
	f, err := d.held.Use()
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
