package recovery

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// gaps are what of a segment's file is not there to be read, and how much of the
// rest is known to be the log's.
type gaps struct {
	// headed says that the header's block is not empty, and is none of another
	// segment's.
	headed bool
	// lostHead says that the header does not validate; guessed that the stamp does
	// not either, so that the seed was looked for among the frames, whose LSNs are
	// not below least.
	lostHead, guessed bool
	least             frame.LSN

	short string // the file ends before the segment does, in words, or ""
	seen  int64  // behind the last frame that was found genuine
	used  int64  // behind the last byte that is not zero, where that was looked for
}

// settleShort decides what a short file is. One with its final name, a header and
// a stamp is read as usual, up to its end. Of any other nothing can be told apart
// from what a crash leaves, or begins: it counts as one without a header.
func (s *segment) settleShort() {
	if s.short != "" && (s.file.Temp || !s.stamped) {
		s.headerErr, s.short = s.short, ""
	}
}

// unknown reports whether records may have been lost at a damaged place of which
// nothing tells how many they were: no later segment says which LSN it begins
// with, no earlier one was never reached, the log need not have ended before that
// place, and no checkpoint says how far it came.
func (j *judge) unknown(d *Damage) bool {
	if !d.Gap || j.newestTells(d) {
		return false
	}
	var at *segment
	for _, s := range j.log {
		switch behind := segmentName(s.file.Ordinal) > d.File; {
		case s.file.Name == d.File:
			at = s
		case behind && s.stamped, !behind && s.headerErr == "" && s.unentered():
			return false
		}
	}
	if at == nil {
		return true
	}
	from := d.Offset
	if at.headerErr != "" {
		from = at.file.Size
	}
	return (at.headerErr != "" || !at.within(d.Offset)) && !at.endsBefore(from)
}

// newestTells reports whether the checkpoint that is known from elsewhere stands in
// for a segment of which nothing is left, its witnesses included: it is no later one
// than the checkpoint names, and nothing shows that the log went on behind that.
func (j *judge) newestTells(d *Damage) bool {
	c := &j.o.Newest
	if !j.newestHolds() || d.File > segmentName(c.Ordinal) || j.watermark > c.Watermark || j.chain.tail.LSN > c.Watermark {
		return false
	}
	left := func(s *segment) bool { return s.file.Name == d.File && s.file.Size >= frame.DataOffset }
	return !slices.ContainsFunc(j.all, left) &&
		!slices.ContainsFunc(j.evidence.runs, func(r run) bool { return r.Last > c.Watermark })
}

// endsBefore reports whether the log ended in the segment before an offset, if it
// did not go on in another segment: where a frame's header should be there are
// zeros, and nothing else up to there.
func (s *segment) endsBefore(off int64) bool {
	if !s.stamped {
		return s.unentered()
	}
	seen := max(s.seen, frame.DataOffset)
	return s.used <= seen && off-seen >= frame.HeaderBytes
}

// unentered reports whether the log never reached the segment, which was looked
// through: it has zeros in place of a stamp and of frames.
func (s *segment) unentered() bool {
	return s.headed && errors.Is(s.StampErr, frame.ErrZero) && s.used == frame.DataOffset
}
