//go:build linux

package seawall_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// withoutProc is the environment variable that has this test's process hide /proc from itself, and
// live in the directory that it names.
const withoutProc = "SEAWALL_TEST_WITHOUT_PROC"

// TestLivesWithoutProc lives where /proc is not mounted, as in a container that was made by hand:
// the log does all that it does elsewhere. The lives are on the disk, where files are read with
// O_DIRECT; those of the other tests are in memory, where that cannot be.
func TestLivesWithoutProc(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if os.Getenv("SEAWALL_CI") != "" {
			t.Fatal("hiding /proc needs root")
		}
		t.Skip("hiding /proc needs root")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program)
	child.Env = append(os.Environ(), withoutProc+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := child.CombinedOutput()
	if err != nil || string(out) != "3 lives\n" {
		t.Fatalf("%v: %s", err, out)
	}
}

// liveWithoutProc is what the process does that has hidden /proc.
func liveWithoutProc(dir string) error {
	if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("hiding /proc: %w", err)
	}
	if _, err := os.Stat("/proc/self"); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("/proc is still there")
	}
	lives := 0
	for _, s := range []seawall.Log{{}, {Busy: true}, {Paired: true}} {
		if _, err := seawall.Live(filepath.Join(dir, s.Name()), 1, s, &counting{}); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		lives++
	}
	fmt.Printf("%d lives\n", lives)
	return nil
}
