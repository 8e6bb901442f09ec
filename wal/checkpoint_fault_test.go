package wal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestCheckpointSyncsTheWholeFile fails the fsync of the tail's segment: it is
// what tells a checkpoint, data and metadata, from a Sync.
func TestCheckpointSyncsTheWholeFile(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	f := &faults{
		match: func(c *durabilitytest.Call) bool {
			return c.Op == durability.OpSync && strings.HasSuffix(c.Name, ".wal")
		},
		err: unix.EIO, phase: durability.Before,
	}
	durabilitytest.Inject(t, dir, f.hook)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.Checkpoint(); !errors.Is(err, wal.ErrPoisoned) || !errors.Is(err, unix.EIO) {
		t.Fatalf("checkpoint with a failing fsync: %v", err)
	}
}

// TestCheckpointKeepsTheRecordBefore looks at both slots after each of several
// checkpoints: the new record never takes the place of the newest one, which a
// torn store would lose.
func TestCheckpointKeepsTheRecordBefore(t *testing.T) {
	l, dir := newTestLog(t, small())
	for n := wal.LSN(1); n <= 6; n++ {
		if n == 3 || n == 6 { // which one is older is found again
			must(t, l.Close())
			l = openLog(t, dir, small())
		}
		appendRecords(t, l, 1, 100)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "0000000000000001.wal"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := frame.DecodeHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		held := make(map[wal.LSN]bool)
		for i := range frame.Slots {
			if slot, err := frame.DecodeSlot(data[frame.SlotOffset+i*frame.BlockBytes:], h.Seed()); err == nil {
				held[slot.Watermark] = true
			}
		}
		if !held[n] || n > 1 && !held[n-1] {
			t.Fatalf("behind checkpoint %d the slots name %v", n, held)
		}
	}
}

// TestCheckpointChecksAfterItsRecord harms the segment when the sync of the
// checkpoint record begins, which returns success all the same: a checkpoint that says
// nothing leaves a log whose last records can be lost as a torn tail is, or all of
// it.
func TestCheckpointChecksAfterItsRecord(t *testing.T) {
	for act, do := range map[string]func(*wal.Log) error{
		"checkpoint": func(l *wal.Log) error { return l.Checkpoint() },
		"close":      func(l *wal.Log) error { return l.Close() },
	} {
		for _, h := range harms {
			t.Run(act+"/"+h.name, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(fastDir(t), "log")
				l, err := wal.Open(dir, small())
				must(t, err)
				appendRecords(t, l, 3, 100)
				must(t, l.Sync())
				harmed := 0
				remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
					if c.Op != durability.OpMsync || c.Phase != durability.Before ||
						c.Offset < frame.SlotOffset || c.Offset >= frame.ControlOffset {
						return nil
					}
					harmed++
					return h.do(filepath.Join(dir, firstName))
				})
				err = do(l)
				remove()
				var changed *durability.ChangedError
				if harmed != 1 || !errors.Is(err, wal.ErrPoisoned) || !errors.As(err, &changed) {
					t.Errorf("harmed %d times: %v", harmed, err)
				}
				_ = l.Close() // of a log that is poisoned, or closed
			})
		}
	}
}

// TestSegmentOfAFork puts a segment of a copy of the log, which went on by
// itself, into the log: identity, salt and LSNs fit, but what it continues is
// another record. It must not be read on into.
func TestSegmentOfAFork(t *testing.T) {
	root := fastDir(t)
	dir := filepath.Join(root, "log")
	o := wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1}
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, 10000)
	for !prepared(t, l, dir, &faults{}) {
		time.Sleep(100 * time.Microsecond)
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := durabilitytest.ReadFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	fork := filepath.Join(root, "fork")
	if err = files.WriteTo(fork); err != nil {
		t.Fatal(err)
	}
	for i, d := range []string{dir, fork} {
		l, err = wal.Open(d, o)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			p := []byte(fmt.Sprintf("%10000d", 10*n+i))
			if _, err = l.Append(p); err != nil {
				t.Fatal(err)
			}
		}
		if err = l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other, err := os.ReadFile(filepath.Join(fork, "0000000000000002.wal"))
	if err != nil {
		t.Fatal(err)
	}
	if err = os.WriteFile(filepath.Join(dir, "0000000000000002.wal"), other, 0o644); err != nil {
		t.Fatal(err)
	}
	rep, err := wal.Verify(dir)
	if err != nil || rep.Verdict != wal.Damaged {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
	held, _, err := dump(dir)
	if err != nil || held.Count() != 4 {
		t.Fatalf("dump read %d records, the first segment has 4: %v", held.Count(), err)
	}
}
