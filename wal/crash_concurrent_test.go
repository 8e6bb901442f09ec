package wal_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestCrashConcurrent crashes logs that several goroutines append to, commit
// and checkpoint at once.
func TestCrashConcurrent(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states := 0
	points := 25
	if thorough() {
		points = 80
	}
	for round := range rounds(t, 2, 8) {
		rng := newRand(seed + uint64(round))
		o := randomOptions(rng)
		f := newLife(t, o, rng)
		f.open()
		f.appendAtOnce(4, 12, round%2 == 0)
		f.stop()
		or := newOracle(t, o)
		for range points {
			f.crashes(rng.IntN(f.rec.Len()+1), 2, func(c crash) { or.check(c) })
		}
		states += or.states
	}
	t.Logf("%d states", states)
}

// appendAtOnce appends from several goroutines, that many records each. The
// marks get the records in the order that the LSNs say, once all are known.
func (f *life) appendAtOnce(goroutines, each int, commit bool) {
	f.t.Helper()
	records := make([]seawall.Begun, goroutines*each)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				p := f.payload(wal.LSN(1000*g+i+1), 10+(g*977+i*3301)%5000)
				lsn, err := f.log.Append(p)
				if err != nil {
					f.t.Errorf("append: %v", err)
					return
				}
				records[lsn-1] = seawall.Begun{Sum: seawall.Sum(p)}
				// All with a lower LSN survive the process, too.
				f.note(func(m *mark) {
					m.appended = max(m.appended, lsn)
					if f.opts.Sync == wal.SyncEach {
						m.durable = max(m.durable, lsn)
					}
				})
				switch {
				case commit && i%3 == 0:
					err = f.log.Commit(context.Background(), lsn)
				case i%7 == 6:
					err = f.log.Checkpoint()
				default:
					continue
				}
				if err != nil {
					f.t.Errorf("commit: %v", err)
				}
				f.note(func(m *mark) { m.durable = max(m.durable, lsn) })
			}
		})
	}
	wg.Wait()
	f.mu.Lock() // a sync in the background may acknowledge still
	defer f.mu.Unlock()
	for i := range f.marks {
		f.marks[i].records = records
	}
}

// TestCrashInTemporarySegments keeps segments from getting their names while
// the appender fills them: the death of the process takes no record in them
// (C1), and a power loss none that was acknowledged, which is none.
func TestCrashInTemporarySegments(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), rng)
	f.open()
	held := make(chan struct{})
	durabilitytest.Inject(t, f.root, func(c *durabilitytest.Call) error {
		if c.Op == durability.OpSync && c.Phase == durability.Before && strings.HasSuffix(c.Name, ".tmp") {
			<-held
		}
		return nil
	})
	for range 16 {
		f.append(9000)
	}
	if f.log.DurableLSN() != 0 || f.log.Stats().Rotations < 2 {
		t.Fatalf("durable %d, %d rotations", f.log.DurableLSN(), f.log.Stats().Rotations)
	}
	inTemporaries := f.rec.Len()
	// A sync waits for the names.
	done := make(chan error, 1)
	go func() { done <- f.log.Commit(context.Background(), 1) }()
	select {
	case err := <-done:
		if err == nil && f.log.DurableLSN() > 6 {
			t.Errorf("durable %d before the segment of record 7 has its name", f.log.DurableLSN())
		}
		done <- err
	default:
	}
	close(held)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.sync()
	f.append(100)
	f.stop()
	or := newOracle(t, f.opts)
	for at := range f.moments() {
		if at < inTemporaries && rng.IntN(2) == 0 {
			continue
		}
		f.crashes(at, 2, func(c crash) {
			or.check(c)
			if rng.IntN(300) == 0 {
				or.nest(f.opts, c, rng, 1)
			}
		})
	}
	or.report(fmt.Sprintf("%d events, %d before the first name", f.rec.Len(), inTemporaries))
}
