package recovery

import "fmt"

// This file finds what is missing among the files that heads.go has found to be the log's:
// gaps in their names, heads that cannot be what they should, a beginning that begins too
// late, and an end that ends before the last checkpoint. All of it is damage of the
// structure: no chain of records can show it.

// checkNames finds missing segments, and those that are not what their final
// name promises: a valid header and the full size. What is missing before the first file
// shows in that file: its stamp begins above the front, or it has none and is not segment
// 1. Where it was one with records and has lost its stamp, nothing tells that the segments
// before it were cut off at the front, and they count as missing.
func (a *analysis) checkNames() {
	for i, s := range a.log {
		if s.headerErr != "" {
			s.state = StateDamaged
			a.structural = append(a.structural, Damage{File: s.file.Name, Gap: true, Reason: s.headerErr})
		}
		if s.short != "" {
			a.structural = append(a.structural, Damage{File: s.file.Name, Offset: s.file.Size, Gap: true, Reason: s.short})
		}
		if i > 0 {
			a.checkGap(a.log[i-1].file.Ordinal+1, s.file.Ordinal, s)
		}
	}
	if len(a.log) == 0 {
		return
	}
	switch s := a.log[0]; {
	case s.stamped && s.Stamp.First > a.front:
		d := Damage{
			File: segmentName(s.file.Ordinal - 1), First: a.front, Last: s.Stamp.First - 1,
			Gap: true, Reason: "missing: the log's first records were in it, or before it",
		}
		a.structural = append(a.structural, d)
	case !s.stamped && s.file.Ordinal != 1 && !a.anyStamped():
		a.structural = append(a.structural, Damage{
			File: segmentName(s.file.Ordinal - 1), Gap: true,
			Reason: "missing: every segment with records is gone",
		})
	case !s.stamped && a.anyStamped():
		a.checkGap(1, s.file.Ordinal, s)
	}
}

// checkpointApplies reports whether the checkpoint that is known from elsewhere
// still describes the log. A later cut began a higher epoch, and may have removed
// what the checkpoint names. A checkpoint of a higher epoch than any segment has
// does apply: when it was written, a segment had that epoch.
func (a *analysis) checkpointApplies() bool {
	return a.o.Newest.Epoch >= a.epoch && a.o.Newest.UUID == a.uuid
}

// checkNewestMissing finds out whether the newest segments are missing, which no gap
// in the names shows.
// Within one epoch the segment in which the log ends never goes back.
func (a *analysis) checkNewestMissing() {
	if !a.checkpointApplies() || len(a.log) == 0 {
		return
	}
	last, c := a.log[len(a.log)-1], &a.o.Newest
	switch {
	case last.file.Ordinal < c.Ordinal:
		a.checkGap(last.file.Ordinal+1, c.Ordinal+1, nil)
	case c.Epoch > a.epoch:
		a.structural = append(a.structural, Damage{
			File: last.file.Name, Gap: true,
			Reason: "of an older moment than the log's last checkpoint: a cut that was made before that is in no segment",
		})
	}
}

// checkGap reports the segments [from, to) as missing, before s, or at the log's end
// where that is nil. It lists a few of them only: a file with a forged or a copied name
// may make the gap as wide as the numbers are.
func (a *analysis) checkGap(from, to uint64, s *segment) {
	for o := from; o < to; o++ {
		d := Damage{File: segmentName(o), Gap: true, Reason: "missing segment"}
		if to-from > 1 {
			d.Reason = fmt.Sprintf("missing segment, one of %d up to %s", to-from, segmentName(to-1))
		}
		a.structural = append(a.structural, d)
		if o-from >= 15 {
			if s == nil {
				a.warn("more of the newest segments are missing than are listed")
			} else {
				a.warn("%s: more segments before it are missing than are listed", s.file.Name)
			}
			return
		}
	}
}

// anyStamped reports whether a segment of the log has a valid stamp.
func (a *analysis) anyStamped() bool {
	for _, s := range a.log {
		if s.stamped {
			return true
		}
	}
	return false
}
