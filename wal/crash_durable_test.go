package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// TestOpenReturnsWhatIsDurable lets each sync of a log's life fail in turn, its
// birth included, and opens the log again: all that Open relies on, names and
// bytes, must be durable when it returns, also what the writer before it left
// in the page cache and under names that it had not synced (C4). A crash right
// then has one outcome only.
func TestOpenReturnsWhatIsDurable(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	reopened, states := 0, 0
	points := 1
	if thorough() {
		points = 20
	}
	for _, torn := range []bool{false, true} {
		for at := range 32 {
			f := newLife(t, withMin(wal.Options{SegmentsAhead: 1, Align: wal.Align(at % 3)}), rng)
			flt := &faults{
				match: func(c *durabilitytest.Call) bool { return isSync(c.Op) },
				at:    at, err: unix.EIO, phase: durability.Before,
			}
			remove := durabilitytest.InjectDir(f.root, flt.hook)
			f.workOrFail()
			remove()
			if torn {
				f.tear()
			}
			f.open()
			reopened++
			f.wantOneOutcome(fmt.Sprintf("sync %d failed, torn %v", at, torn))
			f.append(100)
			f.sync()
			f.stop()
			or := newOracle(t, f.opts)
			for range points {
				f.crashes(rng.IntN(f.rec.Len()+1), 1, func(c crash) { or.check(c) })
			}
			states += or.states
			f.discard()
		}
	}
	t.Logf("%d logs opened again, %d states", reopened, states)
}

// workOrFail opens a log and works until a call fails, and closes it.
func (f *life) workOrFail() {
	f.t.Helper()
	l, err := wal.Open(f.dir(), f.opts)
	if err != nil {
		if !errors.Is(err, unix.EIO) {
			f.t.Fatalf("open: %v", err)
		}
		return
	}
	f.log = l
	f.failingRecords()
	if err := f.log.Close(); err != nil && !errors.Is(err, wal.ErrPoisoned) {
		f.t.Fatalf("close: %v", err)
	}
	f.note(func(m *mark) {
		m.durable = max(m.durable, l.DurableLSN())
		m.appended = m.durable
	})
}

// tear stores something behind the log's last record, as a store that was under
// way would have, through the recorder: the file's mapping is gone.
func (f *life) tear() {
	f.t.Helper()
	d, err := durability.OpenDir(f.dir(), f.rec)
	if err != nil {
		return // a log that was never born
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "0000000000000002") {
			continue
		}
		file, err := d.Open(name, true)
		if err != nil {
			f.t.Fatal(err)
		}
		defer file.Close()
		if size, err := file.Size(); err != nil || size < wal.MinSegmentBytes {
			return
		}
		if _, err := file.WriteAt([]byte("torn"), wal.MinSegmentBytes-2000); err != nil {
			f.t.Fatal(err)
		}
	}
}

// wantOneOutcome checks that a power loss right now leaves the same, whatever of
// the unsynced the device got, and a log that begins where this one says.
func (f *life) wantOneOutcome(when string) {
	f.t.Helper()
	least := f.rec.CrashAs(durabilitytest.Drop, f.root, f.rec.Len(), nil)
	most := f.rec.CrashAs(durabilitytest.Keep, f.root, f.rec.Len(), nil)
	if a, b := least.Names(), most.Names(); strings.Join(a, " ") != strings.Join(b, " ") {
		f.t.Fatalf("%s: names %v or %v\n%s", when, a, b, f.describe(f.rec.Len()))
	}
	files := make(map[string][]byte)
	for name, data := range least {
		files[filepath.Base(name)] = data
	}
	r, err := waltest.Recover(files, func(wal.LSN, []byte) error { return nil })
	if err != nil || f.log.LastLSN() > 0 && r.First != f.log.FirstLSN() {
		f.t.Fatalf("%s: a power loss leaves a log from %d on (%v), the log says %d\n%s", when, r.First, err, f.log.FirstLSN(), f.describe(f.rec.Len()))
	}
	for name := range least {
		a, b := least[name], most[name]
		if strings.HasSuffix(name, ".wal") && len(a) == len(b) {
			// The control block is no witness, and a stamp of a log without
			// records becomes durable with the first of them.
			a, b = bytes.Clone(a), bytes.Clone(b)
			clear(a[frame.ControlOffset:frame.DataOffset])
			clear(b[frame.ControlOffset:frame.DataOffset])
			// A slot in front of the tail may be one that a dead process did not sync:
			// what it says is repeated in the tail's before Open relies on it.
			if tail := tailOf(f.log); filepath.Base(name) < tail {
				clear(a[frame.SlotOffset:frame.ControlOffset])
				clear(b[frame.SlotOffset:frame.ControlOffset])
			}
			if f.log.LastLSN() == 0 {
				clear(a[frame.StampOffset : frame.StampOffset+frame.BlockBytes])
				clear(b[frame.StampOffset : frame.StampOffset+frame.BlockBytes])
			}
		}
		if !bytes.Equal(a, b) {
			i := 0
			for i < min(len(a), len(b)) && a[i] == b[i] {
				i++
			}
			f.t.Fatalf("%s: %s may be either, %d or %d bytes, from offset %d\n%s", when, name, len(a), len(b), i, f.describe(f.rec.Len()))
		}
	}
}

// TestTrimReturnsWhatIsDurable asks the same of an Open that trims and of a
// forced repair: the cut, the removed segments and the zeros.
func TestTrimReturnsWhatIsDurable(t *testing.T) {
	t.Parallel()
	for align := range wal.Align(3) {
		state, m := tornState(t, align)
		m.appended = m.durable
		o := withMin(wal.Options{SegmentsAhead: 1, Align: align})
		f := newLifeAfter(t, o, newRand(1), state, m, fastDir(t))
		f.open()
		f.wantOneOutcome(fmt.Sprintf("trim with align %d", align))
		f.wantCutTwice()
		f.stop()
	}
}

// wantCutTwice checks that both slots of the first segment name the cut behind
// record 3, so that it outlives the loss of either.
func (f *life) wantCutTwice() {
	f.t.Helper()
	seg := f.rec.CrashAs(durabilitytest.Drop, f.root, f.rec.Len(), nil)[logName+"/0000000000000001.wal"]
	h, err := frame.DecodeHeader(seg)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range frame.Slots {
		slot, err := frame.DecodeSlot(seg[frame.SlotOffset+i*frame.BlockBytes:], h.Seed())
		if err != nil || slot.Epoch != 2 || slot.Cut.Ordinal != 1 || slot.Cut.LSN != 3 {
			f.t.Errorf("slot %d: %+v, %v", i, slot, err)
		}
	}
}

// TestCutOutlivesEitherSlot loses each of the two slots behind a forced cut:
// the other one still says that what lay behind is no loss.
func TestCutOutlivesEitherSlot(t *testing.T) {
	for slot := range int64(2) {
		l, dir := newTestLog(t, small())
		for range 3 {
			appendRecords(t, l, 2, 500)
			if err := l.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		change := func(off int64, b byte) {
			t.Helper()
			f, err := os.OpenFile(filepath.Join(dir, "0000000000000001.wal"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{b}, off); err != nil {
				t.Fatal(err)
			}
		}
		change(frame.DataOffset+1000, 0xee) // in record 2
		rep, err := wal.Repair(dir, wal.RepairOptions{Force: true})
		if err != nil || rep.LastLSN != 1 {
			t.Fatalf("repair: %+v, %v", rep, err)
		}
		change(frame.SlotOffset+slot*frame.BlockBytes+30, 0xee)
		rep, err = wal.Verify(dir)
		if err != nil || rep.Verdict == wal.Damaged || rep.LastLSN != 1 {
			t.Fatalf("without slot %d: %+v, %v", slot, rep, err)
		}
		l = openLog(t, dir, small())
		wantRecords(t, l, 1, 1, 500)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
