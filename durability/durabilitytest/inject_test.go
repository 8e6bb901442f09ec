package durabilitytest_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// lifeOf does every operation that a hook can see, in a directory.
func lifeOf(t *testing.T, path string) {
	t.Helper()
	d, err := durability.OpenDir(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create("f", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(os.Getpagesize())
	steps := []func() error{
		func() error { return f.Allocate(size, durability.AllocateOptions{}) },
		func() error { _, err := f.ReadAt(make([]byte, 3), 5); return err },
		func() error { _, _, err := f.ReadDirect(make([]byte, 3), 5); return err },
		func() error { return f.WriteOut(0, size) }, f.Datasync, f.Sync, f.Lock, d.Sync,
		func() error { return f.Truncate(size) },
		func() error { return d.Rename("f", "g", f) },
		func() error {
			m, err := f.Map(size, true)
			if err != nil {
				return err
			}
			return errors.Join(m.PopulateRead(0, size), m.Sync(0, size), m.Unmap())
		},
		func() error { return d.Remove("g") },
		f.Close, d.Close,
		func() error { return durability.MkdirAll(filepath.Join(path, "sub"), 0o755, nil) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// TestInjectSeesAll checks that every operation comes by, before and after.
func TestInjectSeesAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seen := map[durability.Op][2]int{}
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		n := seen[c.Op]
		n[c.Phase-1]++
		seen[c.Op] = n
		return nil
	})
	lifeOf(t, dir)
	for _, op := range []durability.Op{
		durability.OpWrite, durability.OpMsync, durability.OpDatasync, durability.OpSync, durability.OpSyncDir,
		durability.OpCreate, durability.OpRename, durability.OpRemove, durability.OpMkdir, durability.OpAllocate,
		durability.OpTruncate, durabilitytest.OpRead, durabilitytest.OpReadDirect, durabilitytest.OpStatx,
		durabilitytest.OpMap, durabilitytest.OpPopulate, durabilitytest.OpLock, durabilitytest.OpOpen,
		durabilitytest.OpWriteOut,
	} {
		if n := seen[op]; n[0] == 0 || n[0] != n[1] {
			t.Errorf("operation %v came by %d times before and %d after", op, n[0], n[1])
		}
		delete(seen, op)
	}
	if len(seen) > 0 {
		t.Errorf("operations that nobody expected: %v", seen)
	}
}

// TestInjectFields checks what a hook is told about one call.
func TestInjectFields(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create("f", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	var got []durabilitytest.Call
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		got = append(got, *c)
		return nil
	})
	_, _ = f.WriteAt([]byte("data"), -5)
	_ = d.Rename("f", "g", f)
	_, _ = f.Map(0, false) // refused before the kernel is asked
	_ = f.Allocate(-7, durability.AllocateOptions{})
	want := []durabilitytest.Call{
		{Op: durability.OpWrite, Phase: durability.Before, Dir: dir, Name: "f", Offset: -5, Length: 4, Data: []byte("data")},
		{Op: durability.OpWrite, Phase: durability.After, Dir: dir, Name: "f", Offset: -5, Length: 4, Data: []byte("data"), Err: unix.EINVAL},
		{Op: durability.OpRename, Phase: durability.Before, Dir: dir, Name: "f", NewName: "g"},
		{Op: durability.OpRename, Phase: durability.After, Dir: dir, Name: "f", NewName: "g"},
		{Op: durabilitytest.OpStatx, Phase: durability.Before, Dir: dir, Name: "g"},
		{Op: durabilitytest.OpStatx, Phase: durability.After, Dir: dir, Name: "g"},
		{Op: durability.OpAllocate, Phase: durability.Before, Dir: dir, Name: "g", Length: -7},
		{Op: durability.OpAllocate, Phase: durability.After, Dir: dir, Name: "g", Length: -7, Err: unix.EINVAL},
	}
	same := cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if err := errors.Join(f.Close(), d.Close()); err != nil {
		t.Error(err)
	}
}

// TestInjectScope asks a hook about its directory and what is below, and about
// nothing else; and no more when it is removed.
func TestInjectScope(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"a", "a/sub", "ab"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	remove := durabilitytest.InjectDir(filepath.Join(root, "x", "..", "a"), func(*durabilitytest.Call) error {
		asked++
		return unix.EIO
	})
	for _, c := range []struct {
		dir  string
		want error
	}{{"a", unix.EIO}, {"a/sub", unix.EIO}, {"ab", nil}, {".", nil}} {
		d, err := durability.OpenDir(filepath.Join(root, c.dir), nil)
		if !errors.Is(err, c.want) {
			t.Errorf("OpenDir(%s) = %v, want %v", c.dir, err, c.want)
		}
		if err == nil {
			_ = d.Close()
		}
	}
	remove()
	remove()
	before := asked
	lifeOf(t, filepath.Join(root, "a"))
	if before != 2 || asked != before {
		t.Errorf("the hook was asked %d times, and %d after its removal, want 2 and 0", before, asked-before)
	}
	// Tests that run in parallel are below / too.
	var whole atomic.Int32
	defer durabilitytest.InjectDir("/", func(c *durabilitytest.Call) error {
		if c.Dir == root {
			whole.Add(1)
		}
		return nil
	})()
	d, err := durability.OpenDir(root, nil)
	if err != nil || whole.Load() == 0 {
		t.Fatalf("a hook for / was asked %d times, %v", whole.Load(), err)
	}
	_ = d.Close()
}

// TestInjectOrder takes the first error of several hooks for one directory.
func TestInjectOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	answers := []error{nil, unix.EIO, unix.ENOSPC}
	for _, answer := range answers {
		durabilitytest.Inject(t, dir, func(*durabilitytest.Call) error { return answer })
	}
	if _, err := durability.OpenDir(dir, nil); !errors.Is(err, unix.EIO) {
		t.Errorf("OpenDir returns %v, want %v", err, unix.EIO)
	}
}

// TestInjectDrop skips operations with success, and refuses to where there is
// something to hand out.
func TestInjectDrop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create("f", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Phase != durability.Before {
			t.Errorf("%v was not skipped", c.Op)
		}
		return durabilitytest.ErrDrop
	})
	n, err := f.WriteAt([]byte("data"), 0)
	if n != 4 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	for i, err := range []error{
		f.Truncate(100), f.Sync(), f.Sync(), f.Datasync(), d.Sync(), f.Lock(),
		d.Rename("f", "g", f), d.Remove("f"),
	} {
		if err != nil {
			t.Errorf("call %d returns %v", i, err)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "f")); err != nil || fi.Size() != 0 {
		t.Errorf("the file is %v, %v, want it empty, and where it was", fi, err)
	}
	if _, err := d.Create("new", 0o644); !errors.Is(err, durabilitytest.ErrDrop) {
		t.Errorf("Create returns %v, want %v", err, durabilitytest.ErrDrop)
	}
	if _, err := f.Size(); !errors.Is(err, durabilitytest.ErrDrop) {
		t.Errorf("Size returns %v, want %v", err, durabilitytest.ErrDrop)
	}
	if err := errors.Join(f.Close(), d.Close()); err != nil {
		t.Error(err)
	}
}

// TestInjectParallel has hooks come and go concurrently.
func TestInjectParallel(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		dir := t.TempDir()
		wg.Go(func() {
			for range 50 {
				var asked atomic.Int32
				remove := durabilitytest.InjectDir(dir, func(*durabilitytest.Call) error {
					asked.Add(1)
					return nil
				})
				d, err := durability.OpenDir(dir, nil)
				if err != nil {
					t.Error(err)
				} else if err = d.Close(); err != nil {
					t.Error(err)
				}
				remove()
				if n := asked.Load(); n != 2 {
					t.Errorf("the hook was asked %d times, want 2", n)
				}
			}
		})
	}
	wg.Wait()
}
