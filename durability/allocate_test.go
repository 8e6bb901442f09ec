package durability_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// content returns all bytes of a file.
func content(t *testing.T, f *durability.File) []byte {
	t.Helper()
	size, err := f.Size()
	must(t, err)
	p := make([]byte, size)
	_, err = f.ReadAt(p, 0)
	must(t, err)
	return p
}

// holes returns the number of bytes without data of their own, unwritten extents
// included.
func holes(t *testing.T, f *durability.File) int64 {
	t.Helper()
	must(t, f.Sync()) // dirty pages over an unwritten extent are data
	must(t, f.DropCache(0, 0))
	size, err := f.Size()
	must(t, err)
	n := int64(0)
	for at := int64(0); at < size; {
		hole, err := unix.Seek(f.Fd(), at, unix.SEEK_HOLE)
		must(t, err)
		if hole >= size {
			break
		}
		if at, err = unix.Seek(f.Fd(), hole, unix.SEEK_DATA); err != nil {
			at = size
		}
		n += at - hole
	}
	return n
}

// writes returns the ends of the zero-filling writes that the trace has.
func writes(t *testing.T, r *durabilitytest.Recorder) []int64 {
	t.Helper()
	var ends []int64
	for _, e := range r.Events() {
		if e.Op != durability.OpWrite || e.Phase != durability.Before {
			continue
		}
		if e.Data != nil {
			t.Errorf("a write of zeros carries %d bytes of data", len(e.Data))
		}
		ends = append(ends, e.Offset+e.Length)
	}
	return ends
}

// TestAllocate checks that every byte has a written block behind it, and that
// the writes have the sizes that were asked for.
func TestAllocate(t *testing.T) {
	t.Parallel()
	kib := int64(1 << 10)
	fill := 4 * page
	cases := []struct {
		name string
		old  string
		size int64
		o    durability.AllocateOptions
		ends []int64 // of the writes
	}{
		{"default", "", 4 * 64 * kib, durability.AllocateOptions{}, []int64{64 * kib, 128 * kib, 192 * kib, 256 * kib}},
		{"fill", "", 3*fill + 7, durability.AllocateOptions{FillBytes: int(fill)}, []int64{fill, 2 * fill, 3 * fill, 3*fill + 7}},
		{"head", "", 2 * fill, durability.AllocateOptions{FillBytes: int(fill), Head: page + 1}, []int64{page, 2 * page, fill, 2 * fill}},
		{"head only", "", 2 * page, durability.AllocateOptions{Head: 1 << 40}, []int64{page, 2 * page}},
		{"grown", "content", 2 * fill, durability.AllocateOptions{FillBytes: int(fill), Head: 2 * page}, []int64{page, 2 * page, fill, 2 * fill}},
		{"shorter", "content", 3, durability.AllocateOptions{}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := durabilitytest.NewRecorder()
			d := newDir(t, nil)
			f := newFile(t, openDir(t, d.Path(), r), "f", 0)
			if c.old != "" {
				quiet := reopen(t, f, d, true)
				_, err := quiet.WriteAt([]byte(c.old), 0)
				must(t, err)
			}
			must(t, f.Allocate(c.size, c.o))
			want := make([]byte, max(c.size, int64(len(c.old))))
			copy(want, c.old)
			if got := content(t, f); !bytes.Equal(got, want) {
				t.Errorf("the file has %d bytes, or other ones; want %d", len(got), len(want))
			}
			if diff := cmp.Diff(c.ends, writes(t, r)); diff != "" {
				t.Errorf("ends of the writes (-want +got):\n%s", diff)
			}
			if n := holes(t, f); n != 0 {
				t.Errorf("%d bytes have no data", n)
			}
			for _, e := range r.Events() {
				if e.Op == durability.OpAllocate && (e.Offset != 0 || e.Length != c.size || e.Err != nil) {
					t.Errorf("the trace says allocate [%d, +%d), %v; want [0, +%d)", e.Offset, e.Length, e.Err, c.size)
				}
			}
			must(t, f.NoCOW())
		})
	}
}

// TestNoCOW tells why a file could not leave copy-on-write. A filesystem that has
// none of it refuses the flag.
func TestNoCOW(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 0)
	must(t, f.NoCOW())
	fsys, err := f.Filesystem()
	must(t, err)
	durability.LeaveCopyOnWrite(f)
	if fsys.Name == "btrfs" {
		must(t, f.NoCOW())
		flags, err := unix.IoctlGetInt(f.Fd(), unix.FS_IOC_GETFLAGS)
		must(t, err)
		if flags&0x00800000 == 0 {
			t.Errorf("the flags are %#x, without FS_NOCOW_FL", flags)
		}
		return
	}
	if err := f.NoCOW(); err == nil || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("on %s, NoCOW returns %v, want a reason", fsys.Name, err)
	}
}

// TestAllocateOptions checks what is refused, with the file as it was.
func TestAllocateOptions(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 0)
	for _, o := range []durability.AllocateOptions{{FillBytes: -1}, {FillBytes: -int(page)}, {FillBytes: int(page) + 1}, {Head: -1}} {
		if err := f.Allocate(page, o); err == nil {
			t.Errorf("Allocate takes %+v", o)
		}
		if _, err := f.FillHoles(o); err == nil {
			t.Errorf("FillHoles takes %+v", o)
		}
	}
	if size, err := f.Size(); size != 0 || err != nil {
		t.Errorf("the file has %d bytes, %v", size, err)
	}
	wantErr(t, f.Allocate(-1, durability.AllocateOptions{}), unix.EINVAL, f.Path())
}

// TestAllocateCancel stops between two writes.
func TestAllocateCancel(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	f := newFile(t, newDir(t, r), "f", 0)
	asked := 0
	cancel := func() bool { asked++; return asked > 3 }
	err := f.Allocate(64*page, durability.AllocateOptions{FillBytes: int(page), Cancel: cancel})
	wantErr(t, err, context.Canceled, f.Path())
	if n := len(writes(t, r)); n != 3 {
		t.Errorf("%d writes, want 3", n)
	}
}

// TestAllocateWithoutFallocate fills by zeros alone where the filesystem has no
// fallocate, and nowhere else.
func TestAllocateWithoutFallocate(t *testing.T) {
	t.Parallel()
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOSYS, unix.EIO, unix.ENOSPC} {
		d := newDir(t, nil)
		f := newFile(t, d, "f", 0)
		durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
			if c.Op == durability.OpAllocate {
				return errno
			}
			return nil
		})
		err := f.Allocate(3*page, durability.AllocateOptions{})
		size, serr := f.Size()
		must(t, serr)
		if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS {
			must(t, err)
			if size != 3*page || holes(t, f) != 0 {
				t.Errorf("with %v the file has %d bytes and holes", errno, size)
			}
			continue
		}
		wantErr(t, err, errno, f.Path())
		if size != 0 {
			t.Errorf("with %v the file has %d bytes", errno, size)
		}
	}
}

// TestAllocateNoSpaceForZeros says so when the zeros find no space after all.
func TestAllocateNoSpaceForZeros(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", 0)
	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durability.OpWrite && c.Offset >= 2*page {
			return unix.ENOSPC
		}
		return nil
	})
	err := f.Allocate(4*page, durability.AllocateOptions{FillBytes: int(page)})
	wantErr(t, err, durability.ErrNoSpace, f.Path())
	wantErr(t, err, unix.ENOSPC)
}

// TestFillHoles makes a sparse file real, and leaves its bytes as they were.
func TestFillHoles(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	d := newDir(t, nil)
	f := newFile(t, openDir(t, d.Path(), r), "f", 0)
	quiet := reopen(t, f, d, true)
	const size = 1<<20 + 100
	must(t, unix.Fallocate(f.Fd(), 0, 256<<10, 256<<10)) // unwritten extents
	must(t, quiet.Truncate(size))
	want := make([]byte, size)
	for _, off := range []int64{64 << 10, 300 << 10, 700<<10 + 5} {
		copy(want[off:], "data")
		_, err := quiet.WriteAt([]byte("data"), off)
		must(t, err)
	}
	before := holes(t, f)
	if before == 0 {
		cannot(t, "the filesystem tells no holes")
	}
	filled, err := f.FillHoles(durability.AllocateOptions{})
	must(t, err)
	if filled != before {
		t.Errorf("filled %d bytes, want %d", filled, before)
	}
	if n := holes(t, f); n != 0 {
		t.Errorf("%d bytes have no data yet", n)
	}
	if got := content(t, f); !bytes.Equal(got, want) {
		t.Error("the content changed")
	}
	st, err := f.Stat()
	must(t, err)
	if st.Blocks*512 < size {
		t.Errorf("%d blocks for %d bytes", st.Blocks, size)
	}
	if len(writes(t, r)) == 0 {
		t.Error("the tracer saw no writes")
	}
	if filled, err = f.FillHoles(durability.AllocateOptions{}); filled != 0 || err != nil {
		t.Errorf("again: filled %d bytes, %v", filled, err)
	}
}
