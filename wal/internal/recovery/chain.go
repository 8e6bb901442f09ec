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

// step returns by how much a frame's LSN follows the one before.
func step(f *frame.Frame) frame.LSN {
	if f.Kind == frame.KindRecord {
		return 1
	}
	return 0
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

// chain is the legal prefix as one pass found it.
type chain struct {
	start     int // into judge.log
	end       int // the segment with the tail, into judge.log; -1 where there is none
	tail      frame.Place
	last      int64 // offset of the frame before the tail in its segment, or 0
	records   uint64
	watermark frame.LSN // highest claim in it
	reason    error     // why it ends in the tail's segment
	// openBatch says that the chain goes on behind the tail with a batch that
	// does not end.
	openBatch bool
}

// walk follows the chain from the segment at index start of the log. It
// records per segment what it found in infos.
func (j *judge) walk(start int) error {
	j.chain = chain{start: start, end: -1}
	at := frame.Place{LSN: j.front - 1}
	if len(j.log) == 0 {
		j.chain.tail = at
		return nil
	}
	if s := j.log[start]; s.stamped {
		at = frame.Place{LSN: s.Stamp.First - 1, Epoch: s.Stamp.Epoch, Link: s.Stamp.Previous}
	}
	j.chain.tail = at
	for i := start; i < len(j.log); i++ {
		s := j.log[i]
		if reason := j.enter(i, start, at); reason != nil {
			if i == start {
				j.chain.end = i
				j.chain.reason = reason
				j.chain.tail = frame.Place{Off: frame.DataOffset, Link: s.Link, LSN: at.LSN, Epoch: at.Epoch}
			}
			return nil
		}
		next, err := j.walked(i)
		if err != nil {
			return err
		}
		if j.chain.openBatch {
			return nil
		}
		at = next
	}
	return nil
}

// enter says why the chain does not go on from the given place into segment i,
// or nil.
func (j *judge) enter(i, start int, at frame.Place) error {
	s := j.log[i]
	switch {
	case s.headerErr != "":
		return errHead
	case s.StampErr != nil:
		return s.stampReason()
	case i == start:
		return nil
	case s.file.Ordinal != j.log[i-1].file.Ordinal+1 ||
		s.Stamp.Previous != at.Link || s.Stamp.First != at.LSN+1 || s.Stamp.Epoch < at.Epoch:
		return errUnlinked
	}
	return nil
}

// walkSegment follows the chain through segment i and returns where it ends in
// it. The chain's tail moves behind each complete batch.
func (j *judge) walkSegment(i int) (frame.Place, error) {
	s := j.log[i]
	c, err := j.open(s, frame.Start(&s.Stamp, s.Link))
	if err != nil {
		return frame.Place{}, err
	}
	end, err := j.walkFrom(c, i)
	c.close()
	return end, err
}

// walkFrom is walkSegment from a cursor at the segment's start.
func (j *judge) walkFrom(c *cursor, i int) (frame.Place, error) {
	s := c.seg
	ch := &j.chain
	ch.end, ch.tail, ch.last = i, c.Place, 0
	info := &j.infos[s.index]
	info.First, info.Last, info.Used = s.Stamp.First, c.LSN, c.Off
	begin, open := c.Place, false // of the batch at hand
	c.passed()
	for {
		f, p, err := c.legal(open)
		switch {
		case err != nil && !isVerdict(err):
			return frame.Place{}, err
		case err != nil && open && j.endedByCut(c, &f, err, i):
			if err = j.complete(c, begin); err != nil {
				return frame.Place{}, err
			}
			begin, open = c.Place, false
			continue
		case err != nil:
			ch.reason, ch.openBatch = err, open
			s.seen = max(s.seen, c.Off)
			return c.Place, nil
		}
		ch.watermark = max(ch.watermark, claim(&f, p))
		if f.Kind == frame.KindRecord {
			open = !f.Last
		}
		c.pass(&f)
		c.passed()
		if open {
			continue
		}
		if err := j.complete(c, begin); err != nil {
			return frame.Place{}, err
		}
		begin = c.Place
	}
}

// complete moves the chain's tail behind a batch that is whole, and hands out its
// records.
func (j *judge) complete(c *cursor, begin frame.Place) error {
	if j.o.Visit != nil {
		err := c.records(begin, c.Off, func(r Record) error {
			if r.LSN < j.front {
				return nil
			}
			return j.o.Visit(r)
		})
		if err != nil {
			return err
		}
	}
	info := &j.infos[c.seg.index]
	n := uint64(0) // those that are not before the front
	if from := max(begin.LSN+1, j.front); from <= c.LSN {
		n = uint64(c.LSN - from + 1)
	}
	j.chain.records += n
	info.Records += n
	j.chain.tail, j.chain.last = c.Place, c.last
	info.Last, info.Used = c.LSN, c.Off
	return nil
}

// endedByCut reports whether a batch that does not go on at the cursor, in
// segment i of the log, is whole all the same: a cut of the log's back left so
// much of it. The cut that rules says so itself. Of an earlier one it is seen by
// what was appended behind it, a frame or a segment of a greater epoch: the
// frames of one batch have one epoch, and a batch that a crash tore is trimmed
// whole before anything is appended. f and why are what legal returned.
func (j *judge) endedByCut(c *cursor, f *frame.Frame, why error, i int) bool {
	cut := &j.cut
	if j.epoch > 1 && cut.Ordinal == c.seg.file.Ordinal && cut.Offset == uint64(c.Off) && cut.LSN == c.LSN {
		return true
	}
	if errors.Is(why, errBatch) {
		return f.Epoch > c.Epoch
	}
	next := i + 1
	return next < len(j.log) && j.enter(next, j.chain.start, c.Place) == nil && j.log[next].Stamp.Epoch > c.Epoch
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
