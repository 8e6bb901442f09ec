package durability_test

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// reopen opens a file once more until the test ends.
func reopen(t *testing.T, f *durability.File, d *durability.Dir, writable bool) *durability.File {
	t.Helper()
	again, err := d.Open(f.Name(), writable)
	must(t, err)
	t.Cleanup(func() { closed(t, again.Close()) })
	return again
}

// wantLocked asks about the lock.
func wantLocked(t *testing.T, f *durability.File, want bool) {
	t.Helper()
	got, err := f.Locked()
	must(t, err)
	if got != want {
		t.Errorf("Locked() = %v, want %v", got, want)
	}
}

// TestLock checks that the lock belongs to the open file description, so that it
// keeps out a second one in the same process too.
func TestLock(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	holder := newFile(t, d, "lock", 0)
	second, looker := reopen(t, holder, d, true), reopen(t, holder, d, false)

	wantLocked(t, looker, false)
	must(t, holder.Lock())
	must(t, holder.Lock())
	wantLocked(t, looker, true)
	wantLocked(t, second, true)
	wantLocked(t, holder, false)
	wantErr(t, second.Lock(), durability.ErrLocked, holder.Path())
	wantErr(t, looker.Lock(), unix.EBADF, "open for writing")

	// Asking takes no lock, and closing another description releases none.
	must(t, looker.Close())
	wantErr(t, second.Lock(), durability.ErrLocked)
	must(t, holder.Close())
	must(t, second.Lock())
	_, err := looker.Locked()
	wantErr(t, err, durability.ErrClosed)
	wantErr(t, holder.Lock(), durability.ErrClosed)
}

// TestLockDiesWithProcess kills a process that holds the lock.
func TestLockDiesWithProcess(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "lock", 0)
	c := startChild(t, "lock", d.Path(), nil)
	if got := c.line(t); got != "locked" {
		t.Fatalf("the child says %q", got)
	}
	wantErr(t, f.Lock(), durability.ErrLocked)
	wantLocked(t, f, true)
	must(t, c.Process.Signal(syscall.SIGKILL))
	if _, err := io.ReadAll(c.out); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // says that it was killed
	wantLocked(t, f, false)
	must(t, f.Lock())
}

// holdLock is the child of TestLockDiesWithProcess.
func holdLock(dir string) error {
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		return err
	}
	f, err := d.Open("lock", true)
	if err != nil {
		return err
	}
	if err = f.Lock(); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// TestLockErrors checks what is no answer about a lock.
func TestLockErrors(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "lock", 0)
	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpLock {
			return unix.ENOLCK
		}
		return nil
	})
	wantErr(t, f.Lock(), unix.ENOLCK, f.Path())
	_, err := f.Locked()
	wantErr(t, err, unix.ENOLCK, f.Path())
}

// TestCloseUnlocks closes a locked file of which a copy of the descriptor is
// left, as a child has it between fork and exec: the lock is free at once.
func TestCloseUnlocks(t *testing.T) {
	t.Parallel()
	d, err := durability.OpenDir(t.TempDir(), nil)
	must(t, err)
	defer d.Close()
	f, err := d.Create("lock", 0o600)
	must(t, err)
	must(t, f.Lock())
	left, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(left)
	must(t, f.Close())
	again, err := d.Open("lock", true)
	must(t, err)
	defer again.Close()
	must(t, again.Lock())
}
