package wal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// forcedState is a log of records 1 to 12 of 9000 bytes, four to a segment, all
// of them durable, with record 6 damaged.
func forcedState(t *testing.T, align wal.Align) (durabilitytest.Files, mark) {
	t.Helper()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1, Align: align}), newRand(uint64(align)))
	f.open()
	f.fill(12, 9000)
	f.checkpoint()
	f.stop()
	at := f.rec.Len()
	state := f.rec.CrashAs(durabilitytest.Keep, f.root, at, nil)
	seg := state[logName+"/"+secondName]
	for _, p := range framesOf(t, seg) {
		if p.LSN == 6 {
			seg[p.off+frame.HeaderBytes+100] ^= 0x55
		}
	}
	return state, f.known(at)
}

// TestCrashForcedRepairAtEveryEvent crashes a forced repair between any two of
// its steps, with all that is not durable dropped, kept, and mixed: the log is
// damaged as before, and refused, or it is the repaired one. Where it is still
// damaged, another repair, or another crash in that, leads to the same end.
func TestCrashForcedRepairAtEveryEvent(t *testing.T) {
	for _, align := range aligns(0) {
		t.Run(fmt.Sprint(align), func(t *testing.T) {
			t.Parallel()
			rng := newRand(newSeed(t))
			state, m := forcedState(t, align)
			c := &forcedCrash{t: t, rng: rng, m: m, root: fastDir(t)}
			c.repairAndCrash(state, 2)
			t.Logf("%d states: %d damaged still, %d repaired", c.states, c.damaged, c.states-c.damaged)
			if c.damaged == 0 || c.damaged == c.states {
				t.Error("no crash point on one side of the cut")
			}
		})
	}
}

// forcedCrash crashes forced repairs.
type forcedCrash struct {
	t               *testing.T
	rng             *rand.Rand
	m               mark
	root            string
	states, damaged int
}

// repairAndCrash repairs a damaged log and crashes that at each event, so many
// levels deep.
func (c *forcedCrash) repairAndCrash(state durabilitytest.Files, depth int) {
	c.t.Helper()
	root, err := os.MkdirTemp(c.root, "repair-")
	if err != nil {
		c.t.Fatal(err)
	}
	defer os.RemoveAll(root)
	f := newLifeAfter(c.t, withMin(wal.Options{}), c.rng, state, c.m, root)
	rep, err := wal.Repair(f.dir(), wal.RepairOptions{Force: true, Tracer: f.rec})
	if err != nil || rep.LastLSN != 5 || !slices.Equal(rep.Lost, []wal.Range{{First: 6, Last: 12}}) {
		c.t.Fatalf("repair: %+v, %v", rep, err)
	}
	f.rec.Stop()
	for at := range f.moments() {
		for _, mode := range []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Keep, durabilitytest.Mix, durabilitytest.Mix} {
			left := f.rec.CrashAs(mode, f.root, at, c.rng)
			still := c.check(left, f.describe(at))
			if still && depth > 1 && c.rng.IntN(80) == 0 {
				c.repairAndCrash(left, depth-1)
			}
		}
	}
	if c.check(f.rec.CrashAs(durabilitytest.Drop, f.root, f.rec.Len(), nil), "behind the repair") {
		c.t.Fatal("the repair is not durable when it returns")
	}
}

// check verifies and opens what a crash left, and reports whether it is damaged
// as before.
func (c *forcedCrash) check(state durabilitytest.Files, words string) bool {
	c.t.Helper()
	c.states++
	root := filepath.Join(c.root, "state")
	defer os.RemoveAll(root)
	if err := state.WriteTo(root); err != nil {
		c.t.Fatal(err)
	}
	dir := filepath.Join(root, logName)
	rep, err := wal.Verify(dir)
	if err != nil {
		c.t.Fatalf("verify: %v\n%s", err, words)
	}
	if rep.Verdict == wal.Damaged {
		c.damaged++
		if len(rep.Damage) != 1 || rep.Damage[0].File != secondName || rep.Damage[0].FirstLSN != 6 || rep.LastLSN != 5 {
			c.t.Fatalf("damage: %+v\n%s", rep, words)
		}
		return true
	}
	l, err := wal.Open(dir, withMin(wal.Options{}))
	if err != nil {
		c.t.Fatalf("open: %v\n%s", err, words)
	}
	held, err := seawall.ReadOpen(l)
	repaired := c.m
	repaired.records = c.m.until(5)
	repaired.durable, repaired.appended = 5, 5
	if err == nil {
		err = against(held, repaired, true)
	}
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		c.t.Fatalf("%v\n%s", err, words)
	}
	return false
}

// TestEverySubsetOfUnlinks removes every subset of the files that a cut is to
// remove, as a crash may, from what the cut finds when it begins to: whichever
// are left, the log is the one that was cut.
func TestEverySubsetOfUnlinks(t *testing.T) {
	for name, cut := range map[string]func(*life){
		"front": func(f *life) { f.truncateFront(18) },
		"back":  func(f *life) { f.truncateBack(3) },
		"reset": func(f *life) { f.reset(9) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), newRand(newSeed(t)))
			f.open()
			f.fill(21, 9000)
			awaitReady(t, f.log, f.dir(), 2)
			from := f.rec.Len()
			cut(f)
			to := f.rec.Len()
			f.stop()
			first, gone := 0, []string(nil)
			for at := from; at < to; at++ {
				e := f.event(at + 1)
				if e.Op.String() == "remove" && e.Phase == 1 {
					if first == 0 {
						first = at
					}
					gone = append(gone, logName+"/"+e.Name)
				}
			}
			if len(gone) < 3 {
				t.Fatalf("the cut removes %v", gone)
			}
			or := newOracle(t, f.opts)
			before := f.rec.Killed(f.root, first, 0)
			for subset := range 1 << len(gone) {
				state := durabilitytest.Files{}
				for n, data := range before {
					state[n] = slices.Clone(data)
				}
				var removed []string
				for i, n := range gone {
					if subset>>i&1 != 0 {
						delete(state, n)
						removed = append(removed, n)
					}
				}
				known := f.known(to)
				known.appended = known.durable
				or.check(crash{state: state, mark: known, words: func() string {
					return fmt.Sprintf("of %v, these are removed: %v\n", gone, removed)
				}})
			}
			or.report(fmt.Sprintf("%d files to remove", len(gone)))
		})
	}
}

// TestCrashRecreatingRepairAtEveryEvent crashes a forced repair of a log whose heads are
// all lost, which makes an empty one, between any two of its steps: it is damaged still, or
// the empty log, which gives out no LSN again. The log was never closed, and its lock file
// tells of no checkpoint.
func TestCrashRecreatingRepairAtEveryEvent(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), rng)
	f.open()
	f.fill(6, 9000)
	f.sync()
	awaitReady(t, f.log, f.dir(), 1)
	at := f.rec.Len()
	f.stop()
	state := f.rec.CrashAs(durabilitytest.Keep, f.root, at, nil)
	for _, data := range state {
		// The header of one that is prepared stays: it tells the size of a segment.
		if len(data) >= wal.MinSegmentBytes && frame.StampSalt(data[frame.StampOffset:]) != 0 {
			clear(data[:frame.DataOffset])
		}
	}
	root, err := os.MkdirTemp(fastDir(t), "repair-")
	must(t, err)
	defer os.RemoveAll(root)
	f = newLifeAfter(t, withMin(wal.Options{}), rng, state, f.known(at), root)
	rep, err := wal.Repair(f.dir(), wal.RepairOptions{Force: true, Tracer: f.rec})
	if err != nil || rep.FirstLSN != 7 || rep.LastLSN != 6 {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	f.rec.Stop()
	damaged, states := 0, 0
	for at := range f.moments() {
		for _, mode := range []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Keep, durabilitytest.Mix, durabilitytest.Mix} {
			states++
			dir := filepath.Join(root, "state")
			must(t, f.rec.CrashAs(mode, f.root, at, rng).WriteTo(dir))
			rep, err := wal.Verify(filepath.Join(dir, logName))
			switch {
			case err != nil:
				t.Fatalf("verify: %v\n%s", err, f.describe(at))
			case rep.Verdict == wal.Damaged:
				damaged++
				again, err := wal.Repair(filepath.Join(dir, logName), wal.RepairOptions{Force: true})
				if err != nil || again.FirstLSN != 7 || again.LastLSN != 6 {
					t.Fatalf("repaired again: %+v, %v\n%s", again, err, f.describe(at))
				}
			case rep.FirstLSN != 7 || rep.LastLSN != 6:
				t.Fatalf("%v: the log goes on with record %d, behind %d\n%s", rep.Verdict, rep.LastLSN+1, rep.FirstLSN, f.describe(at))
			}
			must(t, os.RemoveAll(dir))
		}
	}
	t.Logf("%d states, %d damaged still", states, damaged)
	if damaged == 0 || damaged == states {
		t.Error("no crash point on one side")
	}
}
