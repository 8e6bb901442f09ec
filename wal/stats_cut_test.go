package wal_test

import (
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestCutLowersBothEndsAtOnce stops a cut where Stats could look: the last record
// and the last durable one are lowered together, under the lock that Stats holds.
func TestCutLowersBothEndsAtOnce(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 9, 20000)
	awaitPrepared(t, l, dir)
	must(t, l.Sync()) // the first segment is locked again to be cut
	held := make(chan func(), 1)
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpLock && c.Phase == durability.After && c.Name == firstName {
			held <- wal.HoldAppends(l)
		}
		return nil
	})
	done := startBlocked(t, ").tell", func() error { return l.TruncateBack(1) })
	if l.LastLSN() != 9 || l.DurableLSN() != 9 {
		t.Errorf("the last record is %d, the last durable one %d, while Stats looks", l.LastLSN(), l.DurableLSN())
	}
	(<-held)()
	must(t, <-done)
	if s := l.Stats(); s.AtRisk != 0 || s.AtRiskRecords != 0 {
		t.Errorf("%d bytes of %d records are at risk", s.AtRisk, s.AtRiskRecords)
	}
}

// TestStatsBesideCuts asks for the counters while the back is cut and the log is
// reset: what is at risk is never more than what there is.
func TestStatsBesideCuts(t *testing.T) {
	l, _ := newTestLog(t, small())
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s := l.Stats(); s.AtRiskRecords > 4 || s.AtRisk < 0 {
					t.Errorf("%d bytes of %d records are at risk", s.AtRisk, s.AtRiskRecords)
					return
				}
			}
		})
	}
	for i := range 300 {
		appendRecords(t, l, 4, 10)
		if err := l.TruncateBack(l.LastLSN() - 3); err != nil {
			t.Error(err)
		}
		if i%60 == 0 {
			if err := l.Reset(l.LastLSN() + 2); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	work.Wait()
}
