package wal_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// asked is a context that says when it is first asked whether it has ended:
// Commit does that when it knows which record it is to wait for.
type asked struct {
	context.Context
	once  sync.Once
	begun chan struct{}
}

func (a *asked) Err() error {
	a.once.Do(func() { close(a.begun) })
	return a.Context.Err()
}

// TestCommitIsOvertakenByACut lets a commit begin while a cut is under way that
// removes its record: the cut makes that durable first, so the commit has nothing
// to wait for, and above all not for another record with its LSN.
func TestCommitIsOvertakenByACut(t *testing.T) {
	for name, cut := range map[string]func(*wal.Log) error{
		"back":               func(l *wal.Log) error { return l.TruncateBack(6) },
		"back over segments": func(l *wal.Log) error { return l.TruncateBack(1) },
		"reset":              func(l *wal.Log) error { return l.Reset(2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 7, 20000)
			awaitPrepared(t, l, dir)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a := &asked{Context: ctx, begun: make(chan struct{})}
			done := make(chan error, 1)
			var once sync.Once
			remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
				if c.Op == durability.OpMsync && c.Phase == durability.Before {
					once.Do(func() {
						go func() { done <- l.Commit(a, 7) }()
						<-a.begun
					})
				}
				return nil
			})
			defer remove()
			must(t, cut(l))
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("commit: %v", err)
				}
			case <-time.After(patience):
				cancel()
				t.Errorf("the commit waits for a record that was cut: %v", <-done)
			}
		})
	}
}

// TestNothingIsAtRiskBehindAReset: what a reset leaves is durable, and counted as
// that; a checkpoint of it has nothing to sync.
func TestNothingIsAtRiskBehindAReset(t *testing.T) {
	l, _ := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	must(t, l.Reset(9))
	s := l.Stats()
	if s.AtRisk != 0 || s.AtRiskRecords != 0 {
		t.Errorf("%d bytes of %d records are at risk", s.AtRisk, s.AtRiskRecords)
	}
	must(t, l.Checkpoint())
	if now := l.Stats().Syncs; now != s.Syncs {
		t.Errorf("%d syncs for a checkpoint of what is durable", now-s.Syncs)
	}
	appendRecords(t, l, 1, 100)
	if s = l.Stats(); s.AtRisk != 128 || s.AtRiskRecords != 1 {
		t.Errorf("one record appended: %d bytes of %d records are at risk", s.AtRisk, s.AtRiskRecords)
	}
}

// late is a context that holds a commit back, when that knows how many cuts there
// were and before it looks whether there are more, until it is let go.
type late struct {
	context.Context
	once        sync.Once
	begun, goOn chan struct{}
}

func (c *late) Done() <-chan struct{} {
	c.once.Do(func() {
		close(c.begun)
		<-c.goOn
	})
	return c.Context.Done()
}

// TestCommitBesideAResetThatIsNotDurable appends a record while a reset syncs
// what was there before, and lets a commit of it see the reset before that is
// durable. The commit says that the record need not be waited for: power loss at
// that moment leaves the log as it was, and then the record is in it.
func TestCommitBesideAResetThatIsNotDurable(t *testing.T) {
	t.Parallel()
	for _, next := range []wal.LSN{2, 50} { // below the record, and above it
		f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)))
		f.open()
		f.fill(3, 100)
		f.ready()
		c := &late{Context: t.Context(), begun: make(chan struct{}), goOn: make(chan struct{})}
		committed := make(chan error)
		syncs, at := 0, 0
		remove := durabilitytest.InjectDir(f.root, func(call *durabilitytest.Call) error {
			if call.Op != durability.OpMsync || call.Phase != durability.Before {
				return nil
			}
			switch syncs++; {
			case syncs == 1: // of the records before
				f.append(100)
				go func() { committed <- f.log.Commit(c, 4) }()
				<-c.begun
			case at == 0 && call.Name == secondName: // of the reset's stamp
				close(c.goOn)
				must(t, <-committed)
				f.note(func(m *mark) { m.durable = 4 })
				at = f.rec.Len()
			}
			return nil
		})
		f.reset(next)
		remove()
		f.stop()
		or := newOracle(t, f.opts)
		for i := range 2 {
			f.crashes(at+i, 4, func(c crash) { or.check(c) })
		}
	}
}

// TestResetLeavesNothingBefore loses power right behind a reset: none of the segments
// that it removed comes back right before the log's, where the loss of one stamp
// would make their records, with LSNs that were given again, the log's own.
func TestResetLeavesNothingBefore(t *testing.T) {
	t.Parallel()
	for _, records := range []wal.LSN{3, 14} {
		f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)))
		f.open()
		f.fill(records, 9000)
		f.sync()
		f.ready()
		f.reset(3)
		at := f.rec.Len()
		first := f.log.Segments()[0].Name
		f.stop()
		for choice := range 20 {
			mode := durabilitytest.Mix
			if choice == 0 {
				mode = durabilitytest.Drop
			}
			state := f.rec.CrashAs(mode, f.root, at, f.rng)
			if state[logName+"/"+first] == nil {
				t.Fatalf("%s is not there", first)
			}
			for name := range state {
				var before, of uint64
				_, berr := fmt.Sscanf(name, logName+"/%016x.wal", &before)
				_, oerr := fmt.Sscanf(first, "%016x.wal", &of)
				if berr == nil && oerr == nil && before+1 == of {
					t.Fatalf("of %d records: %s came back before %s", records, name, first)
				}
			}
		}
	}
}
