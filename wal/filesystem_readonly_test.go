package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// makeReadOnly mounts the filesystem read-only, or as before. What looked like a
// writer's file a moment ago may be a child's that is being forked.
func (v *volume) makeReadOnly(yes bool) {
	v.t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if yes {
		flags |= unix.MS_RDONLY
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := unix.Mount("", v.dir, "", flags, "")
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			v.t.Fatalf("remount %s, read-only: %v: %v", v.name, yes, err)
		}
	}
}

// TestReadOnlyFilesystem mounts filesystems read-only with a torn log on them:
// what would write is refused, with the file's name, what only reads works, and nothing is
// lost when they are writable again.
func TestReadOnlyFilesystem(t *testing.T) {
	t.Parallel()
	for _, kind := range volumeKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			v := newVolume(t, kind)
			dir := v.path("log")
			l := openLog(t, dir, small())
			appendRecords(t, l, 400, 500)
			if err := l.TruncateFront(50); err != nil {
				t.Fatal(err)
			}
			// The kernel does not take a filesystem away from a writer.
			err := unix.Mount("", v.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			if !errors.Is(err, unix.EBUSY) {
				t.Errorf("remount under a writer: %v", err)
			}
			if err = errors.Join(appendSome(l, 400, 500), l.Close()); err != nil {
				t.Fatal(err)
			}
			segments, _ := filepath.Glob(v.path("log/*.wal"))
			if err = tearTail(segments); err != nil {
				t.Fatal(err)
			}
			before := digest(dir)
			v.makeReadOnly(true)
			for what, err := range map[string]error{
				"open":   closedAgain(wal.Open(dir, small())),
				"birth":  closedAgain(wal.Open(v.path("other"), small())),
				"above":  closedAgain(wal.Open(v.dir, small())),
				"repair": second(wal.Repair(dir, wal.RepairOptions{})),
				"force":  second(wal.Repair(dir, wal.RepairOptions{Force: true})),
			} {
				if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), v.dir) {
					t.Errorf("%s on a read-only filesystem: %v", what, err)
				}
			}
			for what, err := range lookAll(dir, 800) {
				if err != nil {
					t.Errorf("%s on a read-only filesystem: %v", what, err)
				}
			}
			if digest(dir) != before {
				t.Error("files have changed")
			}
			v.makeReadOnly(false)
			l = openLog(t, dir, small())
			if l.FirstLSN() != 50 || l.LastLSN() != 800 {
				t.Errorf("the log holds %d to %d", l.FirstLSN(), l.LastLSN())
			}
			if err = errors.Join(appendSome(l, 200, 500), l.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// fsEnd ends a filesystem under its users: what was not synced by then may be
// lost. No store into a page that is dirty already notices. One into a clean page
// may fault; under the race detector an atomic one does it in C, where no
// Go program survives it.
type fsEnd struct {
	fs     string
	name   string
	faults bool
	do     func(dir string) error
}

var fsEnds = []fsEnd{
	{"ext4", "abort", false, func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT, "abort") }},
	{"ext4", "shutdown", false, shutdown(0)},
	{"ext4", "shutdown that flushes the journal", true, shutdown(1)},
	{"ext4", "shutdown without the journal", true, shutdown(2)},
	{"xfs", "shutdown that flushes the journal", true, shutdown(1)},
	{"xfs", "shutdown without the journal", true, shutdown(2)},
}

// shutdown is EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, which are the same.
func shutdown(how int) func(string) error {
	return func(dir string) error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(unix.IoctlSetPointerInt(int(d.Fd()), 0x8004587d, how), d.Close())
	}
}

// endedSteps are what a log is first asked for behind the end of its filesystem.
// Its records up to 80 are durable, five more are not.
var endedSteps = []struct {
	name string
	do   func(*wal.Log) error
}{
	{"append", func(l *wal.Log) error {
		for {
			if err := appendSome(l, 1, 500); err != nil {
				return err
			}
		}
	}},
	{"sync", (*wal.Log).Sync},
	{"checkpoint", (*wal.Log).Checkpoint},
	{"close", (*wal.Log).Close},
	{"truncate front", func(l *wal.Log) error { return l.TruncateFront(60) }},
	{"truncate back", func(l *wal.Log) error { return l.TruncateBack(82) }},
	{"reset", func(l *wal.Log) error { return l.Reset(1000) }},
}

// TestFilesystemEnds makes filesystems read-only, or shuts them down, under the
// writer, as the kernel does after an error of the device: nothing is
// acknowledged any more, what was is there after the next mount, and the words
// name a file.
func TestFilesystemEnds(t *testing.T) {
	t.Parallel()
	for _, kind := range volumeKinds {
		if kind.fs != "ext4" && kind.fs != "xfs" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			v := newVolume(t, kind)
			for _, end := range fsEnds {
				if end.fs != kind.fs || end.faults && raceDetector {
					continue
				}
				for _, step := range endedSteps {
					t.Run(end.name+", "+step.name, func(t *testing.T) {
						v.t = t
						dir := v.path(fmt.Sprintf("%s %s", end.name, step.name))
						endUnderWriter(t, v, dir, end, step.do)
					})
				}
			}
			v.t = t
		})
	}
}

// endUnderWriter ends the filesystem under a log, and mounts it again.
func endUnderWriter(t *testing.T, v *volume, dir string, end fsEnd, step func(*wal.Log) error) {
	t.Helper()
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	if err = errors.Join(appendSome(l, 80, 500), l.Sync(), appendSome(l, 5, 500)); err != nil {
		t.Fatal(err)
	}
	if err = end.do(v.dir); err != nil {
		_ = l.Close()
		cannotRun(t, err.Error())
	}
	if err = step(l); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("behind the end of the filesystem: %v", err)
	}
	if err = l.Sync(); !errors.Is(err, wal.ErrPoisoned) && !errors.Is(err, wal.ErrClosed) || l.DurableLSN() != 80 {
		t.Errorf("sync up to LSN %d: %v", l.DurableLSN(), err)
	}
	if _, err = l.Append(nil); !errors.Is(err, wal.ErrPoisoned) && !errors.Is(err, wal.ErrClosed) {
		t.Errorf("append behind a sync that failed: %v", err)
	}
	if err = l.Close(); err == nil {
		t.Error("close is content")
	}
	if err = closedAgain(wal.Open(dir, small())); err == nil || !strings.Contains(err.Error(), v.dir) {
		t.Errorf("open: %v", err)
	}
	for what, err := range lookAll(dir, 80) {
		if err != nil && !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	v.remount()
	if l, err = wal.Open(dir, small()); err != nil {
		t.Fatal(err)
	}
	if l.FirstLSN() != 1 || l.LastLSN() < 80 {
		t.Errorf("the log holds %d to %d", l.FirstLSN(), l.LastLSN())
	}
	for lsn := wal.LSN(1); lsn <= 80; lsn++ {
		if p, gerr := l.Get(lsn); gerr != nil || !bytes.Equal(p, record(lsn, 500)) {
			t.Fatalf("get of %d: %d bytes, %v", lsn, len(p), gerr)
		}
	}
	if err = errors.Join(appendSome(l, 100, 500), l.Close()); err != nil {
		t.Error(err)
	}
}
