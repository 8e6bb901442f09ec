package wal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// faultCuts are cuts of a log with records 1 to 9, two to a segment, the last
// of them not synced; what each leaves is noted by the life.
var faultCuts = map[string]func(*life) (do func() error, becomes func(*mark)){
	"front": func(f *life) (func() error, func(*mark)) {
		return func() error { return f.log.TruncateFront(6) },
			func(m *mark) { m.front, m.durable = 6, max(m.durable, 5) }
	},
	"back": func(f *life) (func() error, func(*mark)) {
		return func() error { return f.log.TruncateBack(3) },
			func(m *mark) { m.records, m.durable, m.appended = m.until(3), 3, 3 }
	},
	"back in the last segment": func(f *life) (func() error, func(*mark)) {
		return func() error { return f.log.TruncateBack(8) },
			func(m *mark) { m.records, m.durable, m.appended = m.until(8), 8, 8 }
	},
	"reset": func(f *life) (func() error, func(*mark)) {
		return func() error { return f.log.Reset(5) },
			func(m *mark) { *m = mark{base: 4, front: 5, durable: 4, appended: 4} }
	},
}

// TestFailureWithinACut lets each call of a cut fail in turn, once or from then
// on, before the kernel does what was asked or after: the cut says so, nothing
// is acknowledged any more (C6), what is left is readable, and what a crash
// leaves then is the old log or the new one, wholly.
func TestFailureWithinACut(t *testing.T) {
	kinds := map[string]func(*durabilitytest.Call) bool{
		"sync": func(c *durabilitytest.Call) bool { return isSync(c.Op) },
		"remove": func(c *durabilitytest.Call) bool {
			return c.Op == durability.OpRemove
		},
	}
	for name, cut := range faultCuts {
		for kind, match := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				seed, fired := newSeed(t), 0
				for at := 0; ; at++ {
					hit := false
					for _, phase := range []durability.Phase{durability.Before, durability.After} {
						f := &faults{match: match, at: at, err: unix.EIO, all: at%2 == 1, phase: phase}
						hit = failWithin(t, seed+uint64(at), f, cut) || hit
					}
					if !hit {
						break
					}
					fired++
				}
				if kind == "sync" && fired < 3 {
					t.Errorf("%d calls failed", fired)
				}
			})
		}
	}
}

// failWithin runs a cut with a fault and reports whether it fired.
func failWithin(t *testing.T, seed uint64, flt *faults, cut func(*life) (func() error, func(*mark))) bool {
	t.Helper()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1, Align: wal.Align(seed % 3)}), newRand(seed))
	f.open()
	f.fill(8, 20000)
	f.sync()
	f.fill(9, 100)
	awaitUnnamed(t, f)
	do, becomes := cut(f)
	f.note(func(m *mark) {
		next := *m
		becomes(&next)
		m.or = &next
	})
	// The segment that is prepared once the cut lets go is no part of it.
	done := make(chan struct{})
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && (c.Op == durability.OpCreate || c.Op == durability.OpRename) &&
			(strings.HasSuffix(c.Name, ".tmp") && c.NewName == "" || strings.HasSuffix(c.NewName, ".tmp")) {
			<-done
		}
		return flt.hook(c)
	})
	defer remove()
	err := do()
	where, hit := flt.has()
	close(done)
	poisoned := errors.Is(err, wal.ErrPoisoned)
	if err != nil && (!hit || !poisoned || !errors.Is(err, unix.EIO)) {
		t.Fatalf("%s failed: %v", where, err)
	}
	if err == nil { // a file that stays is no reason to fail; the cut is done
		if hit && flt.fired.Op != durability.OpRemove {
			t.Fatalf("%s failed, and the cut says nothing", where)
		}
		f.note(func(m *mark) { *m = *m.or })
	}
	if poisoned {
		for what, err := range map[string]error{
			"append": second(f.log.Append([]byte("x"))), "sync": f.log.Sync(), "checkpoint": f.log.Checkpoint(),
			"front": f.log.TruncateFront(7), "back": f.log.TruncateBack(2), "reset": f.log.Reset(70),
		} {
			if !errors.Is(err, wal.ErrPoisoned) {
				t.Fatalf("%s behind the failure of %s: %v", what, where, err)
			}
		}
		for lsn := f.log.FirstLSN(); lsn <= f.log.DurableLSN(); lsn++ {
			if _, err := f.log.Get(lsn); err != nil {
				t.Fatalf("get of %d behind the failure of %s: %v", lsn, where, err)
			}
		}
	}
	flt.heal()
	f.stop()
	or := newOracle(t, f.opts)
	words := f.before
	f.before = func() string {
		if words != nil {
			return words()
		}
		return fmt.Sprintf("%s failed (phase %d), ", where, flt.phase)
	}
	f.crashes(f.rec.Len(), 6, func(c crash) { or.check(c) })
	f.discard()
	return hit
}

// second returns the error of a call that returns something else besides.
func second[T any](_ T, err error) error { return err }

// awaitUnnamed waits until the preparer is at rest, and the last name that it gave is
// durable, so that the calls of a cut are the same in each run.
func awaitUnnamed(t *testing.T, f *life) {
	t.Helper()
	awaitReady(t, f.log, f.dir(), f.opts.SegmentsAhead)
	for end := time.Now().Add(patience); !namesDurable(f.rec.Events()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the directory is not synced behind the last name")
		}
	}
}

// namesDurable reports whether the directory was synced after the last rename.
func namesDurable(events []durability.Event) bool {
	renamed, synced := -1, -1
	began := map[uint64]int{}
	for i, e := range events {
		switch {
		case e.Phase == durability.Before:
			began[e.ID] = i
			if e.Op == durability.OpRename {
				renamed = i
			}
		case e.Op == durability.OpSyncDir && e.Err == nil:
			synced = began[e.ID]
		}
	}
	return renamed < 0 || synced > renamed
}

// TestOpenBehindAFailedCutLeavesNoStaleCache lets each sync of a cut fail by the
// rule of a kernel that marks the pages clean. What Open recovers then from the
// device is what everybody sees who reads through the cache: of every file by
// which recovery used, and not only of those with the last records.
func TestOpenBehindAFailedCutLeavesNoStaleCache(t *testing.T) {
	for name, cut := range faultCuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := newSeed(t)
			for at := 0; staleAfter(t, seed, at, cut); at++ {
				if at > 50 {
					t.Fatal("the cut has no end")
				}
			}
		})
	}
}

// staleAfter lets the sync number at of a cut fail, and reports whether it has
// so many.
func staleAfter(t *testing.T, seed uint64, at int, cut func(*life) (func() error, func(*mark))) bool {
	t.Helper()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(seed))
	f.rec.LoseOnFailedSync()
	f.open()
	f.fill(8, 20000)
	f.sync()
	f.fill(9, 100)
	awaitUnnamed(t, f)
	flt := &faults{
		match: func(c *durabilitytest.Call) bool { return isSync(c.Op) },
		at:    at, err: unix.EIO, phase: durability.Before,
	}
	remove := durabilitytest.InjectDir(f.root, flt.hook)
	do, _ := cut(f)
	err := do()
	remove()
	where, hit := flt.has()
	if err != nil && (!hit || !errors.Is(err, wal.ErrPoisoned)) {
		t.Fatalf("%s failed: %v", where, err)
	}
	f.stop() // which may fail, too
	remove = f.readLostPages()
	l := openLog(t, f.dir(), f.opts)
	if _, err = l.Append(record(l.LastLSN()+1, 100)); err != nil {
		t.Fatal(err)
	}
	must(t, l.Checkpoint())
	remove()
	first, last := l.FirstLSN(), l.LastLSN()
	rep, err := wal.Verify(f.dir())
	if err != nil || rep.Verdict == wal.Damaged || rep.FirstLSN != first || rep.LastLSN != last {
		t.Errorf("%s failed, the log holds records %d to %d, through the cache: %+v, %v", where, first, last, rep, err)
	}
	must(t, l.Close())
	rep, err = wal.Verify(f.dir())
	if err != nil || rep.Verdict != wal.Clean || rep.FirstLSN != first || rep.LastLSN != last {
		t.Errorf("%s failed, the log was closed with records %d to %d, through the cache: %+v, %v", where, first, last, rep, err)
	}
	return hit
}
