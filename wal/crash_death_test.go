package wal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// afterDeath returns the life that begins where the process of f dies after so
// many events: the files are what the page cache holds, and the recorder goes on
// knowing what of it is durable. A power loss in the new life may still take what
// the dead process stored and did not sync.
func (f *life) afterDeath(at int) *life {
	f.t.Helper()
	g := &life{t: f.t, rec: newRecorder(), root: f.root, opts: f.opts, rng: f.rng, tag: f.rng.Uint64()}
	for _, e := range f.rec.Events()[:at] {
		g.rec.Trace(e)
	}
	state := f.rec.Killed(f.root, at, 1<<30)
	entries, err := os.ReadDir(f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if err = os.RemoveAll(filepath.Join(f.root, e.Name())); err != nil {
			f.t.Fatal(err)
		}
	}
	if err = state.WriteTo(f.root); err != nil {
		f.t.Fatal(err)
	}
	m := f.known(at)
	m.at = g.rec.Len()
	g.marks = []mark{m}
	g.prepareOptions()
	g.opts.Sync = wal.SyncManual
	return g
}

// atRest reports whether no operation but a sync is under way behind the events:
// a process that dies within one leaves either side of it, which are events too.
func atRest(events []durability.Event) bool {
	open := make(map[uint64]bool)
	for _, e := range events {
		switch {
		case e.Op == durability.OpStore, e.Op == durability.OpMsync, e.Op == durability.OpSync, e.Op == durability.OpDatasync, e.Op == durability.OpSyncDir:
		case e.Phase == durability.Before:
			open[e.ID] = true
		default:
			delete(open, e.ID)
		}
	}
	return len(open) == 0
}

// appendBeside appends a record while another call is under way, which may be a
// cut: the log may hold it then, whichever side of the cut is found.
func (f *life) appendBeside(n int) {
	f.t.Helper()
	lsn := f.log.LastLSN() + 1
	p := f.payload(lsn, n)
	f.noteBoth(func(m *mark) {
		m.records = append(m.records[:len(m.records):len(m.records)], seawall.Begun{Sum: seawall.Sum(p)})
	})
	got, err := f.log.Append(p)
	if err != nil || got != lsn {
		f.t.Fatalf("append of record %d beside another call: LSN %d, %v", lsn, got, err)
	}
	f.noteBoth(func(m *mark) { m.appended = lsn })
}

// noteBoth is note for both sides of a cut.
func (f *life) noteBoth(change func(*mark)) {
	f.note(func(m *mark) {
		change(m)
		if m.or != nil {
			or := *m.or
			change(&or)
			m.or = &or
		}
	})
}

// beside calls do, and before the nth sync of a segment in it appends records of
// those sizes.
func (f *life) beside(nth int, sizes []int, do func()) {
	n := 0
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase != durability.Before || c.Op != durability.OpMsync && c.Op != durability.OpSync || !strings.HasSuffix(c.Name, ".wal") {
			return nil
		}
		if n++; n == nth {
			for _, size := range sizes {
				f.appendBeside(size)
			}
		}
		return nil
	})
	defer remove()
	do()
}

// besides are workloads in which an appender, which rotates, comes between the
// syncs of another call.
func besides() (all []workload) {
	for nth := 1; nth <= 4; nth++ {
		all = append(all, workload{fmt.Sprintf("beside sync %d of a front cut", nth), wal.Options{SegmentsAhead: 2}, func(f *life) {
			f.open()
			f.fill(8, 9000)
			f.ready()
			f.sync()
			before := f.log.LastLSN()
			f.beside(nth, []int{9000, 9000}, func() {
				f.note(func(m *mark) { n := *m; n.front = 5; m.or = &n })
				if err := f.log.TruncateFront(5); err != nil {
					f.t.Fatal(err)
				}
				f.note(func(m *mark) { *m = *m.or; m.durable = max(m.durable, before) })
			})
			f.fill(13, 9000)
			f.sync()
			f.append(10)
		}}, workload{fmt.Sprintf("beside sync %d of a cut of all", nth), wal.Options{SegmentsAhead: 2}, func(f *life) {
			f.open()
			f.fill(4, 9000)
			f.ready()
			f.sync()
			f.beside(nth, []int{9000, 9000}, func() {
				f.note(func(m *mark) { n := *m; n.front = 5; m.or = &n })
				if err := f.log.TruncateFront(5); err != nil {
					f.t.Fatal(err)
				}
				f.note(func(m *mark) { *m = *m.or })
			})
			f.append(10)
			f.sync()
			f.append(10)
		}}, workload{fmt.Sprintf("beside sync %d of a checkpoint", nth), wal.Options{SegmentsAhead: 2}, func(f *life) {
			f.open()
			f.fill(6, 9000)
			f.ready()
			before := f.log.LastLSN()
			f.beside(nth, []int{9000, 9000, 9000}, func() {
				if err := f.log.Checkpoint(); err != nil {
					f.t.Fatal(err)
				}
				f.note(func(m *mark) { m.durable = max(m.durable, before) })
			})
			f.append(9000)
			f.sync()
			f.append(10)
		}})
	}
	return all
}

// TestDeathThenPowerLoss kills the process at events of many workloads, opens the
// log that it leaves, appends and syncs, and lets the power fail at each event of
// that: what the dead process left unsynced in the page cache may be lost then,
// and whatever Open relied on of it is not.
//
// A few deaths of each workload are tried by default, all of them where a budget
// is set.
func TestDeathThenPowerLoss(t *testing.T) {
	const deaths = 2
	for i, w := range append(append(besides(), cuts...), workloads...) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			rng := newRand(newSeed(t))
			f := newLife(t, withMin(w.opts), rng)
			w.run(f)
			f.stop()
			var at []int
			for n := 1; n <= f.rec.Len(); n++ {
				if atRest(f.rec.Events()[:n]) {
					at = append(at, n)
				}
			}
			step := 1
			if !thorough() {
				step = (len(at) + deaths - 1) / deaths
			}
			or := newOracle(t, f.opts)
			for n := len(at) - 1 - i%step; n >= 0; n -= step {
				f.dieThenLosePower(or, at[n])
			}
			or.report(fmt.Sprintf("%d events, every %dth of %d deaths", f.rec.Len(), step, len(at)))
		})
	}
}

// dieThenLosePower kills the process after so many events, lets another one
// recover the log and go on, and judges what power losses leave of that.
func (f *life) dieThenLosePower(or *oracle, at int) {
	f.t.Helper()
	g := f.afterDeath(at)
	g.before = func() string { return "the process died after\n" + f.describe(at) }
	g.open()
	g.wantOneOutcome("opened")
	g.append(100)
	g.sync()
	opened := g.rec.Len()
	g.stop()
	for e := at; e <= opened; e++ {
		modes := []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Keep, durabilitytest.Mix}
		if thorough() {
			modes = append(modes, durabilitytest.Mix, durabilitytest.Mix)
		}
		for _, mode := range modes {
			or.check(crash{
				state: g.rec.CrashAs(mode, g.root, e, g.rng), mark: g.known(e),
				words: func() string { return fmt.Sprintf("%s%v\n", g.describe(e), mode) },
			})
		}
	}
}

// TestNamesThatComeLate lets the appender run ahead of the goroutine that gives
// segments their names, by as many segments as there may be, and kills the process
// at each event of the renames that follow: what Open then names itself must not
// become durable before the names in front of it.
func TestNamesThatComeLate(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)))
	f.open()
	f.append(10)
	late := make(chan struct{})
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpRename {
			<-late
		}
		return nil
	})
	defer remove()
	f.fill(14, 9000)
	first := f.rec.Len()
	close(late)
	f.sync()
	f.stop()
	or, renames := newOracle(t, f.opts), 0
	for at := first; at <= f.rec.Len(); at++ {
		events := f.rec.Events()[:at]
		if e := events[at-1]; e.Op == durability.OpRename && e.Phase == durability.After {
			renames++
		}
		if atRest(events) {
			f.dieThenLosePower(or, at)
		}
	}
	if renames < 2 {
		t.Fatalf("%d names came late", renames)
	}
	or.report(fmt.Sprintf("%d names, %d events behind the first", renames, f.rec.Len()-first))
}

// TestOpenKeepsTheFrontItFound kills a process at each event of a front cut that
// removes no segment, beside which an appender goes on into the next one: a front
// that Open finds in the page cache is the log's also after a power loss.
func TestOpenKeepsTheFrontItFound(t *testing.T) {
	t.Parallel()
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), newRand(newSeed(t)))
	f.open()
	f.fill(4, 9000) // a whole segment, which the next one's stamp proves
	f.ready()
	f.sync()
	first := f.rec.Len()
	f.beside(1, []int{9000, 9000}, func() {
		f.note(func(m *mark) { n := *m; n.front = 2; m.or = &n })
		must(t, f.log.TruncateFront(2))
		f.note(func(m *mark) { *m = *m.or })
	})
	last := f.rec.Len()
	f.stop()
	or, tried := newOracle(t, f.opts), 0
	for at := first; at <= last; at++ {
		if atRest(f.rec.Events()[:at]) {
			f.dieThenLosePower(or, at)
			tried++
		}
	}
	or.report(fmt.Sprintf("%d of %d events", tried, last-first))
}

// TestFrontOutlivesLeftovers cuts all that a log holds from its front while an
// appender goes on into the next segment, whose stamp knows the old front. Then
// one process after the other opens the log and is killed: the front was
// acknowledged, and stays.
func TestFrontOutlivesLeftovers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), logName)
	o := small()
	o.SegmentsAhead = 2
	l := openLog(t, dir, o)
	must(t, moreOf(l, 4, 9000))
	must(t, l.Sync())
	awaitReady(t, l, dir, 2)
	appended := false
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpMsync && c.Offset != 0 && !appended {
			appended = true
			return moreOf(l, 3, 9000)
		}
		return nil
	})
	err := l.TruncateFront(5)
	remove()
	must(t, err)
	if l.FirstLSN() != 5 || !appended {
		t.Fatalf("the first is %d, appended meanwhile %v", l.FirstLSN(), appended)
	}
	must(t, l.Sync())
	for round := range 3 {
		dir = take(t, dir).dir // what a process that is killed now leaves
		l = openLog(t, dir, o)
		if l.FirstLSN() != 5 || l.LastLSN() != 7 {
			t.Fatalf("open %d: %d to %d", round+1, l.FirstLSN(), l.LastLSN())
		}
	}
}
