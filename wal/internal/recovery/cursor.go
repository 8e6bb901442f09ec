package recovery

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// cursor reads the frames of one segment: to follow the chain (chain.go), to scan what is
// behind the tail (tailscan.go), and to find a seed (salvage.go). It checks what makes a
// frame valid, by the rules that package frame numbers and those of cuts and batches, and
// says by one of the errors below which of them is broken. What that means for the log it
// leaves to its callers: the same error ends a torn log and a damaged one.
//
// The chain's place is that of the frame to be read next. Only one cursor is open at a
// time, since only one file may be loaded.
type cursor struct {
	frame.Chain
	window
	seg      *segment
	last     int64 // offset of the frame before the place, or 0
	analysis *analysis
	reported int64 // up to where Options.Progress knows of the bytes read
	// adopted says that only its successor's link proves the frame at the cursor:
	// its predecessor is lost, so that its own link cannot be checked. Its place,
	// length and LSN are certain, the rest of its header is not.
	adopted bool
	tried   int64 // resync goes on behind it
}

// open loads a segment and returns a cursor at the given place. What a file holds behind
// the segment's end, by its header, is never read: it is not the log's. A file that is
// shorter than its segment is read up to its end.
func (a *analysis) open(s *segment, at frame.Place) (*cursor, error) {
	data, err := s.file.Bytes.Load()
	if err != nil {
		return nil, err
	}
	if s.Header.SegmentBytes > 0 && s.Header.SegmentBytes < int64(len(data)) {
		data = data[:s.Header.SegmentBytes]
	}
	// Frames are padded: behind the last multiple none can lie.
	data = data[:len(data)&^(frame.Alignment-1)]
	c := &cursor{Chain: frame.Chain{Place: at, Seed: s.Seed}, seg: s, analysis: a, reported: at.Off, window: window{data: data, file: s.file.Bytes, note: s.note}}
	c.Off = min(c.Off, int64(len(data)))
	c.low = c.Off &^ (touchBytes - 1)
	c.ready, c.moved, c.stop = c.low, c.reportProgress, a.o.Stop
	return c, nil
}

// close ends the reading of the segment. It is never deferred: a load that
// faults panics, and durability.Guard, which recovers from that, looks the address up
// among the mappings, so the mapping must still be there.
func (c *cursor) close() {
	c.reportProgress()
	c.seg.file.Bytes.Unload()
}

// reportProgress tells Options.Progress how many bytes were read since it was last told. What
// this cursor goes back to counts once.
func (c *cursor) reportProgress() {
	if c.ready <= c.reported {
		return
	}
	if p := c.analysis.o.Progress; p != nil {
		p(c.ready - c.reported)
	}
	c.reported = c.ready
}

// next reads the frame at the cursor and checks it against the chain: all but
// the payload. It does not move the cursor. The error is one of those below,
// or that of Touch. Whether the frame lies behind a cut is asked last, since that goes by
// its epoch, which says something only once the link is found good.
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
	case errors.Is(err, frame.ErrZero): // also where a block that cannot be read gave zeros
		return f, c.orUnreadable(errZeros, c.Off, c.Off+frame.HeaderBytes)
	case err != nil:
		return f, c.orUnreadable(errHeader, c.Off, c.Off+frame.HeaderBytes)
	}
	if c.analysis.remains(f.Epoch, c.seg.file.Ordinal, c.Off) {
		return f, errRemains
	}
	return f, nil
}

// frameAt decodes the frame at the cursor, given the bytes from there on. The link of an
// adopted frame cannot be checked, since its predecessor is lost; that its LSN and epoch
// may follow the cursor's place is.
func (c *cursor) frameAt(rest []byte) (f frame.Frame, err error) {
	wrong := c.analysis.o.Wrong
	if !c.adopted && !wrong.Has(seam.LinkUnchecked|seam.StaleAccepted) {
		err = c.Next(rest, &f)
		return f, err
	}
	f, err = frame.Decode(rest, c.LSN)
	if wrong.Has(seam.StaleAccepted) && err == nil && f.Kind == frame.KindRecord {
		f.LSN, f.Epoch = c.LSN+1, max(f.Epoch, c.Epoch)
	}
	if err == nil && !c.Continues(&f) {
		err = frame.ErrInvalid
	}
	return f, err
}

// payload checks the payload of the frame at the cursor, and returns its first
// bytes, which is where a watermark frame has the watermark; or errPayload, or
// errUnreadable.
func (c *cursor) payload(f *frame.Frame) ([]byte, error) {
	p, err := c.payloadAt(f, c.Off)
	return p, c.orUnreadable(err, c.Off, c.Off+f.Size())
}

// payloadAt is payload of a frame at an offset, for which errPayload is all that can
// be wrong with it. A large payload is summed in pieces, so that the window that has to
// be readable at once does not grow with the record.
func (c *cursor) payloadAt(f *frame.Frame, off int64) ([]byte, error) {
	from := off + frame.HeaderBytes
	if f.Length <= touchBytes {
		if err := c.need(off, from+int64(f.Length)); err != nil {
			return nil, err
		}
		p, ok := f.Payload(c.data[off:])
		if !ok && !c.analysis.o.Wrong.Has(seam.PayloadUnchecked) {
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
//
// The payloads are not summed again. Where a concurrent writer may change the bytes
// between the two readings, fn compares its own copy with the record's checksum.
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

// passed calls Options.Passed with the cursor's place.
func (c *cursor) passed() {
	if fn := c.analysis.o.Passed; fn != nil {
		fn(Place{File: c.seg.index, Offset: c.Off, LSN: c.LSN, Link: c.Link, Epoch: c.Epoch})
	}
}

// validFrame reads the frame at the cursor with all that makes it part of the
// chain. open says that a batch is not complete yet. Then only a further record of that
// batch may follow: one that begins a batch, or a mark, shows that the rest of it is
// missing. And where no batch is open, a record has to begin one. The payload comes last,
// as the only check that takes longer the larger the record is.
func (c *cursor) validFrame(open bool) (frame.Frame, []byte, error) {
	f, err := c.next()
	if err != nil {
		return f, nil, err
	}
	record, half := f.Kind == frame.KindRecord, c.analysis.o.Wrong.Has(seam.BatchHalf)
	if record && f.First == open && !half || !record && open {
		return f, nil, errBatch
	}
	p, err := c.payload(&f)
	return f, p, err
}

// Why a frame is not valid at a place of the chain, or why the chain does not go on into a
// segment. They end a run of frames, and never recovery; their texts are the reasons that
// reports give for damage. errUnreadable (unreadable.go) is one more of them.
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

// isInvalid reports whether err says something of the log's bytes, and not
// that they could not be read. Any other error ends recovery: of Touch, of a callback, or
// of Stop.
func isInvalid(err error) bool {
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

// watermarkIn returns the LSN up to which a frame says that records were durable, or
// 0. Frames of an older epoch need no special case: those behind the cut are remains
// and never get here, and those before it name no more than their own LSN, which is
// the cut's at most; up to there all was durable before the cut was made.
func watermarkIn(f *frame.Frame, payload []byte) frame.LSN {
	if f.Kind == frame.KindMark {
		if payload == nil {
			return 0
		}
		return min(frame.Mark(payload), f.LSN)
	}
	w, _ := f.Watermark()
	return w
}
