//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// ErrLeft reports a directory that could not be removed. The caller removes it: it holds
// nothing but scratch files.
var ErrLeft = errors.New("cannot remove the scratch directory")

// Run measures, which takes about Runs times Duration and Warmup for each contender. It
// returns ErrConfig, an error of the directory, the disk or the log, or ctx's own when
// that ends. However it ends, short of the death of the process, what it made is removed, or ErrLeft is
// among what it returns.
func Run(ctx context.Context, c Config) (result *Result, err error) {
	if c, err = c.withDefaults(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.Dir, "seawall-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{Config: c, dir: dir, meter: newMeter(dir)}
	defer func() {
		b.meter.close()
		err = errors.Join(err, b.closeLimits())
		if rerr := os.RemoveAll(dir); rerr != nil {
			err = errors.Join(err, fmt.Errorf("%w %s: %w", ErrLeft, dir, rerr))
		}
		if err != nil {
			result, err = nil, spaceError(err)
		}
	}()
	if err = b.checkSpace(); err != nil {
		return nil, err
	}
	if err = b.openLimits(ctx); err != nil {
		return nil, err
	}
	b.log = series{name: "log", what: "the log, " + logText(&c)}
	for run := range c.Runs {
		if err = b.turn(ctx, run); err != nil {
			return nil, err
		}
	}
	return b.result()
}

// bench is one measurement.
type bench struct {
	Config
	dir    string
	meter  *meter
	log    series
	limits []*limit
	young  []float64 // nanoseconds a record, of each run's log

	rotations, waits uint64 // of the logs, when they were ready
}

// limit is bare physical work beside the log.
type limit struct {
	series
	contender
}

// logText says how the log works in this mode.
func logText(c *Config) string {
	switch c.Sync {
	case wal.SyncEach:
		return "each append synced"
	case wal.SyncManual:
		return "not synced"
	}
	return "synced in the background every " + c.Sync.String()
}

// checkSpace refuses a measurement that would fill the disk: others write there too.
func (b *bench) checkSpace() error {
	free, err := freeBytes(b.dir)
	if err != nil {
		return err
	}
	// The log takes a segment more than its records fill, those ahead, and one to be used
	// again. Warming up takes a quarter of the limit, and so do the first records.
	log := b.Limit + b.Limit/2 + (wal.DefaultSegmentsAhead+2)*b.SegmentBytes
	need := log + b.ringSize()*int64(len(b.limitNames()))
	if free < need {
		return fmt.Errorf("%w: %s has %d MiB free, and the measurement takes up to %d MiB",
			wal.ErrNoSpace, b.Dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// freeBytes returns how many bytes an unprivileged process may still allocate on the
// filesystem of a directory.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// limitNames returns which limits belong to the mode. The first is the one that the log
// is judged by.
func (b *bench) limitNames() []string {
	switch {
	case !b.durable():
		return []string{"copy"}
	case b.Writers > 1:
		return []string{"group"}
	}
	return []string{"write", "store"}
}

// ringSize returns how many bytes the file of a limit has.
func (b *bench) ringSize() int64 {
	if b.durable() {
		return ringBytes(&b.Config, syncedFileBytes, b.frameBytes()*int64(b.Writers))
	}
	return ringBytes(&b.Config, b.SegmentBytes, b.frameBytes())
}

// openLimits makes the limits' files.
func (b *bench) openLimits(ctx context.Context) error {
	for _, name := range b.limitNames() {
		fill := fillBytes
		if !b.durable() {
			fill = largeFillBytes
		}
		r, err := newRing(ctx, &b.Config, filepath.Join(b.dir, name), b.ringSize(), fill)
		if err != nil {
			return err
		}
		l := &limit{series: series{name: name}}
		switch name {
		case "copy":
			l.what = "checksum, and copy into a ready mapping under a mutex"
			var m *mapped
			if m, err = newMapped(r); err == nil {
				l.contender = &rawCopy{mapped: m}
			}
		case "store":
			l.what = "store and msync into a ready mapping, 4 KiB folios"
			var m *mapped
			if m, err = newMapped(r); err == nil {
				l.contender = &rawStore{m}
			}
		case "group":
			l.what = "group commit: one pwrite and fdatasync for all that wait"
			l.contender = newRawGroup(r)
		case "write":
			l.what = "pwrite and fdatasync into a written file, 4 KiB folios"
			l.contender = &rawWrite{r}
		}
		if err != nil {
			return err
		}
		b.limits = append(b.limits, l)
	}
	return nil
}

// closeLimits gives back what the limits hold.
func (b *bench) closeLimits() (err error) {
	for _, l := range b.limits {
		err = errors.Join(err, l.close())
	}
	return err
}

// turn lets each contender run once. Who begins changes from turn to turn.
func (b *bench) turn(ctx context.Context, run int) error {
	n := len(b.limits) + 1
	for i := range n {
		who := (i + run) % n
		if who == 0 {
			if err := b.runLog(ctx, run == b.Runs-1); err != nil {
				return err
			}
			continue
		}
		l := b.limits[who-1]
		if _, err := b.measure(ctx, &l.series, l.contender); err != nil {
			return err
		}
	}
	return nil
}

// measure warms a contender up and measures it. It returns how many records that took
// in all.
func (b *bench) measure(ctx context.Context, s *series, c contender) (records int64, err error) {
	writers := int64(b.Writers)
	all := max(writers, b.Limit/b.frameBytes())
	l := load{writers: b.Writers, every: b.every(), duration: b.Warmup, quota: max(1, all/4/writers)}
	if b.Warmup > 0 {
		var warm driven
		if warm, err = l.drive(ctx, c); err != nil {
			return 0, err
		}
		records = warm.records
	}
	l.duration, l.quota = b.Duration, max(1, all/writers)
	syncs, from := c.syncs(), b.meter.begin()
	d, err := l.drive(ctx, c)
	if err != nil {
		return 0, err
	}
	s.counted.add(from, b.meter.end())
	s.add(d, c.syncs()-syncs, l.quota*writers)
	return records + d.records, nil
}

// runLog measures a fresh log and removes it. The last one is verified, all are counted.
func (b *bench) runLog(ctx context.Context, verify bool) (err error) {
	path := filepath.Join(b.dir, "log")
	m, err := openLog(&b.Config, path)
	if err != nil {
		return err
	}
	records, err := b.useLog(ctx, m)
	if got := int64(m.log.LastLSN()); err == nil && got != records {
		err = fmt.Errorf("the log took %d records of %d: this is a bug, please report it", got, records)
	}
	if err = errors.Join(err, m.close()); err == nil && verify {
		if err = m.checkClosed(records); err == nil {
			b.log.verified = records
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// useLog appends the first records of a log, and measures it when it is ready.
func (b *bench) useLog(ctx context.Context, m *measuredLog) (records int64, err error) {
	young := b.Config.young()
	started := time.Now()
	for range young {
		if err = ctx.Err(); err != nil {
			return 0, err
		}
		if err = m.append(); err != nil {
			return 0, err
		}
	}
	b.young = append(b.young, float64(time.Since(started))/float64(young))
	if err = m.ready(ctx, b.SegmentBytes); err != nil {
		return 0, err
	}
	before := m.log.Stats()
	records, err = b.measure(ctx, &b.log, m)
	after := m.log.Stats()
	b.rotations += after.Rotations - before.Rotations
	b.waits += after.Waits - before.Waits
	return records + young, err
}
