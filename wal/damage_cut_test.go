package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// cutSpecimens are logs of records of 9000 bytes, four to a segment, that were
// cut and then went on, as the death of the process leaves them.
var cutSpecimens = map[string]struct {
	first, last wal.LSN
	cut         func(*wal.Log) error
	more        int // appended, with a checkpoint, behind the cut
}{
	"front in the last segment":    {11, 12, func(l *wal.Log) error { return l.TruncateFront(11) }, 2},
	"front over segments":          {9, 10, func(l *wal.Log) error { return l.TruncateFront(9) }, 0},
	"front, and on":                {9, 20, func(l *wal.Log) error { return l.TruncateFront(9) }, 10},
	"front, all":                   {11, 14, func(l *wal.Log) error { return l.TruncateFront(11) }, 4},
	"back in the last segment":     {1, 11, func(l *wal.Log) error { return l.TruncateBack(9) }, 2},
	"back, nothing behind":         {1, 9, func(l *wal.Log) error { return l.TruncateBack(9) }, 0},
	"back over segments":           {1, 4, func(l *wal.Log) error { return l.TruncateBack(3) }, 1},
	"back over segments, and on":   {1, 13, func(l *wal.Log) error { return l.TruncateBack(3) }, 10},
	"back over all, nothing there": {1, 0, func(l *wal.Log) error { return l.TruncateBack(0) }, 0},
	"reset":                        {70, 71, func(l *wal.Log) error { return l.Reset(70) }, 2},
	"reset, nothing behind":        {5, 4, func(l *wal.Log) error { return l.Reset(5) }, 0},
	"reset, and on":                {5, 14, func(l *wal.Log) error { return l.Reset(5) }, 10},
	"front, then back":             {3, 6, func(l *wal.Log) error { return firstError(l.TruncateFront(3), l.TruncateBack(5)) }, 1},
	"back, then front":             {4, 6, func(l *wal.Log) error { return firstError(l.TruncateBack(5), l.TruncateFront(4)) }, 1},
	"back twice in one segment":    {1, 3, func(l *wal.Log) error { return firstError(l.TruncateBack(4), l.TruncateBack(2)) }, 1},
}

// firstError returns the first error that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// takeCut makes one of the specimens.
func takeCut(t *testing.T, name string) *specimen {
	t.Helper()
	c := cutSpecimens[name]
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 8, 9000)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, 9000)
	if err := c.cut(l); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, c.more, 9000)
	if c.more > 0 {
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	s := takeLive(t, l, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDamagedSlotAfterACut alters each slot of a log that was cut: the other
// one says the same, what was cut stays away, nothing is accused, and the log
// goes on.
func TestDamagedSlotAfterACut(t *testing.T) {
	for name, c := range cutSpecimens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := takeCut(t, name)
			altered := 0
			for _, seg := range s.segments() {
				for i := range frame.Slots {
					off := int64(frame.SlotOffset + i*frame.BlockBytes)
					if _, err := frame.DecodeSlot(s.get(seg)[off:], 0); err == frame.ErrZero { //nolint:errorlint // returned as it is
						continue
					}
					altered++
					d := take(t, s.dir)
					d.flip(seg, off+20)
					d.analyze(small(), finding{first: c.first, last: c.last, durable: min(c.last, d.durable()), size: 9000})
				}
			}
			t.Logf("%d slots", altered)
		})
	}
}

// durable returns what Verify says to be durable: which of two equal checkpoint records
// is left makes a difference to that.
func (s *specimen) durable() wal.LSN {
	s.t.Helper()
	rep, err := wal.Verify(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return rep.DurableLSN
}

// TestDamagedStampAfterACut alters each stamp of a log that was cut. Either the
// records are those of the log all the same, or the log is damaged, and says so;
// what was cut never comes back.
func TestDamagedStampAfterACut(t *testing.T) {
	for name, c := range cutSpecimens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := takeCut(t, name)
			for _, seg := range s.segments() {
				if h, err := frame.DecodeHeader(s.get(seg)); err != nil {
					t.Fatal(err)
				} else if _, _, err = frame.DecodeStamp(s.get(seg)[frame.StampOffset:], &h); err != nil {
					continue
				}
				d := take(t, s.dir)
				d.flip(seg, frame.StampOffset+45)
				rep, err := wal.Verify(d.dir)
				if err != nil {
					t.Fatal(err)
				}
				if rep.Verdict != wal.Damaged && (rep.FirstLSN != c.first || rep.LastLSN != c.last) {
					t.Errorf("%s: %v, records %d to %d, want damaged or %d to %d",
						seg, rep.Verdict, rep.FirstLSN, rep.LastLSN, c.first, c.last)
				}
				_, err = wal.Dump(d.dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
					if lsn < c.first || lsn > c.last {
						return fmt.Errorf("record %d is back", lsn)
					}
					wantRecord(t, lsn, 9000, p)
					return nil
				})
				if err != nil {
					t.Errorf("%s: %v", seg, err)
				}
			}
		})
	}
}

// TestStampOfAResetIsLost brings the segments from before a reset back, as a crash
// may, and damages the stamp of the one that the log went on in: what it held is
// lost, and records that the reset removed are not taken for it.
func TestStampOfAResetIsLost(t *testing.T) {
	for _, old := range []int{4, 8} { // four to a segment
		l, dir := newTestLog(t, small())
		appendRecords(t, l, old, 9000)
		must(t, l.Checkpoint())
		before := takeLive(t, l, dir)
		gone := l.Segments()
		must(t, l.Reset(3))
		appendRecords(t, l, 1, 100)
		must(t, l.Checkpoint())
		at := l.Segments()[0].Name
		must(t, l.Close())
		s := take(t, dir)
		for _, seg := range gone {
			s.put(seg.Name, before.get(seg.Name))
		}
		s.verify(finding{first: 3, last: 3, durable: 3, size: 100})
		s.flip(at, frame.StampOffset+20)
		held, rep, err := dump(s.dir)
		if err != nil || rep.Verdict != wal.Damaged || held.Count() != 0 {
			t.Errorf("%d records before: %d read: %+v, %v", old, held.Count(), rep, err)
		}
		if _, err = wal.Open(s.dir, small()); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%d records before: open: %v", old, err)
		}
		rep, err = wal.Repair(s.dir, wal.RepairOptions{Force: true})
		if err != nil || rep.FirstLSN != 3 || rep.LastLSN != 2 || !slices.Equal(rep.Lost, []wal.Range{{First: 3, Last: 3}}) {
			t.Errorf("%d records before: repair: %+v, %v", old, rep, err)
		}
	}
}
