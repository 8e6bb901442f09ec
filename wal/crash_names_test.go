package wal_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestCrashWhereFewerAreAhead opens a log with fewer segments ahead than it has,
// and loses each of the removals at each event: where a segment's removal is lost
// and that of the one before it is not, the one before it looks missing.
func TestCrashWhereFewerAreAhead(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 4}), newRand(newSeed(t)))
	f.open()
	f.append(100)
	f.ready()
	f.close()
	f.opts.SegmentsAhead = 1
	from := f.rec.Len()
	f.open()
	f.append(100)
	f.stop()
	removals := 0
	or := newOracle(t, f.opts)
	for at := from; at <= f.rec.Len(); at++ {
		if e := f.event(at); e.Op == durability.OpRemove && e.Phase == durability.After {
			removals++
		}
		or.holdBackEach(f, at)
	}
	if removals != 3 {
		t.Errorf("%d segments were removed, the test wants 3", removals)
	}
}

// TestCutFilesAreGone lets the power fail as soon as a cut over segments has
// returned: what it removed, whoever verifies the log then does not find behind
// its end.
func TestCutFilesAreGone(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), newRand(newSeed(t)))
	f.open()
	f.fill(12, 9000)
	f.ready()
	returned := make(chan struct{}) // the next segment's name would bring the removals along
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpCreate {
			<-returned
		}
		return nil
	})
	defer remove()
	f.truncateBack(3)
	at := f.rec.Len()
	close(returned)
	f.stop()
	s := &specimen{t: t, dir: fastDir(t)}
	must(t, f.rec.CrashAs(durabilitytest.Drop, f.root, at, nil).WriteTo(s.dir))
	s.dir = filepath.Join(s.dir, logName)
	if names := s.segments(); !slices.Equal(names, []string{firstName}) {
		t.Errorf("segments %v, want the first", names)
	}
	rep, err := wal.Verify(s.dir)
	if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != 3 || rep.DurableLSN != 3 {
		t.Errorf("verify: %+v, %v", rep, err)
	}
}

// strayState is a log with records 1 to 4 in its first segment, of whose next
// ones, which had their temporary names still, a crash left the second alone.
func strayState(t *testing.T) (durabilitytest.Files, mark) {
	t.Helper()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)))
	f.open()
	held := make(chan struct{})
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpRename {
			<-held
		}
		return nil
	})
	defer remove()
	f.fill(9, 9000)
	at := f.rec.Len()
	close(held)
	f.stop()
	state := f.rec.Killed(f.root, at, 1<<30)
	delete(state, logName+"/0000000000000002.tmp") // no sync covers its creation
	return state, f.known(at)
}

// TestStrayTemporaryStaysAway opens a log beside which a segment lies that holds
// records and does not follow it. The log goes on with other records, durably up to
// where that segment begins and beyond, and enters the segment between. Were the
// stray one to come back then, it would be the newest one with a stamp, and all
// before it proved: the log would end with its records.
func TestStrayTemporaryStaysAway(t *testing.T) {
	t.Parallel()
	state, m := strayState(t)
	m.forget()
	f := newLifeAfter(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)), state, m, fastDir(t))
	appended := make(chan struct{})
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpRename {
			<-appended
		}
		return nil
	})
	defer remove()
	f.open()
	if n := f.log.LastLSN(); n != 4 || f.log.Recovery().Verdict != wal.Clean {
		t.Fatalf("the log was %v, and ends with %d", f.log.Recovery().Verdict, n)
	}
	f.fill(12, 100)
	f.checkpoint()
	f.fill(15, 9000) // the last of them in the second segment
	from := f.rec.Len()
	close(appended)
	f.ready()
	f.stop()
	or := newOracle(t, f.opts)
	for at := from; at <= f.rec.Len(); at++ {
		if e := f.event(at); e.Op == durability.OpRename || e.Op == durability.OpSyncDir {
			for choice := range 3 {
				or.holdBack(f, at, choice)
			}
		}
	}
}
