//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// readyWithin is how long a run waits for the log's prepared segments. On a disk that is
// slower than that the run begins with fewer.
const readyWithin = 10 * time.Second

// measuredLog is the log as a contender.
type measuredLog struct {
	log     *wal.Log
	path    string
	payload []byte
}

// openLog opens a fresh log.
func openLog(c *Config, path string) (*measuredLog, error) {
	l, err := wal.Open(path, wal.Options{Sync: c.Sync, SegmentBytes: c.SegmentBytes})
	if err != nil {
		return nil, err
	}
	return &measuredLog{log: l, path: path, payload: payload(c.Size)}, nil
}

// payload returns a record of size bytes that are not all alike.
func payload(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i*7 + i>>8 + 1)
	}
	return p
}

// append implements contender.
func (m *measuredLog) append() error {
	_, err := m.log.Append(m.payload)
	return err
}

// syncs implements contender.
func (m *measuredLog) syncs() uint64 { return m.log.Stats().Syncs }

// close implements contender.
func (m *measuredLog) close() error { return m.log.Close() }

// ready waits until the segments ahead are prepared, so that no run is measured beside
// the filling of files that another one has not. Where others have filled the disk since
// the measurement began, preparation waits for space: that is an error here.
func (m *measuredLog) ready(ctx context.Context, segmentBytes int64) error {
	over := time.Now().Add(readyWithin)
	for m.log.Stats().Ready < wal.DefaultSegmentsAhead && time.Now().Before(over) {
		free, err := freeBytes(m.path)
		if err != nil {
			return err
		}
		if free < segmentBytes {
			return fmt.Errorf("%w: others have filled the disk of %s meanwhile", wal.ErrNoSpace, m.path)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// checkClosed verifies a closed log that must hold so many records.
func (m *measuredLog) checkClosed(records int64) error {
	r, err := wal.Verify(m.path)
	if err != nil {
		return err
	}
	if r.Verdict != wal.Clean {
		return fmt.Errorf("the log that was measured is %v: this is a bug, please report it", r.Verdict)
	}
	if got := int64(r.Records); got != records {
		return fmt.Errorf("the log that was measured holds %d records of %d: this is a bug, please report it", got, records)
	}
	return nil
}

// spaceError says what to do about a full disk.
func spaceError(err error) error {
	if errors.Is(err, wal.ErrNoSpace) || errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w; a measurement with smaller segments and a smaller limit takes less", err)
	}
	return err
}
