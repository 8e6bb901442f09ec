package durability_test

import (
	"bytes"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// TestReadDirectWithoutProc reads around the page cache where /proc is not mounted,
// as long as the file has its name, and says what is missing where it has not.
func TestReadDirectWithoutProc(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		cannot(t, "hiding /proc needs root")
	}
	f, content, _ := randomFile(t, 8192)
	g, _, _ := randomFile(t, 8192)
	must(t, g.Sync())
	must(t, openDir(t, g.Path()[:len(g.Path())-2], nil).Remove("f"))
	if f.DirectReason() != "" {
		t.Fatal(f.DirectReason())
	}
	done := make(chan error, 1)
	p := make([]byte, len(content))
	var how durability.ReadMode
	var nameless error
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
				return err
			}
			var err error
			_, how, err = f.ReadDirect(p, 0)
			_, _, nameless = g.ReadDirect(make([]byte, 100), 0)
			return err
		}()
	}()
	must(t, <-done)
	if how == durability.ModeBuffered {
		cannot(t, "no direct reads here: "+f.DirectReason())
	}
	if !bytes.Equal(p, content) {
		t.Error("the bytes differ")
	}
	wantErr(t, nameless, unix.ENOENT, g.Path())
}
