package wal_test

import (
	"context"
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
