package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// duringSync runs fn once, in the middle of the next msync, when the appender's
// lock is free and the durable LSN is still the old one.
func duringSync(t *testing.T, dir string, fn func()) {
	t.Helper()
	done := false
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op == durability.OpMsync && c.Phase == durability.Before && !done {
			done = true
			fn()
		}
		return nil
	})
}

// TestAppendSeesAFileThatWasOverwritten takes the last frame away behind the
// log's back, with size and blocks as they were: the next append must not
// build on it.
func TestAppendSeesAFileThatWasOverwritten(t *testing.T) {
	for _, c := range []struct {
		name    string
		records int
		off     int64
	}{
		{"a frame", 3, at128(3)},
		{"the stamp", 0, frame.StampOffset},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			l, err := wal.Open(dir, small())
			if err != nil {
				t.Fatal(err)
			}
			appendRecords(t, l, c.records, 100)
			f, err := os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = f.WriteAt(make([]byte, 128), c.off); err != nil {
				t.Fatal(err)
			}
			if err = f.Close(); err != nil {
				t.Fatal(err)
			}
			lsn, err := l.Append(record(1, 100))
			var changed *durability.ChangedError
			if !errors.Is(err, wal.ErrPoisoned) || !errors.As(err, &changed) || !strings.Contains(changed.File, firstName) {
				t.Fatalf("append: LSN %d, %v", lsn, err)
			}
			if l.LastLSN() != wal.LSN(c.records) || l.DurableLSN() != 0 {
				t.Fatalf("last %d, durable %d", l.LastLSN(), l.DurableLSN())
			}
			if err := l.Close(); !errors.Is(err, wal.ErrPoisoned) {
				t.Fatal(err)
			}
		})
	}
}

// TestMarkAtTheEndOfASegment appends, while record 1 is being synced, one that
// fills the segment to its last byte, or all but the room of a mark. The sync
// of that one has to name record 1, or its loss would look like a torn tail.
func TestMarkAtTheEndOfASegment(t *testing.T) {
	for _, left := range []int64{0, 8, 24, 32, 40} {
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, small())
		if err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 1, 100)
		awaitPrepared(t, l, dir)
		duringSync(t, dir, func() {
			n := wal.MinSegmentBytes - left - at128(2) - frame.HeaderBytes
			appendRecords(t, l, 1, int(n))
		})
		if err = errors.Join(l.Sync(), l.Sync()); err != nil || l.DurableLSN() != 2 {
			t.Fatalf("durable %d, %v", l.DurableLSN(), err)
		}
		s := takeLive(t, l, dir)
		s.flip(firstName, at128(1)+inPayload)
		rep, err := wal.Verify(s.dir)
		if err != nil || rep.Verdict != wal.Damaged || len(rep.Damage) != 1 || rep.Damage[0].FirstLSN != 1 {
			t.Errorf("%d bytes left: the loss of record 1 is %v: %+v, %v", left, rep.Verdict, rep.Damage, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingIsDurableBeforeItsSync appends while a sync runs: it must not be
// acknowledged with what the sync covers, and a later sync must cover it.
func TestNothingIsDurableBeforeItsSync(t *testing.T) {
	for _, size := range []int{100, 30000} { // the second rotates
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, small())
		if err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 1, 30000)
		awaitPrepared(t, l, dir)
		duringSync(t, dir, func() { appendRecords(t, l, 1, size) })
		if err := l.Commit(t.Context(), 1); err != nil || l.DurableLSN() != 1 {
			t.Fatalf("record 1 committed, durable %d, %v", l.DurableLSN(), err)
		}
		if s := l.Stats(); s.AtRiskRecords != 1 || s.AtRisk < int64(size) {
			t.Errorf("at risk: %d bytes, %d records", s.AtRisk, s.AtRiskRecords)
		}
		syncs := l.Stats().Syncs
		if err := l.Sync(); err != nil || l.DurableLSN() != 2 || l.Stats().Syncs == syncs {
			t.Fatalf("durable %d after %d more syncs, %v", l.DurableLSN(), l.Stats().Syncs-syncs, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeadIsReadAgainAfterTheSync opens a log whose newest stamp gets to the
// device only by Open's own sync, behind Open's first look at it: the segment
// must not be taken for one without records, under neither of its names.
func TestHeadIsReadAgainAfterTheSync(t *testing.T) {
	for _, name := range []string{secondName, "0000000000000002.tmp"} {
		l, dir := newTestLog(t, small())
		appendRecords(t, l, 3, 20000)
		s := takeLive(t, l, dir)
		s.remove(fourthName)
		s.remove(thirdName)
		s.rename(secondName, name)
		synced := false
		durabilitytest.Inject(t, s.dir, func(c *durabilitytest.Call) error {
			switch {
			case c.Name != name || c.Phase != durability.After:
			case c.Op == durability.OpSync:
				synced = true
			case c.Op == durabilitytest.OpReadDirect && !synced:
				for i := range c.Data {
					if off := c.Offset + int64(i); off >= frame.StampOffset && off < frame.StampOffset+frame.StampBytes {
						c.Data[i] = 0
					}
				}
			}
			return nil
		})
		l = openLog(t, s.dir, small())
		if !synced || l.Recovery().Verdict != wal.Clean {
			t.Fatalf("%s: synced %v, %v", name, synced, l.Recovery().Verdict)
		}
		wantRecords(t, l, 1, 3, 20000)
	}
}
