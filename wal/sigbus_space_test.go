package wal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestStoreWithoutSpace gives segments holes, as filesystems do whose extents
// are copied on write, and fills the filesystem: the store itself finds no
// room. Append says ErrNoSpace, nothing of the record is left, and the log goes
// on once there is space (C8).
func TestStoreWithoutSpace(t *testing.T) {
	big, small := record(1, 9000), record(2, 100)
	appends := map[string]func(*wal.Log) error{
		"record": func(l *wal.Log) error { _, err := l.Append(big); return err },
		"batch":  func(l *wal.Log) error { _, err := l.AppendBatch([][]byte{small, small, big}); return err },
	}
	holes := map[string]struct {
		file     string
		from, to int64
	}{
		"frames":        {"0000000000000001", 40 << 10, 64<<10 - 4096},
		"stamp":         {"0000000000000002", 4 << 10, 8 << 10},
		"control block": {"0000000000000002", 16 << 10, 20 << 10},
	}
	for what, do := range appends {
		for where, hole := range holes {
			t.Run(what+"/"+where, func(t *testing.T) {
				root := mountMemory(t, 800<<10)
				dir := filepath.Join(root, "log")
				remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
					if !strings.HasPrefix(c.Name, hole.file) || c.Phase != durability.Before {
						return nil
					}
					inHole := c.Op == durability.OpWrite && c.Offset < hole.to && c.Offset+c.Length > hole.from
					if c.Op == durability.OpAllocate || inHole {
						return durabilitytest.ErrDrop
					}
					return nil
				})
				o := wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1, FillBytes: 4096}
				l := openLog(t, dir, o)
				appendRecords(t, l, 1, 100)
				for !prepared(t, l, dir, &faults{}) {
					time.Sleep(100 * time.Microsecond)
				}
				remove()
				appendRecords(t, l, 1, 13000)
				storeWithoutSpace(t, l, root, do)
			})
		}
	}
}

// storeWithoutSpace appends to a full filesystem until it finds no room, and
// goes on once there is some.
func storeWithoutSpace(t *testing.T, l *wal.Log, root string, do func(*wal.Log) error) {
	t.Helper()
	dir := filepath.Join(root, "log")
	ballast := filepath.Join(root, "ballast")
	fillFilesystem(t, ballast)
	var err error
	appended := l.LastLSN()
	for err == nil {
		appended = l.LastLSN()
		err = do(l)
	}
	if !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("append without space: %v", err)
	}
	if got := l.LastLSN(); got != appended {
		t.Fatalf("last LSN is %d behind an append that failed, was %d", got, appended)
	}
	wantCleanCopy(t, dir, appended)
	if err := errors.Join(l.Sync(), l.Checkpoint()); err != nil || l.DurableLSN() != appended {
		t.Fatalf("durable %d of %d: %v", l.DurableLSN(), appended, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := do(l); err != nil {
			t.Fatalf("append with space again: %v", err)
		}
	}
	last := l.LastLSN()
	r := l.Reader(0)
	for r.Next() {
	}
	if r.Err() != nil || r.LSN() != last {
		t.Fatalf("read up to %d of %d: %v", r.LSN(), last, r.Err())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNamedDuringAStoreWithoutSpace has the appender at work in a segment that gets
// its name while a store into it finds no room: that is told as what it is, and not
// blamed on the payload.
func TestNamedDuringAStoreWithoutSpace(t *testing.T) {
	root := mountMemory(t, 800<<10)
	dir := filepath.Join(root, "log")
	renaming, full := make(chan struct{}), make(chan struct{})
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		switch {
		case c.Phase != durability.Before:
		case strings.HasPrefix(c.Name, "0000000000000003"):
			return unix.ENOSPC
		case !strings.HasPrefix(c.Name, "0000000000000002"):
		case c.Op == durability.OpAllocate, c.Op == durability.OpWrite && c.Offset >= 40<<10 && c.Offset < 60<<10:
			return durabilitytest.ErrDrop // a hole
		case c.Op == durability.OpRename:
			close(renaming)
			<-full
			awaitAppenderInCheck(t)
		}
		return nil
	})
	l := openLog(t, dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1, FillBytes: 4096})
	appendRecords(t, l, 4, 13000)
	if names, err := filepath.Glob(filepath.Join(dir, "*2.tmp")); err != nil || len(names) != 1 {
		t.Fatalf("the appender is not in the second segment, or that has its name: %v, %v", names, err)
	}
	select { // it is synced before, which may take its time
	case <-renaming:
	case <-time.After(patience):
		t.Fatal("the second segment does not get its name")
	}
	ballast := filepath.Join(root, "ballast")
	fillFilesystem(t, ballast)
	close(full)
	_, err := l.Append(record(5, 13000))
	if !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned) {
		t.Errorf("append without space: %v", err)
	}
	remove()
	must(t, os.Remove(ballast))
	appendRecords(t, l, 1, 13000)
	must(t, l.Close())
}

// awaitAppenderInCheck waits until an appender whose store has failed looks at the file,
// which it can once that is renamed.
func awaitAppenderInCheck(t *testing.T) {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		for g := range bytes.SplitSeq(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
			if bytes.Contains(g, []byte("RWMutex.RLock")) && bytes.Contains(g, []byte("(*Log).undoAppend(")) {
				return
			}
		}
		if time.Now().After(end) {
			t.Error("no appender waits for the rename")
			return
		}
	}
}

// fillFilesystem leaves no block free.
func fillFilesystem(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if cerr := f.Close(); cerr != nil || !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the filesystem: %v, %v", err, cerr)
	}
}

// wantCleanCopy verifies a copy of a live log: there is no writer to excuse
// what lies behind its tail.
func wantCleanCopy(t *testing.T, dir string, last wal.LSN) {
	t.Helper()
	files, err := durabilitytest.ReadFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	to := fastDir(t)
	if err = files.WriteTo(to); err != nil {
		t.Fatal(err)
	}
	rep, err := wal.Verify(to)
	if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != last {
		t.Fatalf("something is left of an append that failed: %+v, %v", rep, err)
	}
}
