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

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// cannotRun skips a test that this machine lacks something for. In CI nothing
// may be lacking.
func cannotRun(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatalf("cannot run here, and SEAWALL_CI is set: %s", why)
	}
	t.Skipf("cannot run here: %s", why)
}

// harm is what happens to a file under a live writer.
type harm struct {
	name string
	do   func(path string) error
}

// truncatedTo cuts a file, and makes it as long as before if again is set.
func truncatedTo(n int64, again bool) func(string) error {
	return func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // it may get another name at any moment
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil {
			err = f.Truncate(n)
		}
		if err == nil && again {
			err = f.Truncate(st.Size())
		}
		return errors.Join(err, f.Close())
	}
}

var harms = []harm{
	{"truncated to nothing", truncatedTo(0, false)},
	{"truncated within the stamp's page", truncatedTo(5000, false)},
	{"truncated within the first frame", truncatedTo(21000, false)},
	{"truncated by one byte", truncatedTo(wal.MinSegmentBytes-1, false)},
	{"truncated to nothing and extended", truncatedTo(0, true)},
	{"truncated at the frames and extended", truncatedTo(20480, true)},
	{"truncated within the first frame and extended", truncatedTo(21000, true)},
	{"deleted", os.Remove},
	{"replaced by a copy", replacedByCopy},
	{"moved away", func(path string) error { return os.Rename(path, path+".away") }},
}

// harmed is a live log with records 1 to 3 durable, all in segment 1, and 4 to
// 10 appended, the last of them in segment 2; segment 3 is prepared.
func harmed(t *testing.T, root string) (*wal.Log, string) {
	t.Helper()
	dir := filepath.Join(root, "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 3, 7000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 7, 7000)
	for {
		if _, err := os.Stat(filepath.Join(dir, "0000000000000003.wal")); err == nil {
			break
		}
		time.Sleep(100 * time.Microsecond)
	}
	if n := l.Stats().Rotations; n != 1 {
		t.Fatalf("%d rotations, the test wants 1", n)
	}
	return l, dir
}

// acts are what the writer does next, until the first error.
var acts = map[string]func(*testing.T, *wal.Log) error{
	"sync":       func(_ *testing.T, l *wal.Log) error { return l.Sync() },
	"checkpoint": func(_ *testing.T, l *wal.Log) error { return l.Checkpoint() },
	"close":      func(_ *testing.T, l *wal.Log) error { return l.Close() },
	"append": func(_ *testing.T, l *wal.Log) error {
		for range 2 {
			if _, err := l.Append(record(l.LastLSN()+1, 7000)); err != nil {
				return err
			}
		}
		return l.Sync()
	},
	"rotate": func(_ *testing.T, l *wal.Log) error {
		for range 16 {
			if _, err := l.Append(record(l.LastLSN()+1, 7000)); err != nil {
				return err
			}
		}
		return l.Sync()
	},
}

// TestFilesHarmedUnderALiveWriter truncates, deletes and replaces a live log's
// files. The writer gets an error that names the file, never a SIGBUS that
// ends the process, and acknowledges nothing that is gone (C7).
func TestFilesHarmedUnderALiveWriter(t *testing.T) {
	targets := []struct{ name, file string }{
		{"older", "0000000000000001.wal"}, {"tail", "0000000000000002.wal"}, {"prepared", "0000000000000003.wal"},
	}
	for fsName, newRoot := range map[string]func(tester) string{
		"disk": diskDir, "memory": fastDir,
	} {
		for _, target := range targets {
			for _, h := range harms {
				for act, do := range acts {
					if target.name == "prepared" && act != "rotate" {
						continue
					}
					t.Run(strings.Join([]string{fsName, target.name, h.name, act}, "/"), func(t *testing.T) {
						t.Parallel()
						l, dir := harmed(t, newRoot(t))
						if err := h.do(filepath.Join(dir, target.file)); err != nil {
							t.Fatal(err)
						}
						err := do(t, l)
						wantHarmNoticed(t, l, dir, target.file, err)
						_ = l.Close() // must not die either
					})
				}
			}
		}
	}
}

// wantHarmNoticed checks what a writer says of a file that was harmed.
func wantHarmNoticed(t *testing.T, l *wal.Log, dir, file string, err error) {
	t.Helper()
	const before = 3 // were durable
	var changed *durability.ChangedError
	var fault *durability.FaultError
	switch {
	case err == nil:
		// What it acknowledged must be there, by name.
		n := wal.LSN(0)
		_, derr := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
			n = lsn
			if !bytes.Equal(p, record(lsn, 7000)) {
				return fmt.Errorf("record %d differs", lsn)
			}
			return nil
		})
		if derr != nil || n < l.DurableLSN() {
			t.Fatalf("acknowledged up to %d, the directory holds %d: %v", l.DurableLSN(), n, derr)
		}
	case !errors.As(err, &changed) && !errors.As(err, &fault):
		t.Fatalf("neither a changed file nor a fault: %v", err)
	case !strings.Contains(err.Error(), strings.TrimSuffix(file, ".wal")): // which the log may know by its first name still
		t.Fatalf("the error does not name %s: %v", file, err)
	case l.DurableLSN() != before:
		t.Fatalf("durable is %d, was %d: %v", l.DurableLSN(), before, err)
	case l.Sync() == nil || l.DurableLSN() != before:
		t.Fatalf("acknowledged after %v", err)
	}
	for lsn := wal.LSN(1); lsn <= l.LastLSN(); lsn++ {
		if p, gerr := l.Get(lsn); gerr == nil && !bytes.Equal(p, record(lsn, 7000)) {
			t.Fatalf("get returned other bytes for record %d", lsn)
		}
	}
	r := l.Reader(0)
	for r.Next() {
		if !bytes.Equal(r.Record(), record(r.LSN(), 7000)) {
			t.Fatalf("the reader returned other bytes for record %d", r.LSN())
		}
	}
}

// TestLastPageLostAndRefilled truncates the last page of a segment away, with
// records in it, and extends the file again: the next store brings the block
// back, and only the last frame's link tells that the bytes before are gone.
func TestLastPageLostAndRefilled(t *testing.T) {
	for name, newRoot := range map[string]func(tester) string{"disk": diskDir, "memory": fastDir} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(newRoot(t), "log")
			l, err := wal.Open(dir, small())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			appendRecords(t, l, 1, 40000)
			appendRecords(t, l, 2, 500)
			if err = l.Sync(); err != nil {
				t.Fatal(err)
			}
			appendRecords(t, l, 1, 500)
			const file = "0000000000000001.wal"
			if err = truncatedTo(61440, true)(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			_, err = l.Append(record(5, 100))
			err = errors.Join(err, l.Sync())
			if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), file) || l.DurableLSN() != 3 {
				t.Fatalf("durable %d: %v", l.DurableLSN(), err)
			}
		})
	}
}

// TestHolesRefilled truncates what is not synced yet away, extends the file, and
// has the holes filled: by the log's own next records on a disk, by a look at
// them in memory. Size, blocks and the last frame's link are what they were; what
// is read back is not.
func TestHolesRefilled(t *testing.T) {
	for name, newRoot := range map[string]func(tester) string{"disk": diskDir, "memory": fastDir} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(newRoot(t), "log")
			l, err := wal.Open(dir, small())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			appendRecords(t, l, 1, 10000)
			if err = l.Sync(); err != nil {
				t.Fatal(err)
			}
			appendRecords(t, l, 1, 26000) // from 30520 on, to 56544
			const file = "0000000000000001.wal"
			if err = truncatedTo(53248, true)(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			if name == "memory" {
				r := l.Reader(2)
				r.Next()
				_ = r.Close()
			} else {
				_, err = l.Append(record(3, 8500)) // into the last page
			}
			err = errors.Join(err, l.Sync())
			if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), file) || l.DurableLSN() != 1 {
				t.Fatalf("durable %d: %v", l.DurableLSN(), err)
			}
		})
	}
}

// diskDir returns a directory where temporary files lie.
func diskDir(t tester) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "seawall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestReadersOfAHarmedSegment truncates an old, durable segment: Get and
// Reader return errors that name it.
func TestReadersOfAHarmedSegment(t *testing.T) {
	for _, h := range harms[:3] {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/mapped %v", h.name, warm), func(t *testing.T) {
				root := t.TempDir()
				l, dir := harmed(t, root)
				if err := l.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				if warm {
					wantRecords(t, l, 1, 10, 7000)
				}
				const file = "0000000000000001.wal"
				if err := h.do(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Get(3); err == nil || !strings.Contains(err.Error(), file) {
					t.Fatalf("get: %v", err)
				}
				r := l.Reader(3)
				if r.Next() || r.Err() == nil || !strings.Contains(r.Err().Error(), file) {
					t.Fatalf("reader: %v", r.Err())
				}
				if p, err := l.Get(10); err != nil || !bytes.Equal(p, record(10, 7000)) {
					t.Fatalf("get of a record elsewhere: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				rep, err := wal.Verify(dir)
				if err != nil || rep.Verdict != wal.Damaged {
					t.Fatalf("verify: %+v, %v", rep, err)
				}
			})
		}
	}
}

// mountMemory mounts a filesystem in memory of so many bytes.
func mountMemory(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		cannotRun(t, fmt.Sprintf("mounting a tmpfs: %v", err))
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// TestFullFilesystem appends until a real filesystem is full, frees some
// space, and goes on (C8).
func TestFullFilesystem(t *testing.T) {
	root := mountMemory(t, 600<<10)
	ballast := filepath.Join(root, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 256<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "log")
	l := openLog(t, dir, small())
	fill := func() wal.LSN {
		for {
			if _, err := l.Append(record(l.LastLSN()+1, 5000)); err != nil {
				if !errors.Is(err, wal.ErrNoSpace) || !errors.Is(err, unix.ENOSPC) || errors.Is(err, wal.ErrPoisoned) {
					t.Fatalf("append on a full filesystem: %v", err)
				}
				return l.LastLSN()
			}
		}
	}
	first := fill()
	if err := l.Sync(); err != nil || l.DurableLSN() != first {
		t.Fatalf("sync on a full filesystem: durable %d of %d: %v", l.DurableLSN(), first, err)
	}
	wantRecords(t, l, 1, first, 5000)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	second := fill()
	if second <= first {
		t.Fatalf("%d records before, %d after space was freed", first, second)
	}
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	wantRecords(t, l, 1, second, 5000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records, then %d", first, second)
}

// TestHolesOnAFullFilesystem takes the blocks of the tail away, and the space
// with them: the store itself finds no room. That is an error, and nothing of
// it is acknowledged.
func TestHolesOnAFullFilesystem(t *testing.T) {
	root := mountMemory(t, 512<<10)
	dir := filepath.Join(root, "log")
	l := openLog(t, dir, small())
	appendRecords(t, l, 3, 1000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	// A segment that finds no space while it is prepared gives its blocks back,
	// and they would do for the hole.
	awaitPrepared(t, l, dir)
	f, err := os.OpenFile(filepath.Join(dir, "0000000000000001.wal"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err = unix.Fallocate(int(f.Fd()), mode, 32<<10, 32<<10); err != nil {
		cannotRun(t, fmt.Sprintf("punching a hole into a file of tmpfs: %v", err))
	}
	ballast, err := os.Create(filepath.Join(root, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if err = ballast.Close(); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil && l.LastLSN() < 40; {
		_, err = l.Append(record(l.LastLSN()+1, 1000))
	}
	if !errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("append into a hole on a full filesystem: %v", err)
	}
	if err := l.Sync(); err == nil {
		wantRecords(t, l, 1, l.DurableLSN(), 1000)
	} else if !errors.Is(err, wal.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	last := l.DurableLSN()
	if err := l.Close(); err != nil && !errors.Is(err, wal.ErrPoisoned) {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	if l.LastLSN() < last {
		t.Fatalf("reopened with %d of %d records", l.LastLSN(), last)
	}
	wantRecords(t, l, 1, l.LastLSN(), 1000)
	appendRecords(t, l, 20, 1000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
