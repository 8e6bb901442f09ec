package recovery

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// This file decides by names and first blocks which files are the log's; what is missing
// among them is missing.go's. Recover and Survey call readHeads, chooseEpoch and classify, in this order. That
// comes before the chain is followed: a frame that a cut left behind looks like a record
// until it is known where the current epoch began, and any of the heads may be the one that
// says so. The states that depend on where the log ends are set later (states in verdict.go).

// segment is a file and what its first blocks say.
type segment struct {
	index int // into the files given
	file  *File
	frame.Head
	// headerErr is why there is no valid header, in words, or "". Such a segment
	// cannot be written to, and its frames are never part of the chain. Where the header
	// cannot be decoded, Header is made up (decodeBlocks). Head's HeaderErr is not used.
	headerErr string
	gaps
	unreadable
	renamed bool // the header is valid, and of a segment of another number
	stamped bool
	state   State
}

// usedBefore reports whether a file with its temporary name was a segment of the log before, which
// is taken again for further records: it holds one of another number, or names durable records.
func (s *segment) usedBefore() bool {
	if !s.file.Temp {
		return false
	}
	used := s.renamed || s.stamped && s.Stamp.Watermark > 0
	for i, slot := range s.Slots {
		used = used || s.SlotErrs[i] == nil && slot.Watermark > 0
	}
	return used
}

// analysis is the state of one call of Recover or Survey.
type analysis struct {
	o     Options
	all   []*segment // as given
	log   []*segment // those that are the log's, by ordinal: no remains, no leftovers; fixed by classify
	uuid  frame.UUID
	epoch uint32
	cut   frame.Cut
	front frame.LSN

	structural []Damage // found from names and heads; what frames show comes later (damage)
	warnings   []string

	// What one pass from a starting segment found.
	chain     chain
	scan      tailScan
	watermark frame.LSN
	infos     []Segment // of all files
	cache     passCache // what earlier passes found
}

// readHeads decodes the first blocks of all files and settles whose log it is. It takes
// two passes: stamps and slots are checked with the log's UUID, which is known only once
// all headers are decoded, and supplied where a header is lost.
func readHeads(files []File, o Options) (*analysis, error) {
	a := &analysis{o: o}
	for i := range files {
		f := &files[i]
		s := &segment{index: i, file: f, state: StateUnread}
		a.all = append(a.all, s)
		head, err := s.readHead()
		if err != nil {
			return nil, err
		}
		if err := s.decodeHeader(head); err != nil {
			return nil, err
		}
	}
	if err := a.nothingRead(); err != nil {
		return nil, err
	}
	if err := a.settleUUID(); err != nil {
		return nil, err
	}
	for _, s := range a.all {
		head, err := s.readHead()
		if err != nil {
			return nil, err
		}
		s.decodeBlocks(head, a.uuid)
		s.settleShort()
		s.settleUnreadable()
	}
	return a, nil
}

// decodeHeader decodes the first block. Only a newer format is an error: such a file
// must not be taken for damaged, and repaired, by an older program. What else is wrong
// is noted in headerErr, as text for the report.
func (s *segment) decodeHeader(head []byte) error {
	h, err := frame.DecodeHeader(head)
	switch {
	case err == nil && h.Ordinal != s.file.Ordinal:
		s.headerErr, s.renamed = fmt.Sprintf("renamed: it holds segment %016x", h.Ordinal), true
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
// most of the headers, and refuses a valid segment that has another one. A foreign
// segment is no damage of this log: a person has put it there, and can move it away.
func (a *analysis) settleUUID() error {
	count := make(map[frame.UUID]int)
	a.uuid = a.o.UUID
	if a.uuid == (frame.UUID{}) {
		for _, s := range a.all {
			if id := s.Header.UUID; id != (frame.UUID{}) {
				count[id]++
				if count[id] > count[a.uuid] {
					a.uuid = id
				}
			}
		}
	}
	for _, s := range a.all {
		if id := s.Header.UUID; id != (frame.UUID{}) && id != a.uuid {
			return &NameError{Name: s.file.Name, Err: ErrForeign, Detail: fmt.Sprintf(
				"it belongs to log %x, this directory to log %x: move it away", id, a.uuid)}
		}
	}
	return nil
}

// decodeBlocks decodes stamp and slots. Where the header is lost, a stamp that
// names this log and ordinal supplies the fields that it repeats, so that the tail
// scan can find frames.
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

// chooseEpoch finds the current epoch, its cut and the log's first LSN among all
// stamps and slots: those of the highest epoch count. Within an epoch the front only
// rises, so the highest one is the newest. A front of an older epoch does not count: a
// reset may have lowered it.
//
// Say that a crash interrupted TruncateBack(812) when its slot was durable and nothing
// else. Segment 4 then has a slot of epoch 3 with the cut {4, 30000, 812}, and the stamps
// of segments 5 and 6 are of epoch 2. All of them are valid, and the slot rules: what
// segment 4 holds from offset 30000 on are remains, and so are segments 5 and 6.
func (a *analysis) chooseEpoch() {
	a.epoch, a.front = 1, 1
	each := func(epoch uint32, cut frame.Cut, front frame.LSN) {
		switch {
		case epoch > a.epoch:
			a.epoch, a.cut, a.front = epoch, cut, front
		case epoch == a.epoch:
			a.cut = cut
			a.front = max(a.front, front)
		}
	}
	for _, s := range a.all {
		if s.stamped {
			each(s.Stamp.Epoch, s.Stamp.Cut, s.Stamp.Front)
		}
		for i, slot := range s.Slots {
			if s.SlotErrs[i] == nil {
				each(slot.Epoch, slot.Cut, slot.Front)
			}
		}
	}
	if c := &a.o.Newest; a.checkpointApplies() && c.Epoch == a.epoch {
		a.front = max(a.front, c.Front)
	}
}

// remains reports whether something of that epoch at that place lies behind
// the cut that began the current epoch, and is older than that epoch.
func (a *analysis) remains(epoch uint32, ordinal uint64, off int64) bool {
	return epoch < a.epoch && !a.o.Wrong.Has(seam.RemainsAccepted) && (ordinal > a.cut.Ordinal ||
		ordinal == a.cut.Ordinal && uint64(off) >= a.cut.Offset)
}

// classify sorts the files into those of the log and the others, and finds
// what is missing or unreadable. The order matters: remains and leftovers are taken out
// before names are checked, since gaps among those are no missing segments.
//
// A file with its temporary name is the log's only if the log went on in it before it
// had its final one: it has a valid header and stamp, and no file has the final name.
func (a *analysis) classify() {
	finals := make(map[uint64]bool)
	for _, s := range a.all {
		if !s.file.Temp {
			finals[s.file.Ordinal] = true
		}
	}
	for _, s := range a.all {
		switch {
		case s.file.Temp && (s.headerErr != "" || !s.stamped || finals[s.file.Ordinal]):
			s.state = StateTemporary
		case a.behindCut(s):
			s.state = StateRemains
		default:
			a.log = append(a.log, s)
		}
	}
	a.dropLeftovers()
	a.dropStrayTemps()
	a.checkNames()
	a.checkNewestMissing()
	a.checkOthers()
	for _, s := range a.all {
		for i, err := range s.SlotErrs {
			if s.headerErr == "" && errors.Is(err, frame.ErrInvalid) {
				a.warn("%s: checkpoint slot %d does not validate; the other checkpoint records count", s.file.Name, i)
			}
		}
		if s.headerErr == "" && s.file.Size > s.Header.SegmentBytes {
			a.warn("%s: %d bytes behind the segment's end are not the log's",
				s.file.Name, s.file.Size-s.Header.SegmentBytes)
		}
	}
}

// behindCut reports whether the segment is one that the current epoch's cut removes. A
// prepared one that follows the log, with nothing between, is not: a cut within
// the last segment leaves those behind it as they are. One that a crash tore the
// stamp of counts as prepared: those that a cut removes had theirs made durable.
func (a *analysis) behindCut(s *segment) bool {
	epoch := s.Header.Epoch
	if s.stamped {
		epoch = s.Stamp.Epoch
	}
	if s.headerErr != "" && !s.stamped || s.file.Ordinal <= a.cut.Ordinal || !a.remains(epoch, s.file.Ordinal, 0) {
		return false
	}
	n := len(a.log)
	follows := n > 0 && a.log[n-1].file.Ordinal+1 == s.file.Ordinal
	return s.stamped || !follows
}

// dropLeftovers takes the segments out of the log that lie wholly before its
// first record: all before the last one that is stamped with an LSN not above
// the front, and all before the current epoch's cut where no record before it is
// left. The cut is used too because the stamp of its segment may be lost, and the
// records that a reset removed may have had the same LSNs as those behind it.
func (a *analysis) dropLeftovers() {
	keep := 0
	emptied := a.epoch > 1 && a.front > a.cut.LSN
	for i, s := range a.log {
		if s.stamped && s.Stamp.First <= a.front || emptied && s.file.Ordinal == a.cut.Ordinal {
			keep = i
		}
	}
	for _, s := range a.log[:keep] {
		s.state = StateLeftover
	}
	a.log = a.log[keep:]
}

// dropStrayTemps takes a temporary segment out of the log that does not follow
// the one before it: it was never reached.
func (a *analysis) dropStrayTemps() {
	kept := a.log[:0]
	for _, s := range a.log {
		if n := len(kept); s.file.Temp && n > 0 && kept[n-1].file.Ordinal+1 != s.file.Ordinal {
			s.state = StateTemporary
			continue
		}
		kept = append(kept, s)
	}
	a.log = kept
}

// warn adds a warning.
func (a *analysis) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

// segmentName returns the final name of a segment.
func segmentName(ordinal uint64) string { return fmt.Sprintf("%016x.wal", ordinal) }

// zeroPage is a run of zeros, as in a prepared segment, to compare bytes with.
var zeroPage [64 << 10]byte

// LastNonzero returns the offset behind the last byte of p that is not zero.
func LastNonzero(p []byte) int {
	for n := len(p); n > 0; {
		k := min(n, len(zeroPage))
		if q := p[n-k : n]; !bytes.Equal(q, zeroPage[:k]) {
			// A concurrent writer may zero the bytes between the two comparisons.
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
