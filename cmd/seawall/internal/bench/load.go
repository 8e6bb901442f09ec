//go:build linux

package bench

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// contender is what is driven: the log, or bare physical work.
type contender interface {
	// append makes one record as durable as the mode asks for. It is called by all
	// writers at once.
	append() error
	// syncs returns how many syncs of records there were. It is called between runs.
	syncs() uint64
	// close gives back what the contender holds. Its files are removed with the
	// directory.
	close() error
}

const (
	// longestNanos is the longest latency that a histogram takes: ten minutes.
	longestNanos = int64(10 * time.Minute)
	// digits is the precision of the histograms: a value is right to 1 %.
	digits = 2
)

// newHistogram returns one for latencies in nanoseconds.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longestNanos, digits) }

// load is how a contender is driven.
type load struct {
	writers  int
	every    int           // one append of so many is timed
	duration time.Duration // of the whole
	quota    int64         // records of each writer at most
}

// driven is what came of it.
type driven struct {
	records int64
	elapsed time.Duration
	latency *hdrhistogram.Histogram
	longest time.Duration // of `every` appends one after another
}

// drive lets the writers append until the time is over, their quota is used up, one of
// them fails or ctx ends, which both are errors. The goroutines have ended when it
// returns.
func (l load) drive(ctx context.Context, c contender) (driven, error) {
	var (
		stop  atomic.Bool
		wg    sync.WaitGroup
		begin = make(chan struct{})
		parts = make([]driven, l.writers)
		fails = make([]error, l.writers)
	)
	runtime.GC() // what others left is not collected on this one's time
	for w := range parts {
		parts[w].latency = newHistogram()
		wg.Go(func() {
			<-begin
			if fails[w] = l.write(c, &parts[w], &stop); fails[w] != nil {
				stop.Store(true)
			}
		})
	}
	undo := context.AfterFunc(ctx, func() { stop.Store(true) })
	defer undo()
	started := time.Now()
	timer := time.AfterFunc(l.duration, func() { stop.Store(true) })
	defer timer.Stop()
	close(begin)
	wg.Wait()
	all := driven{elapsed: time.Since(started), latency: newHistogram()}
	for w := range parts {
		if fails[w] != nil {
			return all, fails[w]
		}
		all.records += parts[w].records
		all.longest = max(all.longest, parts[w].longest)
		all.latency.Merge(parts[w].latency)
	}
	return all, ctx.Err()
}

// write is one writer. It looks at the clock twice in `every` appends, and appends so
// many at least.
func (l load) write(c contender, d *driven, stop *atomic.Bool) error {
	var last time.Time
	for d.records < l.quota {
		t := time.Now()
		if err := c.append(); err != nil {
			return err
		}
		// No latency is longer than the histogram takes: cut, not lost.
		if err := d.latency.RecordValue(min(longestNanos, int64(time.Since(t)))); err != nil {
			return err
		}
		d.records++
		if !last.IsZero() {
			d.longest = max(d.longest, t.Sub(last))
		}
		last = t
		for n := 1; n < l.every && d.records < l.quota; n++ {
			if err := c.append(); err != nil {
				return err
			}
			d.records++
		}
		if stop.Load() {
			return nil
		}
	}
	return nil
}

// clockNanos returns what a look at the clock costs, in nanoseconds.
func clockNanos() float64 {
	const looks = 1000
	t := time.Now()
	last := t
	for range looks {
		last = time.Now()
	}
	return float64(last.Sub(t)) / looks
}
