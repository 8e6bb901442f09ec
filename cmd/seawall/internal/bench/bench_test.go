//go:build linux

package bench_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/cmd/seawall/internal/bench"
	"github.com/seawall-wal/seawall/wal"
)

// small returns a measurement that takes some tens of milliseconds, in a directory that
// must be empty when the test ends.
func small(t *testing.T) bench.Config {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return bench.Config{
		Dir: dir, Writers: 1, Size: 100, Sync: wal.SyncEach, Runs: 2,
		Duration: 10 * time.Millisecond, Warmup: 2 * time.Millisecond, SegmentBytes: 256 << 10,
	}
}

// TestRun measures in each mode. It asks nothing of the speeds.
func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*bench.Config)
		mode   string
		limits []string
	}{
		"each":         {func(*bench.Config) {}, "durable", []string{"write", "store"}},
		"each, many":   {func(c *bench.Config) { c.Writers = 8 }, "durable", []string{"group"}},
		"manual":       {func(c *bench.Config) { c.Sync = wal.SyncManual }, "unsynced", []string{"copy"}},
		"manual, many": {func(c *bench.Config) { c.Sync, c.Writers = wal.SyncManual, 3 }, "unsynced", []string{"copy"}},
		"every":        {func(c *bench.Config) { c.Sync = wal.SyncEvery(time.Millisecond) }, "unsynced", []string{"copy"}},
		"empty":        {func(c *bench.Config) { c.Sync, c.Size = wal.SyncManual, 0 }, "unsynced", []string{"copy"}},
		"one, cold":    {func(c *bench.Config) { c.Runs, c.Warmup = 1, 0 }, "durable", []string{"write", "store"}},
		"limited":      {func(c *bench.Config) { c.Sync, c.Limit = wal.SyncManual, 1280 }, "unsynced", []string{"copy"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := small(t)
			test.change(&c)
			r, err := bench.Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			checkResult(t, &c, r)
			var names []string
			for _, l := range r.Limits {
				names = append(names, l.Name)
			}
			if r.Mode != test.mode || !slices.Equal(names, test.limits) {
				t.Errorf("mode %s against %q, want %s against %q", r.Mode, names, test.mode, test.limits)
			}
			if name == "limited" && r.Log.Records > 2*10 {
				t.Errorf("%d records in 2 runs of 10 at most", r.Log.Records)
			}
		})
	}
}

// checkResult checks what holds of each result.
func checkResult(t *testing.T, c *bench.Config, r *bench.Result) {
	t.Helper()
	for _, m := range append([]bench.Measured{r.Log}, r.Limits...) {
		checkMeasured(t, c, r, &m)
	}
	if len(r.Ratios) != len(r.Limits) {
		t.Errorf("%d ratios for %d limits", len(r.Ratios), len(r.Limits))
	}
	for _, ratio := range r.Ratios {
		if !(0 < ratio.Min && ratio.Min <= ratio.Median && ratio.Median <= ratio.Max && !math.IsInf(ratio.Max, 0)) {
			t.Errorf("the ratio is %+v", ratio)
		}
	}
	// The last log holds its first records, those that warmed it up and one run's.
	if least := r.Young.Records + int64(c.Writers); r.VerifiedRecords < least {
		t.Errorf("%d records verified, want %d at least", r.VerifiedRecords, least)
	}
	if r.Young.Records < 1 || r.Young.NSPerRecord <= 0 || r.ClockNS <= 0 {
		t.Errorf("young %+v, clock %v", r.Young, r.ClockNS)
	}
	if r.Noisy != (r.NoisyReason != "") || r.LimitSpread < 0 {
		t.Errorf("noisy %v, because %q, spread %v", r.Noisy, r.NoisyReason, r.LimitSpread)
	}
	if m := r.Machine; m.Kernel == "" || m.Cores < 1 || m.Filesystem == "" || m.Go == "" || m.Date.IsZero() {
		t.Errorf("the machine is %+v", m)
	}
}

// checkMeasured checks what holds of each contender.
func checkMeasured(t *testing.T, c *bench.Config, r *bench.Result, m *bench.Measured) {
	t.Helper()
	if len(m.RunsNS) != c.Runs || m.Records < int64(c.Runs*c.Writers) || m.NSPerRecord <= 0 || m.Seconds <= 0 {
		t.Errorf("%s: %d records, %v ns, %v s", m.Name, m.Records, m.RunsNS, m.Seconds)
	}
	l := m.Latency
	if !slices.IsSorted([]int64{0, l.P50, l.P90, l.P99, l.P999, l.Max, l.Longest}) {
		t.Errorf("%s: percentiles fall: %+v", m.Name, l)
	}
	// One append of so many is timed, and those of the end that are fewer.
	every := int64(r.SampleEvery)
	if most := m.Records/every + int64(c.Runs*c.Writers); l.Samples < m.Records/every || l.Samples > most {
		t.Errorf("%s: %d of %d records timed, one in %d", m.Name, l.Samples, m.Records, every)
	}
	switch {
	case r.Mode != "durable":
	case m.Syncs == 0 || m.RecordsPerSync == nil:
		t.Errorf("%s: durable without a sync", m.Name)
	case m.Name != "log" && c.Writers == 1 && m.Syncs != uint64(m.Records):
		t.Errorf("%s: %d syncs for %d records of one writer", m.Name, m.Syncs, m.Records)
	case *m.RecordsPerSync > float64(c.Writers)+1:
		t.Errorf("%s: %v records a sync of %d writers", m.Name, *m.RecordsPerSync, c.Writers)
	}
	p := m.PerRecord
	for what, v := range map[string]*float64{
		"dirtied": p.DirtiedBytes, "device": p.DeviceBytes, "calls": p.ReadWriteCalls, "minor": &p.MinorFaults, "major": &p.MajorFaults,
	} {
		if v != nil && (*v < 0 || math.IsNaN(*v) || math.IsInf(*v, 0)) {
			t.Errorf("%s: %s is %v a record", m.Name, what, *v)
		}
	}
}

// TestRunRefuses: what cannot be measured is refused before anything is made.
func TestRunRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*bench.Config)
		want   error
	}{
		"writers":  {func(c *bench.Config) { c.Writers = 0 }, bench.ErrConfig},
		"runs":     {func(c *bench.Config) { c.Runs = 0 }, bench.ErrConfig},
		"duration": {func(c *bench.Config) { c.Duration = 0 }, bench.ErrConfig},
		"warm-up":  {func(c *bench.Config) { c.Warmup = -1 }, bench.ErrConfig},
		"size":     {func(c *bench.Config) { c.Size = 1 << 19 }, bench.ErrConfig},
		"limit":    {func(c *bench.Config) { c.Limit = 100 }, bench.ErrConfig},
		"segment":  {func(c *bench.Config) { c.SegmentBytes++ }, wal.ErrOptions},
		"missing":  {func(c *bench.Config) { c.Dir += "/missing" }, fs.ErrNotExist},
		"space":    {func(c *bench.Config) { c.Limit = 1 << 60 }, wal.ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			c := small(t)
			test.change(&c)
			if r, err := bench.Run(context.Background(), c); !errors.Is(err, test.want) || r != nil {
				t.Errorf("returned %v, %v, want %v", r, err, test.want)
			}
		})
	}
}

// TestRunCancelled: a context that ends, ends the measurement, wherever it is.
func TestRunCancelled(t *testing.T) {
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 30 * time.Millisecond} {
		c := small(t)
		c.Duration, c.Limit = time.Hour, 64<<20
		ctx, cancel := context.WithTimeout(context.Background(), after)
		defer cancel()
		if r, err := bench.Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) || r != nil {
			t.Errorf("after %v: %v, %v", after, r, err)
		}
	}
}

// TestNoise: the reasons name what they rest on.
func TestNoise(t *testing.T) {
	share := func(v float64) *float64 { return &v }
	for name, test := range map[string]struct {
		spread float64
		others *float64
		want   string
	}{
		"quiet":   {0.1, share(0.05), ""},
		"unknown": {0.1, nil, ""},
		"spread":  {0.5, nil, "the limit itself (copy) spread by 50 % over the runs (bound 25 %)"},
		"others":  {0.1, share(0.4), "others took 40 % of the processors (bound 20 %)"},
		"both": {
			0.5, share(0.4),
			"the limit itself (copy) spread by 50 % over the runs (bound 25 %); others took 40 % of the processors (bound 20 %)",
		},
	} {
		if got := bench.Noise(test.spread, test.others, "copy"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := bench.Spread([]float64{12, 8, 10}); got != 0.4 {
		t.Errorf("8, 10 and 12 spread by %v, want 0.4", got)
	}
}

// TestField: a word that ends another one is not taken for it.
func TestField(t *testing.T) {
	io := []byte("rchar: 1\nsyscr: 22\ncancelled_write_bytes: 5\nwrite_bytes: 4096\n")
	for word, want := range map[string]int64{"rchar:": 1, "syscr:": 22, "write_bytes:": 4096, "syscw:": -1} {
		if got := bench.Field(io, word); got != want {
			t.Errorf("%s %d, want %d", word, got, want)
		}
	}
}
