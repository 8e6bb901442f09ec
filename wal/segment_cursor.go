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
	view   view
	at     place
	link   int64 // where at.link lies
	ready  int64 // bytes of the segment that were brought in
	window int64 // how many are at once
	head   frame.Buffer
	frame  frame.Frame
	notes  func(place) // is told the places that are passed, or nil
}

// enter moves the cursor to a place of a segment.
func (c *cursor) enter(v view, at place) {
	if c.view.mem != v.mem {
		c.ready = 0
	}
	c.view, c.at, c.link = v, at, 0
}

// holds reports whether the cursor stands right before the record in a mapping.
func (c *cursor) holds(v view, next LSN) bool {
	return c.view.mem != nil && c.view.mem == v.mem && c.at.lsn == next-1
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
	if c.at.off+frame.HeaderBytes > c.view.size {
		return errNoFrame
	}
	if err := c.bringIn(c.at.off + frame.HeaderBytes); err != nil {
		return err
	}
	p := c.view.mem.Bytes()[c.at.off:c.view.size]
	f, err := frame.Decode(p, c.at.lsn)
	if err != nil || f.LSN-c.at.lsn > 1 || f.Epoch < c.at.epoch ||
		!c.head.Linked(p, &f, c.view.seed, c.at.link, c.at.off) {
		return errNoFrame
	}
	c.frame = f
	return nil
}

// pass moves behind the frame whose header was read.
func (c *cursor) pass() {
	c.link = c.at.off + frameLinkOffset
	c.at.off += c.frame.Size()
	c.at.lsn, c.at.link, c.at.epoch = c.frame.LSN, c.frame.Link, c.frame.Epoch
	if c.notes != nil {
		c.notes(c.at)
	}
}

// copyOut copies the payload of the frame at the place into buf and moves
// behind it. The copy is what is checked: the bytes below may change.
func (c *cursor) copyOut(buf []byte) ([]byte, error) {
	from := c.at.off + frame.HeaderBytes
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
	from := c.at.off + frame.HeaderBytes
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
	from := max(c.ready, c.at.off) &^ int64(pageSize-1)
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
		File: c.view.name, Offset: c.at.off, FirstLSN: lsn, LastLSN: lsn, Reason: reason,
	}})
}

// isBad reports whether an error says that the bytes are not a frame's.
func isBad(err error) bool { return errors.Is(err, errNoFrame) || errors.Is(err, errBadPayload) }
