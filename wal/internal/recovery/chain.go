package recovery

import (
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// chain is the valid prefix of the log as one pass found it, from its starting segment
// on. No record behind the tail is in it, however intact: what lies there is for scanTail
// to find, and for finish to report. Each call of walk begins a new one.
type chain struct {
	start     int // into analysis.log
	end       int // the segment with the tail, into analysis.log; -1 where there is none
	tail      frame.Place
	last      int64 // offset of the frame before the tail in its segment, or 0
	records   uint64
	watermark frame.LSN // the highest that a frame in it names
	reason    error     // why it ends in the tail's segment
	// openBatch says that the chain goes on behind the tail with a batch that
	// does not end.
	openBatch bool
}

// walk follows the chain from the segment at index start of the log. It
// records per segment what it found in infos. The first segment's stamp is believed for
// where the chain begins; each later one must continue the link of the last frame, so
// that a segment of another moment of the log does not count. A batch that does not end
// in its segment ends the chain: no batch lies in two segments.
//
// A rotation syncs nothing, so that a power loss may leave the stamp of segment 8 on the
// device, and not the last frames of 7. Segment 7 then looks as if it had held no more. The
// link in the stamp of 8 tells that it had: the chain ends in 7, and what 8 holds lies
// behind the tail.
//
// Each frame is read once, in the order of the log, since its link can be checked only
// with the link before it. So a walk takes time in proportion to the bytes of all segments
// from start to the tail; one segment is loaded at a time.
func (a *analysis) walk(start int) error {
	a.chain = chain{start: start, end: -1}
	at := frame.Place{LSN: a.front - 1}
	if len(a.log) == 0 {
		a.chain.tail = at
		return nil
	}
	if s := a.log[start]; s.stamped {
		at = frame.Place{LSN: s.Stamp.First - 1, Epoch: s.Stamp.Epoch, Link: s.Stamp.Previous}
	}
	a.chain.tail = at
	for i := start; i < len(a.log); i++ {
		s := a.log[i]
		if reason := a.checkEntry(i, start, at); reason != nil {
			if i == start {
				a.chain.end = i
				a.chain.reason = reason
				a.chain.tail = frame.Place{Off: frame.DataOffset, Link: s.Link, LSN: at.LSN, Epoch: at.Epoch}
			}
			return nil
		}
		next, err := a.walkCached(i)
		if err != nil {
			return err
		}
		if a.chain.openBatch {
			return nil
		}
		at = next
	}
	return nil
}

// checkEntry says why the chain does not go on from the given place into segment i,
// or nil. Of the conditions of the last case the first finds a missing segment, the next
// two a segment that follows other records than those found, and the last one that is
// older than they are: the epoch never falls along the log.
func (a *analysis) checkEntry(i, start int, at frame.Place) error {
	s := a.log[i]
	switch {
	case s.headerErr != "":
		return errHead
	case s.StampErr != nil:
		return s.stampReason()
	case i == start:
		return nil
	case s.file.Ordinal != a.log[i-1].file.Ordinal+1 ||
		s.Stamp.Previous != at.Link || s.Stamp.First != at.LSN+1 || s.Stamp.Epoch < at.Epoch:
		return errUnlinked
	}
	return nil
}

// walkSegment follows the chain through segment i and returns where it ends in
// it. The chain's tail moves behind each complete batch.
func (a *analysis) walkSegment(i int) (frame.Place, error) {
	s := a.log[i]
	c, err := a.open(s, frame.Start(&s.Stamp, s.Link))
	if err != nil {
		return frame.Place{}, err
	}
	end, err := a.walkFrom(c, i)
	c.close()
	return end, err
}

// walkFrom is walkSegment from a cursor at the segment's start. The tail moves only
// behind whole batches, but the watermark counts from every valid frame, those of an
// incomplete batch included: what a frame names was durable, whether or not the frame's
// own batch survives. A frame that is not valid ends the walk here, except behind what a
// cut left of a batch: that counts as whole, and the frame is looked at once more, now as
// one that may begin a batch.
func (a *analysis) walkFrom(c *cursor, i int) (frame.Place, error) {
	s := c.seg
	ch := &a.chain
	// A segment that the chain goes on in has the tail, also while it has no frame yet.
	ch.end, ch.tail, ch.last = i, c.Place, 0
	info := &a.infos[s.index]
	info.First, info.Last, info.Used = s.Stamp.First, c.LSN, c.Off
	begin, open := c.Place, false // of the batch at hand
	c.passed()
	for {
		f, p, err := c.validFrame(open)
		switch {
		case err != nil && !isInvalid(err):
			return frame.Place{}, err
		case err != nil && open && a.endedByCut(c, &f, err, i):
			if err = a.complete(c, begin); err != nil {
				return frame.Place{}, err
			}
			begin, open = c.Place, false
			continue
		case err != nil:
			ch.reason, ch.openBatch = err, open
			s.validEnd = max(s.validEnd, c.Off)
			return c.Place, nil
		}
		ch.watermark = max(ch.watermark, watermarkIn(&f, p))
		if f.Kind == frame.KindRecord {
			open = !f.Last && !a.o.Wrong.Has(seam.BatchHalf)
		}
		c.pass(&f)
		c.passed()
		if open {
			continue
		}
		if err := a.complete(c, begin); err != nil {
			return frame.Place{}, err
		}
		begin = c.Place
	}
}

// complete moves the chain's tail behind a batch that is whole, and hands out its
// records. Those before the front were truncated, and are neither handed out nor
// counted, although the chain runs through them.
func (a *analysis) complete(c *cursor, begin frame.Place) error {
	if a.o.Visit != nil {
		err := c.records(begin, c.Off, func(r Record) error {
			if r.LSN < a.front {
				return nil
			}
			return a.o.Visit(r)
		})
		if err != nil {
			return err
		}
	}
	info := &a.infos[c.seg.index]
	n := uint64(0) // those that are not before the front
	if from := max(begin.LSN+1, a.front); from <= c.LSN {
		n = uint64(c.LSN - from + 1)
	}
	a.chain.records += n
	info.Records += n
	a.chain.tail, a.chain.last = c.Place, c.last
	info.Last, info.Used = c.LSN, c.Off
	return nil
}

// endedByCut reports whether a batch that does not go on at the cursor, in
// segment i of the log, is whole all the same: a cut of the log's back left so
// much of it. The current epoch's cut names the place. An earlier cut shows in
// what was appended behind it, a frame or a segment of a greater epoch: the
// frames of one batch have one epoch, and a batch that a crash tore is trimmed
// whole before anything is appended. f and why are what validFrame returned.
//
// Say that a batch of epoch 2 had the LSNs 10 to 14, and TruncateBack(12) began epoch 3.
// The frames 10 to 12 stay, and none of them is the last of a batch. As long as 3 is the
// current epoch, its cut names that place. When other cuts have followed, the frame that
// was appended next, a mark or the record 13, has epoch 3 or a greater one; it lies right
// behind 12 or, where it did not fit there, in the next segment, whose stamp has such an
// epoch.
func (a *analysis) endedByCut(c *cursor, f *frame.Frame, why error, i int) bool {
	cut := &a.cut
	if a.epoch > 1 && cut.Ordinal == c.seg.file.Ordinal && cut.Offset == uint64(c.Off) && cut.LSN == c.LSN {
		return true
	}
	if errors.Is(why, errBatch) {
		return f.Epoch > c.Epoch
	}
	next := i + 1
	return next < len(a.log) && a.checkEntry(next, a.chain.start, c.Place) == nil && a.log[next].Stamp.Epoch > c.Epoch
}
