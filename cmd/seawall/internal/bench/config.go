//go:build linux

package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// ErrConfig reports a Config that cannot be measured. The caller changes what the error
// names.
var ErrConfig = errors.New("cannot measure that")

const (
	// MaxWriters bounds the goroutines: each has a histogram of some 30 KiB.
	MaxWriters = 4096
	// MaxRuns bounds a mistyped number of runs.
	MaxRuns = 1000
	// recordsOfSegment is how many records a segment holds at least: with fewer,
	// rotations are all that is measured.
	recordsOfSegment = 4
	// sampleEvery is how many appends without a sync one is timed of: two looks at the
	// clock cost as much as such an append.
	sampleEvery = 32
)

// Config says what is measured.
type Config struct {
	// Dir is an existing directory. Everything lies in a new one below it, which is
	// removed at the end.
	Dir string
	// Writers is how many goroutines append at once, 1 to MaxWriters.
	Writers int
	// Size is how many bytes a record has.
	Size int
	// Sync is the log's policy. SyncEach is measured against synced writes, the others
	// against stores.
	Sync wal.SyncPolicy
	// Duration is how long each run of each contender is measured, and Warmup how long
	// it runs before that.
	Duration, Warmup time.Duration
	// Runs is how often each contender has its turn, 1 to MaxRuns.
	Runs int
	// SegmentBytes is the size of the log's segments, in bytes.
	SegmentBytes int64
	// Limit ends a run that has appended so many bytes, frames included. Zero is twice
	// SegmentBytes: about what a log has ready when a run begins, so that preparing
	// segments is left out.
	Limit int64
}

// withDefaults returns the Config with Limit filled in, or ErrConfig. What the log
// itself refuses is left to it.
func (c Config) withDefaults() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return c, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
	}
	if c.Limit == 0 {
		c.Limit = 2 * c.SegmentBytes
	}
	most := c.SegmentBytes / recordsOfSegment
	switch {
	case c.Writers < 1 || c.Writers > MaxWriters:
		return bad("%d writers: 1 to %d", c.Writers, MaxWriters)
	case c.Runs < 1 || c.Runs > MaxRuns:
		return bad("%d runs: 1 to %d", c.Runs, MaxRuns)
	case c.Duration <= 0:
		return bad("a duration of %v: it must be positive", c.Duration)
	case c.Warmup < 0:
		return bad("a warm-up of %v: it must not be negative", c.Warmup)
	case c.Size < 0 || int64(c.Size) > most || frame.Size(int64(c.Size)) > most:
		return bad("records of %d bytes: up to a quarter of a segment of %d, less %d", c.Size, c.SegmentBytes, frame.HeaderBytes)
	case c.Limit < c.frameBytes()*int64(c.Writers):
		return bad("a limit of %d bytes a run: it must hold a record of each writer", c.Limit)
	}
	return c, nil
}

// durable reports whether appends are synced.
func (c *Config) durable() bool { return c.Sync == wal.SyncEach }

// frameBytes is how many bytes a record takes.
func (c *Config) frameBytes() int64 { return frame.Size(int64(c.Size)) }

// every is how many appends one is timed of.
func (c *Config) every() int {
	if c.durable() {
		return 1
	}
	return sampleEvery
}

// young is how many records are the first ones of a log.
func (c *Config) young() int64 {
	n := int64(1000)
	if c.durable() {
		n = 20
	}
	return max(1, min(n, c.Limit/4/c.frameBytes()))
}
