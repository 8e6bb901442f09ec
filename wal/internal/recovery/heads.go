package recovery

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
)

// segment is a file and what its first blocks say.
type segment struct {
	index int // into the files given
	file  *File
	frame.Head
	// headerErr is why there is no header, in words; a segment with one cannot
	// be written, and its frames count as evidence only.
	headerErr string
	gaps
	unreadable
	stamped bool
	state   State
}

// judge is a judgement on its way.
type judge struct {
	o     Options
	all   []*segment // as given
	log   []*segment // those that are the log's, by ordinal: no remains, no leftovers
	uuid  frame.UUID
	epoch uint32
	cut   frame.Cut
	front frame.LSN

	structural []Damage // found from names and heads
	warnings   []string

	// What one pass from a starting segment found.
	chain     chain
	evidence  evidence
	watermark frame.LSN
	infos     []Segment
	memo      memo // what earlier passes found
}

// readHeads decodes the first blocks of all files and settles whose log it is.
func readHeads(files []File, o Options) (*judge, error) {
	j := &judge{o: o}
	for i := range files {
		f := &files[i]
		s := &segment{index: i, file: f, state: StateUnread}
		j.all = append(j.all, s)
		head, err := s.readHead()
		if err != nil {
			return nil, err
		}
		if err := s.decodeHeader(head); err != nil {
			return nil, err
		}
	}
	if err := j.nothingRead(); err != nil {
		return nil, err
	}
	if err := j.settleUUID(); err != nil {
		return nil, err
	}
	for _, s := range j.all {
		head, err := s.readHead()
		if err != nil {
			return nil, err
		}
		s.decodeBlocks(head, j.uuid)
		s.settleShort()
		s.settleUnreadable()
	}
	return j, nil
}

// decodeHeader decodes the first block. Only a newer format is an error.
func (s *segment) decodeHeader(head []byte) error {
	h, err := frame.DecodeHeader(head)
	switch {
	case err == nil && h.Ordinal != s.file.Ordinal:
		s.headerErr = fmt.Sprintf("renamed: it holds segment %016x", h.Ordinal)
		s.Header.UUID = h.UUID
	case err == nil && s.file.Size < h.SegmentBytes:
		s.headed = true
		s.short = fmt.Sprintf("short: %d of %d bytes", s.file.Size, h.SegmentBytes)
		s.Header = h
	case err == nil:
		s.headed = true
		s.Header = h
	case errors.Is(err, frame.ErrVersion):
		return &NameError{Name: s.file.Name, Err: ErrVersion, Detail: "it needs a newer Seawall to read"}
	case s.file.Size == 0:
		s.headerErr = "empty file"
	case errors.Is(err, frame.ErrZero):
		s.lostHead = true
		s.headerErr = "header is zero"
	default:
		s.headed, s.lostHead = true, true
		s.headerErr = "header does not validate"
	}
	return nil
}

// settleUUID takes the log's identity from the options or, failing that, from
// most of the headers, and refuses a valid segment that has another one.
func (j *judge) settleUUID() error {
	count := make(map[frame.UUID]int)
	j.uuid = j.o.UUID
	if j.uuid == (frame.UUID{}) {
		for _, s := range j.all {
			if id := s.Header.UUID; id != (frame.UUID{}) {
				count[id]++
				if count[id] > count[j.uuid] {
					j.uuid = id
				}
			}
		}
	}
	for _, s := range j.all {
		if id := s.Header.UUID; id != (frame.UUID{}) && id != j.uuid {
			return &NameError{Name: s.file.Name, Err: ErrForeign, Detail: fmt.Sprintf(
				"it belongs to log %x, this directory to log %x: move it away", id, j.uuid)}
		}
	}
	return nil
}

// decodeBlocks decodes stamp and slots. Where the header is lost, a stamp that
// names this log and ordinal stands in for what it repeats, for evidence.
func (s *segment) decodeBlocks(head []byte, id frame.UUID) {
	if s.Header.Salt == 0 && s.headerErr != "" {
		s.Header = frame.Header{UUID: id, Ordinal: s.file.Ordinal, SegmentBytes: s.file.Size}
		if len(head) >= frame.StampOffset+frame.StampBytes {
			s.Header.Salt = frame.StampSalt(head[frame.StampOffset:])
		}
	}
	if len(head) < frame.DataOffset {
		head = nil // a file so short has no frames
	}
	s.DecodeRest(head)
	s.stamped = s.StampErr == nil
}

// rule finds the ruling epoch, its cut and the log's first LSN among all
// stamps and slots.
func (j *judge) rule() {
	j.epoch, j.front = 1, 1
	each := func(epoch uint32, cut frame.Cut, front frame.LSN) {
		switch {
		case epoch > j.epoch:
			j.epoch, j.cut, j.front = epoch, cut, front
		case epoch == j.epoch:
			j.cut = cut
			j.front = max(j.front, front)
		}
	}
	for _, s := range j.all {
		if s.stamped {
			each(s.Stamp.Epoch, s.Stamp.Cut, s.Stamp.Front)
		}
		for i, slot := range s.Slots {
			if s.SlotErrs[i] == nil {
				each(slot.Epoch, slot.Cut, slot.Front)
			}
		}
	}
	if c := &j.o.Newest; j.newestHolds() && c.Epoch == j.epoch {
		j.front = max(j.front, c.Front)
	}
}

// remains reports whether something of that epoch at that place lies behind
// the ruling cut and before its epoch.
func (j *judge) remains(epoch uint32, ordinal uint64, off int64) bool {
	return epoch < j.epoch && (ordinal > j.cut.Ordinal ||
		ordinal == j.cut.Ordinal && uint64(off) >= j.cut.Offset)
}

// classify sorts the files into those of the log and the others, and finds
// what is missing or unreadable.
func (j *judge) classify() {
	finals := make(map[uint64]bool)
	for _, s := range j.all {
		if !s.file.Temp {
			finals[s.file.Ordinal] = true
		}
	}
	for _, s := range j.all {
		switch {
		case s.file.Temp && (s.headerErr != "" || !s.stamped || finals[s.file.Ordinal]):
			s.state = StateTemporary
		case j.behindCut(s):
			s.state = StateRemains
		default:
			j.log = append(j.log, s)
		}
	}
	j.dropLeftovers()
	j.dropStrayTemps()
	j.checkNames()
	j.checkNewest()
	j.checkOthers()
	for _, s := range j.all {
		for i, err := range s.SlotErrs {
			if s.headerErr == "" && errors.Is(err, frame.ErrInvalid) {
				j.warn("%s: witness slot %d does not validate; the other witnesses decide", s.file.Name, i)
			}
		}
		if s.headerErr == "" && s.file.Size > s.Header.SegmentBytes {
			j.warn("%s: %d bytes behind the segment's end are not the log's",
				s.file.Name, s.file.Size-s.Header.SegmentBytes)
		}
	}
}

// behindCut reports whether the segment is one that the ruling cut removes. A
// prepared one that follows the log, with nothing between, is not: a cut within
// the last segment leaves those behind it as they are. One that a crash tore the
// stamp of counts as prepared: those that a cut removes had theirs made durable.
func (j *judge) behindCut(s *segment) bool {
	epoch := s.Header.Epoch
	if s.stamped {
		epoch = s.Stamp.Epoch
	}
	if s.headerErr != "" && !s.stamped || s.file.Ordinal <= j.cut.Ordinal || !j.remains(epoch, s.file.Ordinal, 0) {
		return false
	}
	n := len(j.log)
	follows := n > 0 && j.log[n-1].file.Ordinal+1 == s.file.Ordinal
	return s.stamped || !follows
}

// dropLeftovers takes the segments out of the log that lie wholly before its
// first record: all before the last one that is stamped with an LSN not above
// the front, and all before the ruling cut where no record before it is left. The
// cut says so also where the stamp of its segment is lost: what a reset removed
// had the same LSNs.
func (j *judge) dropLeftovers() {
	keep := 0
	emptied := j.epoch > 1 && j.front > j.cut.LSN
	for i, s := range j.log {
		if s.stamped && s.Stamp.First <= j.front || emptied && s.file.Ordinal == j.cut.Ordinal {
			keep = i
		}
	}
	for _, s := range j.log[:keep] {
		s.state = StateLeftover
	}
	j.log = j.log[keep:]
}

// dropStrayTemps takes a temporary segment out of the log that does not follow
// the one before it: it was never reached.
func (j *judge) dropStrayTemps() {
	kept := j.log[:0]
	for _, s := range j.log {
		if n := len(kept); s.file.Temp && n > 0 && kept[n-1].file.Ordinal+1 != s.file.Ordinal {
			s.state = StateTemporary
			continue
		}
		kept = append(kept, s)
	}
	j.log = kept
}

// checkNames finds missing segments, and those that are not what their final
// name promises: a valid header and the full size.
func (j *judge) checkNames() {
	for i, s := range j.log {
		if s.headerErr != "" {
			s.state = StateDamaged
			j.structural = append(j.structural, Damage{File: s.file.Name, Gap: true, Reason: s.headerErr})
		}
		if s.short != "" {
			j.structural = append(j.structural, Damage{File: s.file.Name, Offset: s.file.Size, Gap: true, Reason: s.short})
		}
		if i > 0 {
			j.checkGap(j.log[i-1].file.Ordinal+1, s.file.Ordinal, s)
		}
	}
	if len(j.log) == 0 {
		return
	}
	switch s := j.log[0]; {
	case s.stamped && s.Stamp.First > j.front:
		d := Damage{
			File: segmentName(s.file.Ordinal - 1), First: j.front, Last: s.Stamp.First - 1,
			Gap: true, Reason: "missing: the log's first records were in it, or before it",
		}
		j.structural = append(j.structural, d)
	case !s.stamped && s.file.Ordinal != 1 && !j.anyStamped():
		j.structural = append(j.structural, Damage{
			File: segmentName(s.file.Ordinal - 1), Gap: true,
			Reason: "missing: every segment with records is gone",
		})
	case !s.stamped && j.anyStamped():
		j.checkGap(1, s.file.Ordinal, s)
	}
}

// newestHolds reports whether the checkpoint that is known from elsewhere says
// anything of the log as it is: a cut that began the ruling epoch, and came after
// it, may have removed what it names. One of a higher epoch than any segment's was
// written when a segment had that.
func (j *judge) newestHolds() bool {
	return j.o.Newest.Epoch >= j.epoch && j.o.Newest.UUID == j.uuid
}

// checkNewest finds the newest segments missing, which no gap in the names shows.
// In one epoch the log never ends in a segment before one that it ended in.
func (j *judge) checkNewest() {
	if !j.newestHolds() || len(j.log) == 0 {
		return
	}
	last, c := j.log[len(j.log)-1], &j.o.Newest
	switch {
	case last.file.Ordinal < c.Ordinal:
		j.checkGap(last.file.Ordinal+1, c.Ordinal+1, nil)
	case c.Epoch > j.epoch:
		j.structural = append(j.structural, Damage{
			File: last.file.Name, Gap: true,
			Reason: "of an older moment than the log's last checkpoint: a cut that was made before that is in no segment",
		})
	}
}

// checkGap reports the segments [from, to) as missing, before s, or at the log's end
// where that is nil.
func (j *judge) checkGap(from, to uint64, s *segment) {
	for o := from; o < to; o++ {
		d := Damage{File: segmentName(o), Gap: true, Reason: "missing segment"}
		if to-from > 1 {
			d.Reason = fmt.Sprintf("missing segment, one of %d up to %s", to-from, segmentName(to-1))
		}
		j.structural = append(j.structural, d)
		if o-from >= 15 {
			if s == nil {
				j.warn("more of the newest segments are missing than are listed")
			} else {
				j.warn("%s: more segments before it are missing than are listed", s.file.Name)
			}
			return
		}
	}
}

// anyStamped reports whether a segment of the log has a valid stamp.
func (j *judge) anyStamped() bool {
	for _, s := range j.log {
		if s.stamped {
			return true
		}
	}
	return false
}

// warn adds a warning.
func (j *judge) warn(format string, args ...any) {
	j.warnings = append(j.warnings, fmt.Sprintf(format, args...))
}

// segmentName returns the final name of a segment.
func segmentName(ordinal uint64) string { return fmt.Sprintf("%016x.wal", ordinal) }

// zeroPage is what a page of a prepared segment looks like.
var zeroPage [64 << 10]byte

// LastNonzero returns the offset behind the last byte of p that is not zero.
func LastNonzero(p []byte) int {
	for n := len(p); n > 0; {
		k := min(n, len(zeroPage))
		if q := p[n-k : n]; !bytes.Equal(q, zeroPage[:k]) {
			// A writer beside the reader may zero it meanwhile.
			for len(q) > 0 && q[len(q)-1] == 0 {
				q = q[:len(q)-1]
			}
			if len(q) > 0 {
				return n - k + len(q)
			}
		}
		n -= k
	}
	return 0
}
