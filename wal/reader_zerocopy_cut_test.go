package wal_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// heldCuts are cuts that remove the fifth record of nine.
var heldCuts = map[string]func(*wal.Log) error{
	"back":  func(l *wal.Log) error { return l.TruncateBack(3) },
	"reset": func(l *wal.Log) error { return l.Reset(4) },
}

// holdFifth opens a log with nine records, the fifth of which a reader holds.
func holdFifth(t *testing.T, o wal.Options) (*wal.Log, string, *wal.Reader) {
	t.Helper()
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 9, 100)
	r := l.Reader(5).ZeroCopy()
	if !r.Next() {
		t.Fatal(r.Err())
	}
	t.Cleanup(func() { _ = r.Close() })
	return l, dir, r
}

// TestHolderGoesOnDuringACut lets the holder of a record that a cut waits for
// append, sync, commit and read first: the cut waits, and blocks none of these.
func TestHolderGoesOnDuringACut(t *testing.T) {
	for name, cut := range heldCuts {
		for policy, o := range map[string]wal.Options{"manual": small(), "each": {SegmentBytes: wal.MinSegmentBytes, Sync: wal.SyncEach}} {
			t.Run(name+"/"+policy, func(t *testing.T) {
				l, _, r := holdFifth(t, o)
				done := startBlocked(t, "awaitUnheld", func() error { return cut(l) })
				inTime(t, "the holder", func() {
					lsn, err := l.Append(r.Record())
					if err = errors.Join(err, l.Commit(t.Context(), lsn), l.Sync(), l.Checkpoint(), l.TruncateFront(2)); err != nil || lsn != 10 {
						t.Errorf("append of what is held: LSN %d, %v", lsn, err)
					}
				})
				wantHeld(t, "beside the cut", r, 5, 100)
				// Nobody gets hold of what the cut is to remove any more: it is copied.
				second := l.Reader(6).ZeroCopy()
				if !second.Next() {
					t.Fatal(second.Err())
				}
				must(t, r.Close())
				must(t, <-done)
				wantHeld(t, "behind the cut", second, 6, 100)
				if second.Next() || !errors.Is(second.Err(), wal.ErrTruncated) {
					t.Errorf("next: record %d, %v", second.LSN(), second.Err())
				}
				if l.LastLSN() != 3 {
					t.Errorf("the last record is %d", l.LastLSN())
				}
				appendRecords(t, l, 3, 100)
			})
		}
	}
}

// TestWaitForAHolderEnds ends the wait of a cut for a record that is held on to, by
// the end of the log.
func TestWaitForAHolderEnds(t *testing.T) {
	for name, cut := range heldCuts {
		t.Run(name+"/close", func(t *testing.T) {
			l, _, r := holdFifth(t, small())
			done := startBlocked(t, "awaitUnheld", func() error { return cut(l) })
			inTime(t, "close", func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := <-done; !errors.Is(err, wal.ErrClosed) {
				t.Errorf("the cut: %v", err)
			}
			wantHeld(t, "closed", r, 5, 100)
		})
		t.Run(name+"/poison", func(t *testing.T) {
			l, dir, _ := holdFifth(t, small())
			done := startBlocked(t, "awaitUnheld", func() error { return cut(l) })
			durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
				if c.Op == durability.OpMsync && c.Phase == durability.Before {
					return unix.EIO
				}
				return nil
			})
			if err := l.Sync(); !errors.Is(err, wal.ErrPoisoned) {
				t.Errorf("sync: %v", err)
			}
			if err := <-done; !errors.Is(err, wal.ErrPoisoned) {
				t.Errorf("the cut: %v", err)
			}
		})
	}
}

// TestRefusedCutDoesNotWait asks for cuts that cannot be made of a log whose records
// are held.
func TestRefusedCutDoesNotWait(t *testing.T) {
	l, _, r := holdFifth(t, small())
	must(t, l.TruncateFront(4))
	inTime(t, "a refused cut", func() {
		for lsn, want := range map[wal.LSN]error{2: wal.ErrTruncated, 10: wal.ErrNotFound, 9: nil} {
			if err := l.TruncateBack(lsn); !errors.Is(err, want) {
				t.Errorf("truncate the back to %d: %v", lsn, err)
			}
		}
		if err := l.Reset(0); !errors.Is(err, wal.ErrOptions) {
			t.Errorf("reset: %v", err)
		}
	})
	wantHeld(t, "behind refused cuts", r, 5, 100)
}
