package wal

import (
	"errors"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// populateBytes is how much of a segment is brought into memory at once before
// it is read: a load that faults holds up the garbage collector, a system call
// does not (kernel fact 7).
const populateBytes = 256 << 10

var (
	// errNoFrame says that no frame follows the place in its segment.
	errNoFrame = errors.New("wal: no valid frame header")
	// errBadPayload says that a record is not what its header says.
	errBadPayload = errors.New("wal: the payload does not match its checksum")
)

// cursor follows the chain of frames through one segment.
type cursor struct {
	frame.Chain
	view    view
	linkOff int64 // where the place's link lies
	ready   int64 // bytes of the segment that were brought in
	window  int64 // how many are at once
	frame   frame.Frame
	notes   func(frame.Place) // is told the places that are passed, or nil
}

// enter moves the cursor to a place of a segment.
func (c *cursor) enter(v view, at frame.Place) {
	if c.view.mem != v.mem {
		c.ready = 0
	}
	c.view, c.Place, c.Seed, c.linkOff = v, at, v.seed, 0
}

// holds reports whether the cursor stands right before the record in a mapping.
func (c *cursor) holds(v view, next LSN) bool {
	return c.view.mem != nil && c.view.mem == v.mem && c.LSN == next-1
}

// seek passes frames until the one at the place is the record with that LSN. It
// returns errNoFrame where the segment has none, and a *durability.FaultError.
func (c *cursor) seek(lsn LSN) error {
	return durability.Guard(func() error {
		for {
			if err := c.header(); err != nil {
				return err
			}
			if c.frame.Kind == frame.KindRecord && c.frame.LSN == lsn {
				return nil
			}
			c.pass()
		}
	})
}

// header reads the frame header at the place and checks it against the chain.
func (c *cursor) header() error {
	if c.Off+frame.HeaderBytes > c.view.size {
		return errNoFrame
	}
	if err := c.bringIn(c.Off + frame.HeaderBytes); err != nil {
		return err
	}
	p := c.view.mem.Bytes()[c.Off:c.view.size]
	var err error
	if c.frame, err = c.Next(p); err != nil {
		return errNoFrame
	}
	return nil
}

// pass moves behind the frame whose header was read.
func (c *cursor) pass() {
	c.linkOff = c.Off + frameLinkOffset
	c.Pass(&c.frame)
	if c.notes != nil {
		c.notes(c.Place)
	}
}

// copyOut copies the payload of the frame at the place into buf and moves
// behind it. The copy is what is checked: the bytes below may change.
func (c *cursor) copyOut(buf []byte) ([]byte, error) {
	from := c.Off + frame.HeaderBytes
	n := int64(c.frame.Length)
	if buf == nil {
		buf = make([]byte, 0, n) // an empty record is not nil
	}
	err := durability.Guard(func() error {
		if err := c.bringIn(from + n); err != nil {
			return err
		}
		buf = append(buf[:0], c.view.mem.Bytes()[from:from+n]...)
		return nil
	})
	if err == nil && frame.Checksum(buf) != c.frame.PayloadCRC {
		err = errBadPayload
	}
	if err == nil {
		c.pass()
	}
	return buf, err
}

// lend returns the payload of the frame at the place where it lies, and moves
// behind it.
func (c *cursor) lend() ([]byte, error) {
	from := c.Off + frame.HeaderBytes
	n := int64(c.frame.Length)
	var p []byte
	err := durability.Guard(func() error {
		if err := c.bringIn(from + n); err != nil {
			return err
		}
		// What lies behind it is none of the reader's business.
		p = c.view.mem.Bytes()[from : from+n : from+n]
		if frame.Checksum(p) != c.frame.PayloadCRC {
			return errBadPayload
		}
		return nil
	})
	if err == nil {
		c.pass()
	}
	return p, err
}

// bringIn makes the segment's bytes up to end resident.
func (c *cursor) bringIn(end int64) error {
	if end <= c.ready {
		return nil
	}
	from := max(c.ready, c.Off) &^ int64(pageSize-1)
	end = min(max(end, from+c.window), c.view.size)
	if err := c.view.mem.PopulateRead(from, end-from); err != nil {
		return err
	}
	c.ready = end
	return nil
}

// damage returns the error for a record that cannot be read at the place.
func (c *cursor) damage(dir string, lsn LSN, why error) error {
	reason := "no valid frame header"
	if errors.Is(why, errBadPayload) {
		reason = "the payload does not match its checksum"
	}
	return newCorruptError(dir, []Damage{{
		File: c.view.name, Offset: c.Off, FirstLSN: lsn, LastLSN: lsn, Reason: reason,
	}})
}

// isBad reports whether an error says that the bytes are not a frame's.
func isBad(err error) bool { return errors.Is(err, errNoFrame) || errors.Is(err, errBadPayload) }
