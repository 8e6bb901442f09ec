package recovery

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
)

// cursor reads the frames of one segment.
type cursor struct {
	frame.Chain
	window
	seg  *segment
	last int64 // offset of the frame before the place, or 0
	// progress counts bytes since the last call of Options.Progress.
	judge *judge
	told  int64
	// adopted says that the frame at hand is proved by its successor: its own
	// predecessor is lost, so that its link cannot be checked, and nothing but
	// its place, length and LSN is beyond doubt.
	adopted bool
	tried   int64 // resync goes on behind it
}

// open loads a segment and returns a cursor at the given place.
func (j *judge) open(s *segment, at frame.Place) (*cursor, error) {
	data, err := s.file.Bytes.Load()
	if err != nil {
		return nil, err
	}
	if s.Header.SegmentBytes > 0 && s.Header.SegmentBytes < int64(len(data)) {
		data = data[:s.Header.SegmentBytes]
	}
	// Frames are padded: what a truncated file ends with is room for none.
	data = data[:len(data)&^(frame.Alignment-1)]
	c := &cursor{Chain: frame.Chain{Place: at, Seed: s.Seed}, seg: s, judge: j, told: at.Off, window: window{data: data, file: s.file.Bytes, note: s.note}}
	c.Off = min(c.Off, int64(len(data)))
	c.low = c.Off &^ (touchBytes - 1)
	c.ready, c.moved, c.stop = c.low, c.tell, j.o.Stop
	return c, nil
}

// close ends the reading of the segment. It is never deferred: a load that
// faults is a panic, and whoever recovers from it looks the address up among the
// mappings.
func (c *cursor) close() {
	c.tell()
	c.seg.file.Bytes.Unload()
}

// tell reports progress.
func (c *cursor) tell() {
	if c.ready <= c.told {
		return
	}
	if p := c.judge.o.Progress; p != nil {
		p(c.ready - c.told)
	}
	c.told = c.ready
}

// next reads the frame at the cursor and checks it against the chain: all but
// the payload. It does not move the cursor. The error is one of those above,
// or that of Touch.
func (c *cursor) next() (frame.Frame, error) {
	rest := c.data[c.Off:]
	if len(rest) < frame.HeaderBytes {
		return frame.Frame{}, errEnd
	}
	if err := c.need(c.Off, c.Off+frame.HeaderBytes); err != nil {
		return frame.Frame{}, err
	}
	f, err := c.frameAt(rest)
	switch {
	case errors.Is(err, frame.ErrZero):
		return f, c.whyNot(errZeros, c.Off, c.Off+frame.HeaderBytes)
	case err != nil:
		return f, c.whyNot(errHeader, c.Off, c.Off+frame.HeaderBytes)
	}
	if c.judge.remains(f.Epoch, c.seg.file.Ordinal, c.Off) {
		return f, errRemains
	}
	return f, nil
}

// frameAt decodes the frame at the cursor, given the bytes from there on.
func (c *cursor) frameAt(rest []byte) (frame.Frame, error) {
	if !c.adopted {
		return c.Next(rest)
	}
	f, err := frame.Decode(rest, c.LSN)
	if err == nil && !c.Continues(&f) {
		err = frame.ErrInvalid
	}
	return f, err
}

// payload checks the payload of the frame at the cursor, and returns its first
// bytes, which are all that a mark says; or errPayload, or errUnreadable.
func (c *cursor) payload(f *frame.Frame) ([]byte, error) {
	p, err := c.payloadAt(f, c.Off)
	return p, c.whyNot(err, c.Off, c.Off+f.Size())
}

// payloadAt is payload of a frame at an offset, for which errPayload is all that can
// be wrong with it.
func (c *cursor) payloadAt(f *frame.Frame, off int64) ([]byte, error) {
	from := off + frame.HeaderBytes
	if f.Length <= touchBytes {
		if err := c.need(off, from+int64(f.Length)); err != nil {
			return nil, err
		}
		p, ok := f.Payload(c.data[off:])
		if !ok {
			return nil, errPayload
		}
		return p, nil
	}
	if err := c.need(from, from+frame.MarkBytes); err != nil {
		return nil, err
	}
	head := bytes.Clone(c.data[from : from+frame.MarkBytes])
	sum, end := uint32(0), from+int64(f.Length)
	for at := from; at < end; at += touchBytes {
		to := min(at+touchBytes, end)
		if err := c.need(at, to); err != nil {
			return nil, err
		}
		sum = frame.UpdateChecksum(sum, c.data[at:to])
	}
	if sum != f.PayloadCRC {
		return nil, errPayload
	}
	return head, nil
}

// records calls fn with the records of the frames between a place and end, which
// were found valid. They are decoded once more instead of being kept until their
// batch is whole: a batch may have as many records as a segment has frames.
func (c *cursor) records(at frame.Place, end int64, fn func(Record) error) error {
	for at.Off < end {
		if err := c.need(at.Off, at.Off+frame.HeaderBytes); err != nil {
			return err
		}
		f, err := frame.Decode(c.data[at.Off:end], at.LSN)
		if err != nil {
			return fmt.Errorf("wal: %s was changed while it was read, at offset %d: %w", c.seg.file.Name, at.Off, err)
		}
		if f.Kind == frame.KindRecord {
			from := at.Off + frame.HeaderBytes
			if err = c.need(at.Off, from+int64(f.Length)); err != nil {
				return err
			}
			err = fn(Record{
				LSN: f.LSN, Payload: c.data[from : from+int64(f.Length)], Segment: c.seg.index, Offset: at.Off,
				Epoch: f.Epoch, Checksum: f.PayloadCRC, First: f.First, Guessed: c.seg.guessed,
			})
			if err != nil {
				return err
			}
		}
		at.Off, at.LSN = at.Off+f.Size(), f.LSN
	}
	return nil
}

// pass moves the cursor behind the frame.
func (c *cursor) pass(f *frame.Frame) {
	c.last = c.Off
	c.Pass(f)
	c.adopted = false
}

// passed tells of the cursor's place.
func (c *cursor) passed() {
	if fn := c.judge.o.Passed; fn != nil {
		fn(Place{File: c.seg.index, Offset: c.Off, LSN: c.LSN, Link: c.Link, Epoch: c.Epoch})
	}
}

// legal reads the frame at the cursor with all that makes it part of the
// chain. open says that a batch is not complete yet.
func (c *cursor) legal(open bool) (frame.Frame, []byte, error) {
	f, err := c.next()
	if err != nil {
		return f, nil, err
	}
	if record := f.Kind == frame.KindRecord; record && f.First == open || !record && open {
		return f, nil, errBatch
	}
	p, err := c.payload(&f)
	return f, p, err
}

// Why a frame is not valid at a place of the chain.
var (
	errEnd      = errors.New("the end of the segment")
	errZeros    = errors.New("zeros where a frame should be")
	errHeader   = errors.New("no valid frame header")
	errRemains  = errors.New("frame from before a cut")
	errPayload  = errors.New("the payload does not match its checksum")
	errBatch    = errors.New("incomplete batch")
	errStamp    = errors.New("the segment's stamp does not validate")
	errNoStamp  = errors.New("the segment's stamp is zero")
	errUnlinked = errors.New("the segment does not continue the one before it")
	errHead     = errors.New("the segment's header does not validate")
)

// isVerdict reports whether err says something of the log's bytes, and not
// that they could not be read.
func isVerdict(err error) bool {
	for _, e := range []error{
		errEnd, errZeros, errHeader, errRemains, errPayload, errBatch, errStamp, errNoStamp, errUnlinked, errHead, errUnreadable,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// step returns by how much a frame's LSN follows the one before.
func step(f *frame.Frame) frame.LSN {
	if f.Kind == frame.KindRecord {
		return 1
	}
	return 0
}

// claim returns what a frame says was durable. One of an older epoch needs no look
// apart: what lies behind the cut is remains and is not asked, and what lies before
// it claims no more than its own LSN, which is the cut's at most; and the cut itself
// says that all up to that was durable.
func claim(f *frame.Frame, payload []byte) frame.LSN {
	if f.Kind == frame.KindMark {
		if payload == nil {
			return 0
		}
		return min(frame.Mark(payload), f.LSN)
	}
	w, _ := f.Watermark()
	return w
}
