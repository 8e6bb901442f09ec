//go:build linux

package seawall_test

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// counting counts events.
type counting struct{ n atomic.Int64 }

// Trace implements durability.Tracer.
func (c *counting) Trace(durability.Event) { c.n.Add(1) }

// fastDir returns a directory in memory, where there is one.
func fastDir(t *testing.T) string {
	t.Helper()
	if st, err := os.Stat("/dev/shm"); err != nil || !st.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "seawall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestLives: each life is long enough and rotates, and a few of them have every
// set of options and do all that there is to do.
func TestLives(t *testing.T) {
	t.Parallel()
	base := fastDir(t)
	seen := map[string]int{}
	for seed := range uint64(50) {
		events := &counting{}
		dir := fmt.Sprintf("%s/%d", base, seed)
		l, err := seawall.Live(dir, seed, seawall.Log{}, events)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if n := events.n.Load(); n < model.MinOperations || l.Rotations == 0 {
			t.Errorf("seed %d: %d events, %d rotations", seed, n, l.Rotations)
		}
		mode := "a clock"
		switch l.Options.Sync {
		case wal.SyncManual:
			mode = "manual"
		case wal.SyncEach:
			mode = "each"
		}
		seen[fmt.Sprintf("sync by %s, align %d", mode, l.Options.Align)]++
		seen[fmt.Sprintf("%d segments ahead", l.Options.SegmentsAhead)]++
		seen[fmt.Sprintf("calm %t", l.Calm)]++
		for name, n := range l.Did {
			seen[name] += n
		}
		seen["recycled"] += int(l.Recycled)
	}
	want := append(seawall.Steps(), "recycled", "1 segments ahead", "2 segments ahead", "3 segments ahead", "calm true", "calm false")
	for _, mode := range []string{"manual", "each", "a clock"} {
		for align := range 3 {
			want = append(want, fmt.Sprintf("sync by %s, align %d", mode, align))
		}
	}
	for _, name := range want {
		if seen[name] == 0 {
			t.Errorf("no life has: %s", name)
		}
		t.Logf("%6d %s", seen[name], name)
	}
}

// TestBusyLives: some busy lives do all that there is to do in them, and come to
// every situation. What a clock has synced in some of them there is no coming to: where
// ten lives are not enough, others follow.
func TestBusyLives(t *testing.T) {
	t.Parallel()
	base, seen := fastDir(t), map[string]int{}
	want := append(seawall.BusySteps(), (&seawall.Log{Busy: true}).Situations()...)
	all := func() bool { return !slices.ContainsFunc(want, func(name string) bool { return seen[name] == 0 }) }
	for seed := uint64(0); seed < 10 || seed < 200 && !all(); seed++ {
		events := &counting{}
		l, err := seawall.Live(fmt.Sprintf("%s/%d", base, seed), seed, seawall.Log{Busy: true}, events)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n := events.n.Load(); n < model.MinOperations || l.Rotations == 0 {
			t.Errorf("seed %d: %d events, %d rotations", seed, n, l.Rotations)
		}
		for _, did := range []map[string]int{l.Did, l.Situated} {
			for name, n := range did {
				seen[name] += n
			}
		}
	}
	for _, name := range want {
		if seen[name] == 0 {
			t.Errorf("no life has: %s", name)
		}
		t.Logf("%6d %s", seen[name], name)
	}
}

// TestPairedLives: each life of pairs has each call come during each other one, and what they
// return is explained by some order of them.
func TestPairedLives(t *testing.T) {
	t.Parallel()
	base, did := fastDir(t), map[string]int{}
	for seed := range uint64(3) {
		events := &counting{}
		l, err := seawall.Live(fmt.Sprintf("%s/%d", base, seed), seed, seawall.Log{Paired: true}, events)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		t.Logf("seed %d: %d events, %d rotations, %d recycled", seed, events.n.Load(), l.Rotations, l.Recycled)
		for _, name := range seawall.Pairs() {
			if n := l.Did[name]; n != 1 && (n != 0 || l.Options.Sync != wal.SyncEach) {
				t.Errorf("seed %d: %s: %d times, want once", seed, name, n)
			}
			did[name] += l.Did[name]
		}
		for _, name := range seawall.Bits() {
			did[name] += l.Did[name]
		}
	}
	for _, name := range append(seawall.Pairs(), seawall.Bits()...) {
		if did[name] == 0 {
			t.Errorf("no life has: %s", name)
		}
	}
}

// TestPairedLivesFind: a life of pairs tells of a log that does not do what its calls say.
func TestPairedLivesFind(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]seawall.Log{
		"a reader that goes on with what was cut away": {OpenLog: func(dir string, o wal.Options) (*wal.Log, error) {
			return waltest.OpenWrong(dir, o, waltest.CutUnseen)
		}},
		"an append that appends twice": {Before: func(l *wal.Log) seawall.Appender { return twice{l} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Paired = true
			var err error
			base := fastDir(t)
			for seed := uint64(0); err == nil && seed < 40; seed++ { // about half of all lives find it
				_, err = seawall.Live(fmt.Sprintf("%s/%d", base, seed), seed, s, &counting{})
			}
			if err == nil || campaign.AsBroken(err, "").Clause == "" {
				t.Fatalf("not found: %v", err)
			}
			t.Log(err)
		})
	}
}

// twice appends all batches twice.
type twice struct{ *wal.Log }

func (a twice) AppendBatch(ps [][]byte) (wal.LSN, error) {
	lsn, err := a.Log.AppendBatch(ps)
	if err == nil {
		_, err = a.Log.AppendBatch(ps)
	}
	return lsn, err
}
