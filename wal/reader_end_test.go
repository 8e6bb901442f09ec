package wal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// everyReader is each way to read a log's records in order.
func everyReader(l *wal.Log, o *wal.LogReader, from wal.LSN) map[string]*wal.Reader {
	return map[string]*wal.Reader{
		"in the writer's process": l.Reader(from),
		"without a copy":          l.Reader(from).ZeroCopy(),
		"beside":                  o.Reader(from),
	}
}

// overwrite changes bytes of a segment under an open log.
func overwrite(t *testing.T, dir, name string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(p, off)
	must(t, errors.Join(err, f.Close()))
}

// TestAnErrorEndsAReader damages the payload of a record and mends it again: a
// reader that met the damage names it, and stays where it is for good; another
// one reads on. What it hands out before ends where the record does.
func TestAnErrorEndsAReader(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	must(t, l.Checkpoint())
	o := openReader(t, dir)
	hit := takeLive(t, l, dir).frameOf(firstName, 2)
	at := hit.off + frame.HeaderBytes + 50
	readers := everyReader(l, o, 1)
	for what, r := range readers {
		if !r.Next() || cap(r.Record()) < 100 || what == "without a copy" && cap(r.Record()) != 100 {
			t.Fatalf("%s: %v, a record of 100 bytes in %d", what, r.Err(), cap(r.Record()))
		}
	}
	overwrite(t, dir, firstName, at, []byte{record(2, 100)[50] + 1})
	for what, r := range readers {
		var c *wal.CorruptError
		if r.Next() || !errors.As(r.Err(), &c) || c.FirstLSN != 2 || c.Offset != hit.off || !strings.Contains(c.Reason, "payload") {
			t.Errorf("%s: record %d, %v", what, r.LSN(), r.Err())
		}
	}
	overwrite(t, dir, firstName, at, []byte{record(2, 100)[50]})
	for what, r := range readers {
		err := r.Err()
		if err == nil || r.Next() || r.Follow(t.Context()) || !errors.Is(r.Err(), err) || !errors.Is(r.Close(), err) {
			t.Errorf("%s: goes on with record %d, %v", what, r.LSN(), r.Err())
		}
	}
	for what, r := range everyReader(l, openReader(t, dir), 2) {
		if !r.Next() {
			t.Errorf("%s: %v", what, r.Err())
		}
		must(t, r.Close())
		if r.Next() || r.Follow(t.Context()) || r.Record() != nil || r.Err() != nil {
			t.Errorf("%s, closed: record %d, %v", what, r.LSN(), r.Err())
		}
	}
}

// ending is a context that ends when it was asked once.
type ending struct {
	context.Context
	asked atomic.Bool
}

func (e *ending) Err() error {
	if e.asked.Swap(true) {
		return context.Canceled
	}
	return nil
}

// TestTheEndOfAContextHidesNoError: the context of a Follow ends while it finds
// that its record was truncated away, which is what it says then.
func TestTheEndOfAContextHidesNoError(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	must(t, l.TruncateFront(3))
	for what, r := range everyReader(l, openReader(t, dir), 2) {
		if r.Follow(&ending{Context: t.Context()}) || !errors.Is(r.Err(), wal.ErrTruncated) {
			t.Errorf("%s: %v", what, r.Err())
		}
		if err := r.Close(); !errors.Is(err, wal.ErrTruncated) {
			t.Errorf("%s: close: %v", what, err)
		}
	}
}

// TestReadersBelieveNoForgedFrame puts frames in place of a record's under an
// open log that validate by themselves, but not as its next one: readers refuse
// them as recovery does.
func TestReadersBelieveNoForgedFrame(t *testing.T) {
	for name, forge := range map[string]func(f *frame.Frame, link *frame.Link){
		"nothing":           func(*frame.Frame, *frame.Link) {},
		"a gap":             func(f *frame.Frame, _ *frame.Link) { f.LSN++ },
		"an earlier epoch":  func(f *frame.Frame, _ *frame.Link) { f.Epoch-- },
		"another beginning": func(_ *frame.Frame, link *frame.Link) { *link++ },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 4, 100)
			must(t, l.TruncateBack(2))
			appendRecords(t, l, 3, 100) // 3 to 5, of the second epoch
			must(t, l.Checkpoint())
			o := openReader(t, dir)
			s := takeLive(t, l, dir)
			hd := headsOf(t, s.get(firstName)).header
			seed := hd.Seed()
			at, link := s.frameOf(firstName, 4), s.frameOf(firstName, 3).Link
			var buf frame.Buffer
			f := at.Frame
			forge(&f, &link)
			head, _ := buf.Encode(&f, seed, link, at.off)
			genuine := s.get(firstName)[at.off:at.end()]
			overwrite(t, dir, firstName, at.off, head)
			for what, r := range everyReader(l, o, 0) {
				for r.Next() {
				}
				if name == "nothing" {
					if r.LSN() != 5 || r.Err() != nil {
						t.Errorf("%s: read up to %d: %v", what, r.LSN(), r.Err())
					}
				} else if r.LSN() != 3 || !errors.Is(r.Err(), wal.ErrCorrupt) {
					t.Errorf("%s: read up to %d: %v", what, r.LSN(), r.Err())
				}
				_ = r.Close()
			}
			overwrite(t, dir, firstName, at.off, genuine)
		})
	}
}

// TestReadersTouchWhatIsResident reads with an eye on what is brought into
// memory first, by system calls: all of it, since a load that faults holds up
// the garbage collector, once, and by Get no more than a little.
func TestReadersTouchWhatIsResident(t *testing.T) {
	o := small()
	o.SegmentBytes = 1 << 20
	l, dir := newDiskLog(t, o)
	appendRecords(t, l, 700, 3000)
	s := takeLive(t, l, dir)
	p := &populated{}
	durabilitytest.Inject(t, dir, p.hook)
	beside := openReader(t, dir)
	for what, r := range everyReader(l, beside, 0) {
		p.reset()
		for r.Next() {
		}
		must(t, r.Close())
		for _, seg := range l.Segments() {
			data := s.get(seg.Name)
			frames := framesOf(t, data)
			for off := int64(frame.DataOffset); off < frames[len(frames)-1].end(); off += 4096 {
				if !p.has(seg.Name, off) {
					t.Fatalf("%s: %s was read at offset %d, and not brought in", what, seg.Name, off)
				}
			}
			if most := seg.Bytes + frame.DataOffset; p.bytes(seg.Name) > most {
				t.Errorf("%s: %d bytes of %s were brought in", what, p.bytes(seg.Name), seg.Name)
			}
		}
	}
	second := l.Segments()[1]
	for what, get := range map[string]func(wal.LSN) ([]byte, error){"Log": l.Get, "LogReader": beside.Get} {
		for _, lsn := range []wal.LSN{second.FirstLSN + 200, second.FirstLSN + 200} {
			p.reset()
			if _, err := get(lsn); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.bytes(second.Name); n == 0 || n > 128<<10 {
			t.Errorf("%s: %d bytes were brought in for a record of 3000", what, n)
		}
	}
}

// populated notes what was brought into memory.
type populated struct {
	ranges atomic.Pointer[[]durabilitytest.Call]
}

func (p *populated) reset() { p.ranges.Store(&[]durabilitytest.Call{}) }

func (p *populated) hook(c *durabilitytest.Call) error {
	if c.Op == durabilitytest.OpPopulate && c.Phase == durability.After {
		if old := p.ranges.Load(); old != nil {
			list := append(*old, *c)
			p.ranges.Store(&list)
		}
	}
	return nil
}

func (p *populated) has(name string, off int64) bool {
	for _, c := range *p.ranges.Load() {
		if c.Name == name && c.Offset <= off && off < c.Offset+c.Length {
			return true
		}
	}
	return false
}

func (p *populated) bytes(name string) int64 {
	n := int64(0)
	for _, c := range *p.ranges.Load() {
		if c.Name == name {
			n += c.Length
		}
	}
	return n
}

// TestReaderOfTheFirstRecordBehindAReset has readers from the first record on, which
// found none: where a reset goes back to a lower LSN, the first one is another, and none
// is skipped. Where it goes ahead, there may have been records that they did not see.
func TestReaderOfTheFirstRecordBehindAReset(t *testing.T) {
	for _, next := range []wal.LSN{20, 3, 4, 40} {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("to %d, durable %v", next, durable), func(t *testing.T) {
				l, dir := newTestLog(t, small())
				must(t, l.Reset(20))
				readers := everyReader(l, openReader(t, dir), 0)
				for what, r := range readers {
					if durable {
						r.Durable()
					}
					if r.Next() || r.Err() != nil {
						t.Fatalf("%s: record %d of an empty log, %v", what, r.LSN(), r.Err())
					}
				}
				must(t, l.Reset(next))
				appendRecords(t, l, 30, 100)
				must(t, l.Sync())
				for what, r := range readers {
					if next > 20 {
						if r.Next() || !errors.Is(r.Close(), wal.ErrTruncated) {
							t.Errorf("%s: record %d, %v, want ErrTruncated", what, r.LSN(), r.Err())
						}
						continue
					}
					for lsn := next; lsn < next+30; lsn++ {
						if !r.Follow(t.Context()) || r.LSN() != lsn {
							t.Fatalf("%s: record %d, %v, want %d", what, r.LSN(), r.Err(), lsn)
						}
						wantRecord(t, lsn, 100, r.Record())
					}
					must(t, r.Close())
				}
			})
		}
	}
}

// TestReaderOfTheFirstRecordWaits has readers from the first record on wait for one
// in an empty log, without turning in a circle meanwhile.
func TestReaderOfTheFirstRecordWaits(t *testing.T) {
	l, dir := newTestLog(t, small())
	must(t, l.Reset(20))
	for what, r := range everyReader(l, openReader(t, dir), 0) {
		ctx := &countedContext{Context: t.Context()}
		found := make(chan bool)
		go func() { found <- r.Follow(ctx) }()
		for ctx.asked.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		// Each turn asks whether the context has ended.
		if n := ctx.asked.Load(); n > 5 {
			t.Errorf("%s: looked %d times where nothing happened", what, n)
		}
		must(t, l.Reset(3))
		appendRecords(t, l, 1, 100)
		if !<-found || r.LSN() != 3 {
			t.Errorf("%s: record %d, %v, want 3", what, r.LSN(), r.Err())
		}
		must(t, r.Close())
		must(t, l.Reset(20))
	}
}

// countedContext counts how often it is asked whether it has ended.
type countedContext struct {
	context.Context
	asked atomic.Int64
}

func (c *countedContext) Err() error {
	c.asked.Add(1)
	return c.Context.Err()
}
