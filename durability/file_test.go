package durability_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestReadWriteAt checks the contracts of io.ReaderAt and io.WriterAt.
func TestReadWriteAt(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 0)
	n, err := f.WriteAt([]byte("0123456789"), 5)
	if n != 10 || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	cases := []struct {
		off, n int64
		want   string
		err    error
	}{
		{0, 15, "\x00\x00\x00\x00\x000123456789", nil},
		{7, 3, "234", nil},
		{12, 3, "789", nil},
		{12, 4, "789", io.EOF},
		{15, 1, "", io.EOF},
		{99, 1, "", io.EOF},
		{3, 0, "", nil},
		{99, 0, "", nil},
		{-1, 1, "", unix.EINVAL},
	}
	for _, c := range cases {
		p := make([]byte, c.n)
		n, err = f.ReadAt(p, c.off)
		if string(p[:n]) != c.want || !errors.Is(err, c.err) {
			t.Errorf("ReadAt(%d bytes, %d) = %q, %v, want %q, %v", c.n, c.off, p[:n], err, c.want, c.err)
		}
		if c.err == io.EOF && err != io.EOF { //nolint:errorlint // callers of an io.ReaderAt may compare
			t.Errorf("the end of the file is %#v, want io.EOF itself", err)
		}
	}
	_, err = f.WriteAt([]byte("x"), -1)
	wantErr(t, err, unix.EINVAL, f.Path(), "offset -1")
	readOnly := openDir(t, filepath.Dir(f.Path()), nil)
	r, err := readOnly.Open("f", false)
	must(t, err)
	_, err = r.WriteAt([]byte("x"), 0)
	wantErr(t, err, unix.EBADF, f.Path())
	must(t, r.Close())
}

// TestNotMappedFault leaves EFAULT alone for a buffer that is not ours.
func TestNotMappedFault(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", page)
	p, err := unix.Mmap(-1, 0, int(page), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	defer func() { must(t, unix.Munmap(p)) }()
	_, err = f.WriteAt(p, 0)
	wantErr(t, err, unix.EFAULT, f.Path())
	var fault *durability.FaultError
	if errors.As(err, &fault) {
		t.Errorf("WriteAt returns %v for a stranger's buffer", err)
	}
}

// TestStat compares with what package os says.
func TestStat(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 3*page)
	must(t, f.Sync())
	must(t, os.Link(f.Path(), f.Path()+"2"))
	ask := func() durability.Stat {
		fi, err := os.Stat(f.Path())
		must(t, err)
		sys := fi.Sys().(*syscall.Stat_t)
		return durability.Stat{Dev: sys.Dev, Ino: sys.Ino, Size: fi.Size(), Blocks: sys.Blocks, Links: 2}
	}
	want := ask()
	got, err := f.Stat()
	must(t, err)
	// The filesystem may give blocks to the file, and take them, at any moment.
	if later := ask(); got.Blocks >= min(want.Blocks, later.Blocks) && got.Blocks <= max(want.Blocks, later.Blocks) {
		want.Blocks = got.Blocks
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Stat (-want +got):\n%s", diff)
	}
	must(t, f.Truncate(17))
	if size, err := f.Size(); size != 17 || err != nil {
		t.Errorf("Size() = %d, %v after Truncate(17)", size, err)
	}
	wantErr(t, f.Truncate(-1), unix.EINVAL, f.Path(), "to -1 bytes")
}

// TestClosed checks that nothing goes on after Close, where the number of the
// descriptor may belong to another file.
func TestClosed(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", page)
	_, _, err := f.ReadDirect(make([]byte, 1), 0)
	must(t, err)
	must(t, f.Close())
	for name, do := range map[string]func() error{
		"Close":      f.Close,
		"Sync":       f.Sync,
		"Datasync":   f.Datasync,
		"Size":       func() error { _, err := f.Size(); return err },
		"Stat":       func() error { _, err := f.Stat(); return err },
		"ReadAt":     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"WriteAt":    func() error { _, err := f.WriteAt(make([]byte, 1), 0); return err },
		"ReadDirect": func() error { _, _, err := f.ReadDirect(make([]byte, 1), 0); return err },
		"Allocate":   func() error { return f.Allocate(page, durability.AllocateOptions{}) },
		"FillHoles":  func() error { _, err := f.FillHoles(durability.AllocateOptions{}); return err },
		"Truncate":   func() error { return f.Truncate(0) },
		"Lock":       f.Lock,
		"PageCache":  func() error { _, err := f.PageCache(0, 0); return err },
		"DropCache":  func() error { return f.DropCache(0, 0) },
		"Filesystem": func() error { _, err := f.Filesystem(); return err },
	} {
		err := do()
		if !errors.Is(err, durability.ErrClosed) || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s after Close returns %v, want ErrClosed", name, err)
		}
	}
	if f.Name() != "f" || f.Path() != filepath.Join(d.Path(), "f") {
		t.Errorf("after Close, the name is %q, the path %q", f.Name(), f.Path())
	}
}

// TestFileErrors fails every call in the kernel's place, and checks that the
// error has the cause and the place.
func TestFileErrors(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", page)
	m := mapFile(t, f, page)
	for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT} {
		for name, do := range map[string]func() error{
			"ReadAt":       func() error { _, err := f.ReadAt(make([]byte, 1), 9); return err },
			"ReadDirect":   func() error { _, _, err := f.ReadDirect(make([]byte, 1), 9); return err },
			"WriteAt":      func() error { _, err := f.WriteAt(make([]byte, 1), 9); return err },
			"Truncate":     func() error { return f.Truncate(9) },
			"Size":         func() error { _, err := f.Size(); return err },
			"Allocate":     func() error { return f.Allocate(2*page, durability.AllocateOptions{}) },
			"PopulateRead": func() error { return m.PopulateRead(0, page) },
			"Rename":       func() error { return d.Rename("f", "g", f) },
		} {
			for _, phase := range []durability.Phase{durability.Before, durability.After} {
				if phase == durability.After && (name == "Rename" || name == "Truncate") {
					continue // done all the same
				}
				remove := durabilitytest.InjectDir(d.Path(), func(c *durabilitytest.Call) error {
					if c.Phase == phase {
						return errno
					}
					return nil
				})
				err := do()
				remove()
				wantErr(t, err, errno, f.Path())
				if full := errors.Is(err, durability.ErrNoSpace); full != (errno != unix.EIO) {
					t.Errorf("%s with %v: %v matches ErrNoSpace: %v", name, errno, err, full)
				}
				var place *fs.PathError
				if !errors.As(err, &place) {
					t.Errorf("%s returns %T, want a PathError", name, err)
				}
			}
		}
	}
	if got, err := os.ReadDir(d.Path()); err != nil || len(got) != 1 || got[0].Name() != "f" {
		t.Errorf("after failures the directory has %v, %v", got, err)
	}
}

// TestPopulateFault takes EHWPOISON and EFAULT for the fault that they stand for.
func TestPopulateFault(t *testing.T) {
	t.Parallel()
	m := newMapping(t, 2*page)
	for _, errno := range []unix.Errno{unix.EFAULT, unix.EHWPOISON} {
		remove := durabilitytest.InjectDir(filepath.Dir(m.File().Path()), func(c *durabilitytest.Call) error {
			if c.Op == durabilitytest.OpPopulate {
				return errno
			}
			return nil
		})
		for _, err := range []error{m.PopulateRead(page, page), m.PopulateWrite(page, page)} {
			var fault *durability.FaultError
			if !errors.As(err, &fault) || fault.Offset != page {
				t.Errorf("with %v: %v, want a FaultError at %d", errno, err, page)
			}
		}
		remove()
	}
}

// TestPageCache follows a page from the store to the device.
func TestPageCache(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 4*page)
	if fsys, err := f.Filesystem(); err != nil || !fsys.Durable {
		t.Skipf("%s does not drop pages", fsys.Name)
	}
	p := make([]byte, 4*page)
	read := func() error { _, err := f.ReadAt(p, 0); return err }
	write := func() error { _, err := f.WriteAt([]byte("x"), 0); return err }
	must(t, f.Sync())
	pagesUntil(t, f, 0, 0, read, func(pc durability.PageCache) bool {
		if pc.Dirty != 0 || pc.Writeback != 0 || pc.Cached > 4 {
			t.Fatalf("synced and read: %+v, want up to four clean pages", pc)
		}
		return pc.Cached == 4
	})
	pagesUntil(t, f, page, page, read, func(pc durability.PageCache) bool { return pc.Cached == 1 })
	dropped(t, f)
	pagesUntil(t, f, 0, page, write, func(pc durability.PageCache) bool { return pc.Cached == 1 && pc.Dirty == 1 })
	must(t, f.Sync())
	if pc, err := f.PageCache(0, 0); err != nil || pc.Dirty != 0 || pc.Writeback != 0 {
		t.Errorf("written and synced: %+v, %v", pc, err)
	}
}
