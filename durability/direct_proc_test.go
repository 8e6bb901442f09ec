package durability_test

import (
	"bytes"
	"os"
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
	p := make([]byte, len(content))
	var how durability.ReadMode
	var nameless error
	must(t, elsewhere(func() (err error) {
		if err = unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
			return err
		}
		_, how, err = f.ReadDirect(p, 0)
		_, _, nameless = g.ReadDirect(make([]byte, 100), 0)
		return err
	}))
	if how == durability.ModeBuffered {
		cannot(t, "no direct reads here: "+f.DirectReason())
	}
	if !bytes.Equal(p, content) {
		t.Error("the bytes differ")
	}
	wantErr(t, nameless, unix.ENOENT, g.Path())
}
