package recovery

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// gaps say which parts of a segment's file are missing, and how much of the rest is
// known to belong to the log. The heads, and findSeed, set the fields down to short; walking
// and scanning the segment sets the others. Whether it can be told how many records were
// lost (Damage.Unknown) is found from them.
type gaps struct {
	// headed says that the header's block is not empty, and is none of another
	// segment's.
	headed bool
	// lostHead says that the header does not validate. guessed says that the stamp
	// does not either, so that the seed was computed from the frames, whose LSNs
	// are not below least.
	lostHead, guessed bool
	least             frame.LSN

	short    string // the file ends before the segment does, in words, or ""
	validEnd int64  // behind the last frame that was found genuine
	used     int64  // behind the last byte that is not zero; 0 where that is not known
}

// settleShort decides what a short file is. One with its final name, a header and
// a stamp is read as usual, up to its end. Any other cannot be told from a file that
// a crash left half-made: it counts as one without a header.
func (s *segment) settleShort() {
	if s.short != "" && (s.file.Temp || !s.stamped) {
		s.headerErr, s.short = s.short, ""
	}
}

// unknown reports whether an unknown number of records may have been lost at a
// damaged place. That is so unless a later segment names its first LSN, an earlier
// one was never reached, the log is known to have ended before that place, or a
// checkpoint says how far the log came.
//
// Say that segment 8 is missing. If 9 has a stamp, the records between the tail in 7 and
// the first one of 9 were in it, and no others. If 9 is the last file and the log never
// reached it, 8 may have held any number of records behind those that a watermark names.
func (a *analysis) unknown(d *Damage) bool {
	if !d.Gap || a.checkpointCovers(d) {
		return false
	}
	var at *segment
	for _, s := range a.log {
		switch behind := segmentName(s.file.Ordinal) > d.File; {
		case s.file.Name == d.File:
			at = s
		case behind && s.stamped, !behind && s.headerErr == "" && s.neverReached():
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

// checkpointCovers reports whether the checkpoint that is known from elsewhere tells
// what was in a segment of which nothing is left: the segment is no later one than
// the checkpoint names, and nothing shows that the log went on behind that.
func (a *analysis) checkpointCovers(d *Damage) bool {
	c := &a.o.Newest
	if !a.checkpointApplies() || d.File > segmentName(c.Ordinal) || a.watermark > c.Watermark || a.chain.tail.LSN > c.Watermark {
		return false
	}
	left := func(s *segment) bool { return s.file.Name == d.File && s.file.Size >= frame.DataOffset }
	return !slices.ContainsFunc(a.all, left) &&
		!slices.ContainsFunc(a.scan.runs, func(r run) bool { return r.Last > c.Watermark })
}

// endsBefore reports whether the log ended in the segment before an offset, if it
// did not go on in another segment: where a frame's header should be there are
// zeros, and nothing else up to there.
func (s *segment) endsBefore(off int64) bool {
	if !s.stamped {
		return s.neverReached()
	}
	seen := max(s.validEnd, frame.DataOffset)
	return s.used <= seen && off-seen >= frame.HeaderBytes
}

// neverReached reports whether the log never reached the segment, which was scanned:
// it has zeros in place of a stamp and of frames.
func (s *segment) neverReached() bool {
	return s.headed && errors.Is(s.StampErr, frame.ErrZero) && s.used == frame.DataOffset
}
