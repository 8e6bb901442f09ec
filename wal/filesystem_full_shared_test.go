package wal_test

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// canShare reports whether files of the volume can share their blocks with
// copies: a store into such a block needs a new one, also where the segment was
// prepared.
func (v *volume) canShare() bool { return v.name == "xfs" || v.name == "btrfs" }

// mustRun runs a program of the system.
func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// share makes a copy of the directory that shares all blocks with it: a
// snapshot on btrfs, whose NOCOW files are copied on write once after one, and
// reflinks on xfs.
func (v *volume) share(dir, to string) {
	v.t.Helper()
	if v.name == "btrfs" {
		mustRun(v.t, "btrfs", "subvolume", "snapshot", dir, to)
	} else {
		mustRun(v.t, "cp", "-r", "--reflink=always", dir, to)
	}
	v.sync()
}

// home makes the directory that a log lies in so that it can be shared.
func (v *volume) home(dir string) {
	v.t.Helper()
	if v.name == "btrfs" {
		mustRun(v.t, "btrfs", "subvolume", "create", dir)
	}
}

// fullWhileShared shares the blocks of a live log with a copy, and then fills
// the disk.
func fullWhileShared(t *testing.T, v *volume, dir string) string {
	if !v.canShare() {
		return "no copies that share blocks"
	}
	v.home(dir)
	l := openShared(t, dir)
	prepareAll(t, l, dir)
	appendRecords(t, l, 30, fillingRecord)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	v.share(dir, dir+".copy")
	v.fill(0)
	outcome := onSharedBlocks(t, v, l, dir)
	wantTwin(t, dir+".copy", 31)
	return outcome
}

// fullCopy opens a copy that shares its blocks with another log on a full disk.
func fullCopy(t *testing.T, v *volume, dir string) string {
	if !v.canShare() {
		return "no copies that share blocks"
	}
	v.home(dir + ".origin")
	last := closedLog(t, dir+".origin")
	v.share(dir+".origin", dir)
	v.fill(0)
	refused, l := 0, (*wal.Log)(nil)
	for room := int64(0); l == nil; room += 64 << 10 {
		var err error
		if l, err = wal.Open(dir, filling()); err != nil {
			if !errors.Is(err, wal.ErrNoSpace) {
				t.Fatalf("open on shared blocks without space: %v", err)
			}
			refused++
			v.fill(room)
		}
	}
	wantRecords(t, l, 1, last, fillingRecord)
	outcome := onSharedBlocks(t, v, l, dir)
	wantTwin(t, dir+".origin", last)
	return fmt.Sprintf("refused %d times, opened; %s", refused, outcome)
}

// openShared opens a log that the test closes, or gives up.
func openShared(t *testing.T, dir string) *wal.Log {
	t.Helper()
	l, err := wal.Open(dir, filling())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// onSharedBlocks appends and syncs on a full disk until the log says that there
// is no space. Either it goes on when there is, or it is poisoned by a sync, says
// why, and opens again with all that was acknowledged.
func onSharedBlocks(t *testing.T, v *volume, l *wal.Log, dir string) string {
	t.Helper()
	t.Cleanup(func() { _ = l.Close() })
	n := 0
	var err error
	for err == nil {
		lsn := l.LastLSN() + 1
		if _, err = l.Append(record(lsn, fillingRecord)); err == nil {
			if n++; n%10 == 0 {
				err = l.Sync()
			}
		}
	}
	durable, last := l.DurableLSN(), l.LastLSN()
	if !errors.Is(err, wal.ErrPoisoned) {
		wantRecords(t, l, 1, last, fillingRecord)
		if !errors.Is(err, wal.ErrNoSpace) {
			t.Fatalf("on shared blocks without space: %v", err)
		}
		if serr := l.Sync(); serr == nil {
			goesOn(t, v, l, dir)
			return fmt.Sprintf("%d records, ErrNoSpace, synced; went on", n)
		} else if err = serr; !errors.Is(err, wal.ErrPoisoned) {
			t.Fatalf("sync on shared blocks without space: %v", err)
		}
	}
	wantRecords(t, l, 1, durable, fillingRecord) // a poisoned log has no others
	if l.DurableLSN() != durable {
		t.Errorf("durable LSN went from %d to %d by a sync that failed", durable, l.DurableLSN())
	}
	if cerr := l.Close(); !errors.Is(cerr, wal.ErrPoisoned) {
		t.Errorf("close of a poisoned log: %v", cerr)
	}
	v.free()
	v.remount()
	l = openLog(t, dir, filling())
	got := l.LastLSN()
	if got < durable || got > last {
		t.Fatalf("LSN %d is the last one, %d was durable, %d appended", got, durable, last)
	}
	goesOn(t, v, l, dir)
	return fmt.Sprintf("%d records, poisoned (%v): %d durable, %d opened; went on", n, errors.Unwrap(err), durable, got)
}

// wantTwin checks that the other one of two that shared blocks is what it was.
func wantTwin(t *testing.T, dir string, last wal.LSN) {
	t.Helper()
	l := openLog(t, dir, filling())
	if l.LastLSN() != last {
		t.Errorf("the copy ends with LSN %d, want %d", l.LastLSN(), last)
	}
	wantRecords(t, l, 1, last, fillingRecord)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
