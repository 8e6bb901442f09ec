//go:build linux

package main_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestFeedStopped ends an append while the log takes its time for a record: what had
// been read behind it is appended too, unless that takes too long; then it is counted,
// and none of it is in the log.
func TestFeedStopped(t *testing.T) {
	for _, c := range []struct {
		name          string
		batch         int
		patience      time.Duration
		ends          bool // the input
		records, left uint64
	}{
		{"in time", 1, time.Hour, false, 5, 0},
		{"too late", 1, -1, false, 1, 4},
		{"in time, in batches", 2, time.Hour, false, 5, 0},
		{"too late, in batches", 2, -1, false, 2, 3},
		{"too late, and the input ends", 1, -1, true, 1, 5},
	} {
		for range 20 { // of the signal and the input's end either may be seen first
			feedStopped(t, c.name, c.batch, c.patience, c.ends, c.records, c.left)
		}
	}
}

// feedStopped is one such append.
func feedStopped(t *testing.T, name string, batch int, patience time.Duration, ends bool, wantRecords, wantLeft uint64) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, Sync: wal.SyncEach})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var once sync.Once
		durabilitytest.Inject(t, dir, func(call *durabilitytest.Call) error {
			if call.Op == durability.OpMsync && l.LastLSN() > 0 {
				once.Do(stop)
			}
			return nil
		})
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err = w.WriteString("1\n2\n3\n4\n5\nhalf"); err != nil {
			t.Fatal(err)
		}
		if ends {
			w.Close()
		} else {
			defer w.Close()
		}
		records, left, unfinished, err := seawall.Feed(ctx, l, r, batch, patience)
		if unfinished > 0 {
			if unfinished != int64(len("half")) {
				t.Errorf("%d bytes of an unfinished record", unfinished)
			}
			if ends { // its end was not read before the input was stopped: it is no record yet
				left++
			}
		}
		if !errors.Is(err, context.Canceled) || records != wantRecords || left != wantLeft {
			t.Errorf("%d records appended, %d left: %v; want %d, %d", records, left, err, wantRecords, wantLeft)
		}
		if uint64(l.DurableLSN()) != wantRecords || uint64(l.LastLSN()) != wantRecords {
			t.Errorf("the log has %d records, %d durable", l.LastLSN(), l.DurableLSN())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
