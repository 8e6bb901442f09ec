package wal

import (
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// cursor is a segment's cursor, with the view of the segment that it is in. It holds
// no pin of its own.
//
// The walk along the frames, and the check of each, are segment.Cursor's. What is added here
// is which segment the place is in: that names the file where a record is damaged, and leads
// a Log's Reader to the segment behind it. Who keeps the mapping in place differs: Log.position
// pins it for the time of one read, a LogReader holds its segment from record to record
// (outsidePlace.seg). So between two reads the view of a Log's Reader may be one of a mapping
// that is gone: its ref has to be pinned before its mem is touched.
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

// holds reports whether the cursor stands right before the record in a mapping. The
// mapping is compared too: offset and link of the place mean nothing in another one.
func (c *cursor) holds(v view, next LSN) bool {
	return c.view.mem != nil && c.view.mem == v.mem && c.LSN == next-1
}

// damage returns the error for a record that cannot be read at the place. A cursor never
// moves behind a frame that fails a check, so it still stands where that begins.
func (c *cursor) damage(dir string, lsn LSN, why error) error {
	reason := "no valid frame header"
	if errors.Is(why, segment.ErrBadPayload) {
		reason = "the payload does not match its checksum"
	}
	return newCorruptError(dir, []Damage{{
		File: c.view.name, Offset: c.Off, FirstLSN: lsn, LastLSN: lsn, Reason: reason,
	}})
}
