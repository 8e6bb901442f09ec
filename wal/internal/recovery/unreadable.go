package recovery

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// This file takes blocks that cannot be read through recovery, up to the report. Open, and
// a Repair without Force, end with a device's error, which their Bytes return. Verify, Dump,
// readers in other processes and a forced Repair go on, since other records can be read:
// their Head and Touch put zeros there and say where, and readHead and the window note that
// in the segment. Zeros alone would mean that nothing was ever written, and the log might
// seem to end there. So a block of the head counts as invalid, a frame is not valid for the
// reason errUnreadable, and each stretch is damage, whether or not records were in it.

// Span is a stretch of a file, from one offset up to another, in bytes.
type Span struct{ From, To int64 }

// UnreadableError is what Bytes returns where blocks of a file cannot be read:
// they read as zeros, and all else of what was asked for was read. It does not end
// recovery: such blocks are damage.
type UnreadableError struct {
	Spans []Span // in order, whole blocks
	Err   error  // of the first
}

// Error implements error.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("unreadable from offset %d on: %v", e.Spans[0].From, e.Err)
}

// Unwrap returns the error of the first block.
func (e *UnreadableError) Unwrap() error { return e.Err }

// errUnreadable says that a frame lies, in whole or in part, where nothing can be
// read.
var errUnreadable = errors.New("unreadable")

// unreadable are the blocks of a segment that cannot be read.
type unreadable struct {
	spans []Span
	why   error
}

// note records the spans of an *UnreadableError, and returns any other error.
func (u *unreadable) note(err error) error {
	var e *UnreadableError
	if !errors.As(err, &e) {
		return err
	}
	if u.why == nil {
		u.why = e.Err
	}
	u.spans = JoinSpans(append(u.spans, e.Spans...))
	return nil
}

// hits reports whether a byte of [from, to) cannot be read.
func (u *unreadable) hits(from, to int64) bool {
	return slices.ContainsFunc(u.spans, func(s Span) bool { return s.From < to && from < s.To })
}

// JoinSpans sorts spans, and makes one of those that overlap or touch. It works in the
// slice that it is given.
func JoinSpans(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return int(a.From - b.From) })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && s.From <= joined[n-1].To {
			joined[n-1].To = max(joined[n-1].To, s.To)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// readHead returns the segment's head, and notes the blocks of it that cannot be
// read.
func (s *segment) readHead() ([]byte, error) {
	head, err := s.file.Bytes.Head()
	return head, s.note(err)
}

// nothingRead returns an error where not a byte of any segment's head can be read:
// then the device is gone, and the log need not be damaged.
func (a *analysis) nothingRead() error {
	for _, s := range a.all {
		whole := Span{0, min(s.file.Size, frame.DataOffset)}
		if len(s.spans) == 0 || s.spans[0].From > 0 || s.spans[0].To < whole.To {
			return nil
		}
	}
	if len(a.all) == 0 {
		return nil
	}
	return fmt.Errorf("%s: no head of a segment can be read: %w", a.all[0].file.Name, a.all[0].why)
}

// settleUnreadable makes blocks of the head that cannot be read, and so read as zeros,
// count as invalid: zeros would mean that the block was never written.
func (s *segment) settleUnreadable() {
	if s.headerErr != "" && s.hits(frame.HeaderOffset, frame.SegmentHeaderBytes) {
		s.headerErr, s.headed, s.lostHead = fmt.Sprintf("header is unreadable: %v", s.why), false, true
	}
	if s.StampErr != nil && s.hits(frame.StampOffset, frame.StampOffset+frame.StampBytes) {
		s.StampErr = frame.ErrInvalid
	}
	for i := range s.Slots {
		at := int64(frame.SlotOffset + i*frame.BlockBytes)
		if s.SlotErrs[i] != nil && s.hits(at, at+frame.SlotBytes) {
			s.SlotErrs[i] = frame.ErrInvalid
		}
	}
}

// orUnreadable returns err, or errUnreadable where err is about bytes of [from, to)
// that cannot be read. The zeros that stand for these would give another reason, that of a
// log that ends there.
func (c *cursor) orUnreadable(err error, from, to int64) error {
	if err != nil && len(c.seg.spans) > 0 && isInvalid(err) && c.seg.hits(from, to) {
		return errUnreadable
	}
	return err
}

// addUnreadable adds the blocks of the log that cannot be read to the damage, whether or
// not a record was in them: they may have held any, and a repair writes over them.
func (l *losses) addUnreadable() {
	for _, s := range l.a.log {
		for _, span := range s.spans {
			if span.From == 0 && s.headerErr != "" {
				continue // it is reported with the header
			}
			l.unread = append(l.unread, unread{s, span, len(l.out)})
			l.out = append(l.out, Damage{
				File: s.file.Name, Offset: span.From, Gap: true,
				Reason: fmt.Sprintf("unreadable: %d bytes: %v", span.To-span.From, s.why),
			})
		}
	}
}

// unread is a stretch that cannot be read, and where in the list it is.
type unread struct {
	seg *segment
	Span
	index int
}

// unreadAt returns which of the stretches a break lies in or before, or -1.
func (l *losses) unreadAt(b chainBreak) int {
	if !errors.Is(b.reason, errUnreadable) {
		return -1
	}
	return slices.IndexFunc(l.unread, func(u unread) bool { return u.seg == b.seg && u.To > b.off })
}

// nextUnread returns the first LSN within a lost range that is lost by an
// unreadable place of its own, and not by the one at which the range begins, or 0. Say that
// 5 to 9 were a batch, and that 5 and 9 lie in two unreadable blocks. Without them the batch
// is not whole, so that 5 to 9 are one lost range. The chain is found again at 6 and breaks
// at 9, in the other block: 9 is returned, and each block gets its part of the range.
func (l *losses) nextUnread(lost Range, first chainBreak) frame.LSN {
	if len(l.unread) == 0 {
		return 0
	}
	for _, b := range l.a.scan.breaks[min(l.passed, len(l.a.scan.breaks)):] {
		switch at := b.after + 1; {
		case at > lost.Last:
			return 0
		case at > lost.First && l.unreadAt(b) != l.unreadAt(first):
			return at
		}
	}
	return 0
}

// within reports whether the place is an unreadable one that lies before a frame
// that was found genuine, so that it is known which records were in it.
func (s *segment) within(off int64) bool {
	return slices.ContainsFunc(s.spans, func(p Span) bool { return p.From == off && p.To <= s.validEnd })
}
