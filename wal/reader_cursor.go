package wal

import (
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// cursor is a segment's cursor, with the view of the segment that it is in. It holds
// no pin of its own.
type cursor struct {
	segment.Cursor
	view view
}

// enter moves the cursor to a place of a segment.
func (c *cursor) enter(v view, at frame.Place) {
	c.view = v
	c.Enter(v.mem, v.size, v.seed, at)
}

// leave moves it out of its segment, so that the next read searches for its place.
func (c *cursor) leave() {
	c.view = view{}
	c.Leave()
}

// holds reports whether the cursor stands right before the record in a mapping.
func (c *cursor) holds(v view, next LSN) bool {
	return c.view.mem != nil && c.view.mem == v.mem && c.LSN == next-1
}

// damage returns the error for a record that cannot be read at the place.
func (c *cursor) damage(dir string, lsn LSN, why error) error {
	reason := "no valid frame header"
	if errors.Is(why, segment.ErrBadPayload) {
		reason = "the payload does not match its checksum"
	}
	return newCorruptError(dir, []Damage{{
		File: c.view.name, Offset: c.Off, FirstLSN: lsn, LastLSN: lsn, Reason: reason,
	}})
}
