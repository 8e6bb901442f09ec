package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestOpenWithoutADescriptor opens a log when the process has no descriptor left
// for reading around the page cache: that is an error, and the page cache is not
// believed instead.
func TestOpenWithoutADescriptor(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), logName) // on a disk
	cmd := exec.Command(thisProgram)
	cmd.Env = append(os.Environ(), limitedChild+"=direct reads,"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.4000s", err, out)
	}
}

// openWithoutADescriptor is the child of TestOpenWithoutADescriptor.
func openWithoutADescriptor(dir string) error {
	l, err := wal.Open(dir, small())
	if err != nil {
		return err
	}
	if err = errors.Join(moreOf(l, 20, 5000), l.Close()); err != nil {
		return err
	}
	lift := func() {}
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) (err error) {
		if c.Op == durabilitytest.OpReadDirect && strings.HasSuffix(c.Name, ".wal") {
			if c.Phase == durability.Before {
				lift, err = limit(unix.RLIMIT_NOFILE, 3)
				return err
			}
			lift()
		}
		return nil
	})
	l, err = wal.Open(dir, small())
	remove()
	lift()
	if err == nil {
		return errors.Join(fmt.Errorf("opened, with the warnings %q", l.Recovery().Warnings), l.Close())
	}
	if err = wantLimit("open", err, unix.EMFILE, ".wal", "O_DIRECT", "ulimit -n"); err != nil {
		return err
	}
	if l, err = wal.Open(dir, small()); err != nil {
		return fmt.Errorf("the limit was lifted: %w", err)
	}
	if l.LastLSN() != 20 {
		return errors.Join(fmt.Errorf("the last is %d", l.LastLSN()), l.Close())
	}
	return l.Close()
}

// TestOpenDropsThePageCache opens a log on a filesystem without direct reads whose
// page cache holds, as clean pages, what the device does not: the device decides.
// Where another process maps these pages, Open says that they stayed.
func TestOpenDropsThePageCache(t *testing.T) {
	t.Parallel()
	kind := volumeKinds[0]
	kind.options = "data=journal"
	for _, mapped := range []bool{false, true} {
		t.Run(fmt.Sprintf("mapped %v", mapped), func(t *testing.T) {
			t.Parallel()
			v := newVolume(t, kind)
			dir := v.path(logName)
			o := small()
			o.SegmentsAhead = 1
			l, err := wal.Open(dir, o)
			must(t, err)
			p := bytes.Repeat([]byte("a record on the device. "), 20)
			_, err = l.Append(p)
			must(t, err)
			must(t, moreOf(l, 3, 5000))
			must(t, l.Close())
			v.remount()
			name := filepath.Join(dir, firstName)
			if mapped {
				cmd := exec.Command(thisProgram)
				cmd.Env = append(os.Environ(), limitedChild+"=map,"+name)
				defer startMapping(t, cmd)()
			}
			b, err := os.ReadFile(name) // the page cache has it now
			must(t, err)
			if !bytes.Contains(b, p) {
				t.Fatal("the record is not in the segment")
			}
			alterImage(t, v.image, p)

			l, err = wal.Open(dir, o)
			if !mapped {
				if !errors.Is(err, wal.ErrCorrupt) {
					t.Fatalf("the device holds another record: %v", err)
				}
				return
			}
			must(t, err)
			if w := strings.Join(l.Recovery().Warnings, "; "); !strings.Contains(w, "stayed in it, which another process maps") {
				t.Errorf("the warnings are %q", w)
			}
			must(t, l.Close())
		})
	}
}

// startMapping starts the process that maps a segment, and returns what ends it.
func startMapping(t *testing.T, cmd *exec.Cmd) (end func()) {
	t.Helper()
	hold, err := cmd.StdinPipe()
	must(t, err)
	said, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if n, err := said.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("the process that maps the segment: %v", err)
	}
	return func() {
		hold.Close()
		_ = cmd.Wait()
	}
}

// alterImage changes a byte of each place of a filesystem's image that holds p.
func alterImage(t *testing.T, image string, p []byte) {
	t.Helper()
	b, err := os.ReadFile(image)
	must(t, err)
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	n := 0
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], p)
		if i < 0 {
			break
		}
		at += i
		_, err = f.WriteAt([]byte{'A'}, int64(at))
		must(t, err)
		n++
	}
	if n == 0 {
		t.Fatal("the record is not on the device")
	}
}

// mapWhole maps a file, with all of its pages, until standard input ends.
func mapWhole(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	fmt.Print("m")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, unix.Munmap(mem), f.Close())
}
