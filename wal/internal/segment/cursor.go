package segment

import (
	"errors"
	"os"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// PopulateBytes is how much of a segment is brought into memory at once before
// it is read: a load that faults holds up the garbage collector, a system call
// does not (kernel fact 7).
const PopulateBytes = 256 << 10

// pageBytes is the size of a VM page: 4, 16 or 64 KiB, by machine.
var pageBytes = int64(os.Getpagesize())

var (
	// ErrNoFrame says that no frame follows the place in its segment.
	ErrNoFrame = errors.New("wal: no valid frame header")
	// ErrBadPayload says that a record is not what its header says.
	ErrBadPayload = errors.New("wal: the payload does not match its checksum")
)

// Cursor follows the chain of frames through a segment that is mapped. A reader has one for
// the record that is next, in the writer's process or in another; a sync reads back by one
// what it covered, and a cut at the back finds its place by one. Its callers begin at a place
// that they know, from an index, a stamp or the record before. Where a frame is not valid it
// stops, and the caller decides what that means: a cut at the same time, the log's end, or
// damage.
//
// Package recovery has a cursor of its own. That one reads files that may be damaged
// anywhere, and knows of cuts and batches; a change to the rules of a frame belongs in
// package frame, which both use.
//
// Seek comes first: it reads the header of the frame at the place, which Copy and Lend rely
// on. Either of these moves behind that frame, so that the Seek of the next record has to
// read little more than one header. After an error the place is in front of the frame that
// the error is about.
type Cursor struct {
	frame.Chain
	LinkOff int64             // where the place's link lies; 0 before a frame was passed
	Window  int64             // bytes that are brought into memory at once
	Passed  func(frame.Place) // called with each place that is passed, or nil

	mem   *durability.Mapping // the caller keeps it mapped, and unmaps it; nil after Leave
	size  int64               // of the segment
	ready int64               // up to here it is not brought in again
	frame frame.Frame         // at the place, once header has read it
}

// Enter moves the cursor to a place of a segment of so many bytes. The seed is that of the
// segment's header as the caller first read it, so that frames of a later life of the same
// file, whose salt is another one, do not validate.
func (c *Cursor) Enter(mem *durability.Mapping, size int64, seed frame.Seed, at frame.Place) {
	if c.mem != mem {
		c.ready = 0
	}
	c.mem, c.size, c.Seed, c.Place, c.LinkOff = mem, size, seed, at, 0
}

// InMemory says that the segment's bytes up to an offset are in memory, and are not to be brought
// in.
func (c *Cursor) InMemory(to int64) { c.ready = max(c.ready, to) }

// Leave moves the cursor out of its segment, which may then be unmapped.
func (c *Cursor) Leave() { c.mem, c.size, c.ready = nil, 0, 0 }

// Seek passes frames until the one at the place is the record with that LSN. It
// returns ErrNoFrame where the segment has none, and a *durability.FaultError. It reads
// headers only, and steps over the payloads: the time that it takes goes by the number of
// frames between the place and the record.
func (c *Cursor) Seek(lsn frame.LSN) error {
	return durability.Guard(func() error {
		for {
			if err := c.header(); err != nil {
				return err
			}
			if c.frame.Kind == frame.KindRecord && c.frame.LSN == lsn {
				return nil
			}
			c.skip()
		}
	})
}

// header reads the frame header at the place and checks it against the chain. Every
// header that does not fit is ErrNoFrame: the log may simply end here.
func (c *Cursor) header() error {
	if c.Off+frame.HeaderBytes > c.size {
		return ErrNoFrame
	}
	if err := c.bringIn(c.Off + frame.HeaderBytes); err != nil {
		return err
	}
	if c.Next(c.mem.Bytes()[c.Off:c.size], &c.frame) != nil {
		return ErrNoFrame
	}
	return nil
}

// skip moves behind the frame whose header was read.
func (c *Cursor) skip() {
	c.LinkOff = c.Off + frame.LinkOffset
	c.Pass(&c.frame)
	if c.Passed != nil {
		c.Passed(c.Place)
	}
}

// Copy copies the payload of the frame at the place into buf and moves
// behind it. The copy is checked against the checksum, and not the mapped bytes, since
// a cut may change these between the check and the copy.
func (c *Cursor) Copy(buf []byte) ([]byte, error) {
	from := c.Off + frame.HeaderBytes
	n := int64(c.frame.Length)
	if buf == nil {
		buf = make([]byte, 0, n) // an empty record is not nil
	}
	err := durability.Guard(func() error {
		if err := c.bringIn(from + n); err != nil {
			return err
		}
		buf = append(buf[:0], c.mem.Bytes()[from:from+n]...)
		return nil
	})
	if err == nil && frame.Checksum(buf) != c.frame.PayloadCRC {
		err = ErrBadPayload
	}
	if err == nil {
		c.skip()
	}
	return buf, err
}

// Lend returns the payload of the frame at the place where it lies, and moves
// behind it. The caller makes sure that no cut changes these bytes as long as they are
// used.
func (c *Cursor) Lend() ([]byte, error) {
	from := c.Off + frame.HeaderBytes
	n := int64(c.frame.Length)
	var p []byte
	err := durability.Guard(func() error {
		if err := c.bringIn(from + n); err != nil {
			return err
		}
		// The capacity ends with the record, so that an append to the slice copies it
		// and does not store into the next frame.
		p = c.mem.Bytes()[from : from+n : from+n]
		if frame.Checksum(p) != c.frame.PayloadCRC {
			return ErrBadPayload
		}
		return nil
	})
	if err == nil {
		c.skip()
	}
	return p, err
}

// Verify checks all frames up to an offset, headers against the chain and payloads
// against their checksums, and leaves the cursor at the first that is not what was
// stored. Marks are checked like records. It reads the mapping, which shows what another
// process has done to the file since the bytes were stored.
func (c *Cursor) Verify(to int64) error {
	return durability.Guard(func() error {
		for c.Off < to {
			if err := c.header(); err != nil {
				return err
			}
			from := c.Off + frame.HeaderBytes
			end := from + int64(c.frame.Length)
			if err := c.bringIn(end); err != nil {
				return err
			}
			if frame.Checksum(c.mem.Bytes()[from:end]) != c.frame.PayloadCRC {
				return ErrBadPayload
			}
			c.skip()
		}
		return nil
	})
}

// bringIn makes the segment's bytes up to end resident, and at least Window bytes at
// once: small frames would otherwise cost a system call each. What was brought in may be
// evicted again; then the load faults, which is slower, but no error.
func (c *Cursor) bringIn(end int64) error {
	if end <= c.ready {
		return nil
	}
	from := max(c.ready, c.Off) &^ (pageBytes - 1)
	end = min(max(end, from+c.Window), c.size)
	if err := c.mem.PopulateRead(from, end-from); err != nil {
		return err
	}
	c.ready = end
	return nil
}

// IsBad reports whether an error says that the bytes are not a frame's.
func IsBad(err error) bool { return errors.Is(err, ErrNoFrame) || errors.Is(err, ErrBadPayload) }
