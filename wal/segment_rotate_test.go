package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestRecordTooLargeForTheNextSegments keeps the limit also where the segment
// at hand, from a time of larger ones, would have room.
func TestRecordTooLargeForTheNextSegments(t *testing.T) {
	l, dir := newTestLog(t, wal.Options{SegmentBytes: 2 * wal.MinSegmentBytes})
	appendRecords(t, l, 1, 100)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	n := int(l.MaxRecordBytes())
	if _, err := l.Append(record(2, n+1)); !errors.Is(err, wal.ErrTooLarge) || l.LastLSN() != 1 {
		t.Fatalf("append of %d bytes, the limit is %d: %v", n+1, n, err)
	}
	if _, err := l.AppendBatch([][]byte{record(2, n), record(3, 0)}); !errors.Is(err, wal.ErrTooLarge) || l.LastLSN() != 1 {
		t.Fatalf("batch of %d bytes and an empty record: %v", n, err)
	}
	appendRecords(t, l, 1, n)
}

// TestSyncOfAnEnteredSegmentFails lets the first fsync of a segment fail when
// the appender has outrun it and is at work in the segment: that poisons the
// log, and the file stays, since its records survive the process.
func TestSyncOfAnEnteredSegmentFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	entered, failed := make(chan struct{}), make(chan struct{})
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Op != durability.OpSync || c.Phase != durability.Before || !strings.HasSuffix(c.Name, "2.tmp") {
			return nil
		}
		<-entered
		select {
		case <-failed:
			t.Error("another segment took the place of one that holds records")
			return nil
		default:
		}
		close(failed)
		return unix.EIO
	})
	appendRecords(t, l, 3, 20000)
	close(entered)
	<-failed
	// No other segment takes its place.
	for range 10 {
		if _, err = l.Append(record(l.LastLSN()+1, 20000)); err != nil {
			break
		}
	}
	if !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("append: %v", err)
	}
	last := l.LastLSN()
	if err = l.Sync(); !errors.Is(err, wal.ErrPoisoned) || !errors.Is(err, unix.EIO) || l.DurableLSN() != 0 {
		t.Fatalf("sync: %v, durable %d", err, l.DurableLSN())
	}
	if err = l.Close(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatal(err)
	}
	remove()
	l = openLog(t, dir, small())
	wantRecords(t, l, 1, last, 20000)
}

// TestOverwrittenDuringASync takes the last frame away while the sync that is
// to make it durable runs, with size and blocks as they were: it must not be
// acknowledged.
func TestOverwrittenDuringASync(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, small())
		if err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 2, 100)
		duringSync(t, dir, func() {
			f, err := os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err = f.WriteAt(make([]byte, 128), at128(2)); err != nil {
				t.Error(err)
			}
			if err = f.Close(); err != nil {
				t.Error(err)
			}
		})
		sync := l.Sync
		if checkpoint {
			sync = l.Checkpoint
		}
		var changed *durability.ChangedError
		if got := sync(); !errors.Is(got, wal.ErrPoisoned) || !errors.As(got, &changed) || l.DurableLSN() != 0 {
			t.Errorf("checkpoint %v: %v, durable %d", checkpoint, got, l.DurableLSN())
		}
		if err := l.Close(); !errors.Is(err, wal.ErrPoisoned) {
			t.Fatal(err)
		}
	}
}

// TestPoisonDuringASync poisons the log while a sync runs that succeeds: it
// must acknowledge nothing.
func TestPoisonDuringASync(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, 100)
	duringSync(t, dir, func() {
		f, err := os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		link := make([]byte, 4)
		off := at128(2) + frame.HeaderBytes - 4
		_, rerr := f.ReadAt(link, off)
		_, werr := f.WriteAt(make([]byte, 4), off)
		_, aerr := l.Append(record(3, 100))
		_, berr := f.WriteAt(link, off)
		if err := errors.Join(rerr, werr, berr, f.Close()); err != nil || !errors.Is(aerr, wal.ErrPoisoned) {
			t.Errorf("append over an overwritten frame: %v, %v", aerr, err)
		}
	})
	if err := l.Sync(); !errors.Is(err, wal.ErrPoisoned) || l.DurableLSN() != 0 {
		t.Errorf("sync: %v, durable %d", err, l.DurableLSN())
	}
	if err := l.Close(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatal(err)
	}
}
