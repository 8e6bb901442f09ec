package durability

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// ReadMode says where the bytes of a ReadDirect came from. Zero is no mode: the
// file was not read.
type ReadMode int

// The ways of reading.
const (
	// ModeDirect: from the device, around the page cache (O_DIRECT).
	ModeDirect ReadMode = iota + 1
	// ModeBuffered: from the page cache, which may hold, as clean pages, what the
	// device never got after a failed writeback. File.DirectReason says why.
	ModeBuffered
)

// String returns the word for it.
func (m ReadMode) String() string {
	switch m {
	case ModeDirect:
		return "direct"
	case ModeBuffered:
		return "buffered"
	}
	return "unread"
}

const (
	// fallbackAlign serves every device with sectors of up to 4 KiB, where the
	// kernel does not tell the alignment (before Linux 6.1).
	fallbackAlign = 4096

	// directBytes bounds the buffer of one direct read.
	directBytes = 1 << 20
)

// direct is the second descriptor of a File, with O_DIRECT, opened at the first
// ReadDirect and kept until EndDirect or Close. A descriptor of its own is needed: the flag
// belongs to the open file description, and would hold for all that is read and
// written through it at the same time.
type direct struct {
	mu     sync.Mutex
	tried  bool
	fd     int    // -1 where there is none
	align  int64  // of offsets and lengths
	memory int64  // of buffers
	reason string // why there is none
}

// directBuffers are aligned buffers of directBytes. They are shared: most files
// are read once, when they are opened, and stay open for long.
var directBuffers sync.Pool

// directBuffer returns a buffer with that alignment.
func directBuffer(align int64) *[]byte {
	if b, ok := directBuffers.Get().(*[]byte); ok && addressOf(*b)&(uintptr(align)-1) == 0 {
		return b
	}
	b := alignedBuffer(directBytes, align)
	return &b
}

// ReadDirect reads from the device instead of the page cache where the
// filesystem lets it, and says in how which it was; see DirectReason. Where the
// filesystem would let it, and this process cannot open the file once more (it
// has no descriptor left, say), that is an error. Any offset
// and length will do: the aligned span around it is read and the rest thrown
// away. It ends like io.ReaderAt: fewer bytes than asked come with an error,
// io.EOF at the end of the file.
//
// Dirty pages of the range are written back first, by the kernel. Some
// filesystems serve single extents through the page cache even so (btrfs:
// compressed ones), and do not say it. Calls on one File run one at a time.
func (f *File) ReadDirect(p []byte, off int64) (n int, how ReadMode, err error) {
	call := f.call(fault.ReadDirect)
	call.Offset, call.Length = off, int64(len(p))
	_, err = ask(call, func() error {
		rerr := f.with(func(fd int) (err error) {
			n, how, err = f.direct.read(f, fd, p, off)
			return err
		})
		call.Data = p[:n]
		return rerr
	})
	if err == nil || errors.Is(err, io.EOF) {
		return n, how, err
	}
	return n, how, rangeError("read direct", f.Path(), off, int64(len(p)), err)
}

// DirectReason says why ReadDirect reads through the page cache, or nothing
// where it does not, or was not called yet.
func (f *File) DirectReason() string {
	f.direct.mu.Lock()
	defer f.direct.mu.Unlock()
	return f.direct.reason
}

// EndDirect closes the descriptor that ReadDirect reads through, if there is one.
// The next ReadDirect opens it again. Of many files that stay open, each would
// need two descriptors otherwise.
func (f *File) EndDirect() error {
	d := &f.direct
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd, d.tried = -1, false
	return pathError("close", f.Path(), unix.Close(fd))
}

// read reads p around the page cache, or through it where that cannot be.
func (d *direct) read(f *File, fd int, p []byte, off int64) (int, ReadMode, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, 0, unix.EINVAL
	}
	if !d.tried {
		if err := d.open(f, fd); err != nil {
			return 0, 0, err
		}
		d.tried = true
	}
	if d.fd >= 0 {
		n, err := d.readAligned(p, off)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return n, ModeDirect, err
		}
		d.refuse(fmt.Sprintf("the filesystem refuses direct reads: %v", err))
	}
	n, err := readFull(fd, p, off)
	return n, ModeBuffered, err
}

// open opens the descriptor, or leaves a reason why the filesystem has no direct
// reads. Any other failure is an error, and no reason to take the page cache for
// the device: it is gone as soon as any process closes a file, and what was read
// until then is believed for good.
func (d *direct) open(f *File, fd int) error {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN|unix.STATX_INO, &st); err != nil {
		return err
	}
	d.align, d.memory = fallbackAlign, fallbackAlign
	if st.Mask&unix.STATX_DIOALIGN != 0 {
		if st.Dio_offset_align == 0 || st.Dio_mem_align == 0 {
			d.refuse("the filesystem has no direct reads for this file")
			return nil
		}
		d.align, d.memory = int64(st.Dio_offset_align), int64(st.Dio_mem_align)
	}
	var where unix.Statfs_t
	if err := unix.Fstatfs(fd, &where); err == nil && (where.Type == unix.TMPFS_MAGIC || where.Type == unix.RAMFS_MAGIC) {
		// tmpfs takes O_DIRECT and ignores it since Linux 6.6.
		d.refuse("the filesystem lives in memory, the page cache is all there is")
		return nil
	}
	own, err := f.openDirect(fd, keyOf(&st))
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		d.refuse(fmt.Sprintf("the filesystem refuses to open it with O_DIRECT: %v", err))
		return nil
	case err != nil:
		return fmt.Errorf("opening it with O_DIRECT: %w", err)
	}
	d.fd = own
	return nil
}

// openDirect opens the file once more, with O_DIRECT: under its name, as long as
// that leads to it, and else by the magic link of the open descriptor, which
// takes /proc.
func (f *File) openDirect(fd int, key inodeKey) (own int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECT | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	err = f.dir.with(func(dirfd int) (err error) {
		own, err = unix.Openat(dirfd, f.Name(), flags, 0)
		return err
	})
	if err == nil {
		var st unix.Statx_t
		err = unix.Statx(own, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &st)
		if err == nil && keyOf(&st) == key {
			return own, nil
		}
		closeUnused(own)
		if err != nil {
			return -1, err
		}
	} else if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ELOOP) && !errors.Is(err, ErrClosed) {
		return -1, err
	}
	own, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags&^unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return -1, fmt.Errorf("its name leads to it no longer, and /proc is not there to reach it by: %w", err)
	}
	return own, err
}

// refuse leaves direct reads for good, and says why.
func (d *direct) refuse(reason string) {
	d.reason = reason
	closeUnused(d.fd)
	d.fd = -1
}

// close closes the descriptor, if there is one.
func (d *direct) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried = true
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// readAligned reads p by aligned spans into an aligned buffer. The end of the
// file is where a span comes back short.
func (d *direct) readAligned(p []byte, off int64) (n int, err error) {
	buffer := directBuffer(max(d.memory, d.align))
	defer directBuffers.Put(buffer)
	for n < len(p) {
		at := off + int64(n)
		from := at - at%d.align
		span := min(ceil(at+int64(len(p)-n), d.align)-from, int64(len(*buffer)))
		// btrfs reads into memory that was never touched through the page cache, and does not say
		// so (measured on Linux 6.18): it must not fault while it holds its locks.
		clear((*buffer)[:span])
		got, err := unix.Pread(d.fd, (*buffer)[:span], from)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		skip := int(at - from)
		if got <= skip {
			return n, io.EOF
		}
		m, err := copyGuarded(p[n:], (*buffer)[skip:got])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// copyGuarded is copy into a buffer of the caller, which may be mapped.
func copyGuarded(dst, src []byte) (n int, err error) {
	err = Guard(func() error {
		n = copy(dst, src)
		return nil
	})
	return n, err
}

// alignedBuffer returns n bytes at an address that is a multiple of align. The
// collector does not move it.
func alignedBuffer(n int, align int64) []byte {
	b := make([]byte, n+int(align))
	skip := -int64(addressOf(b)) & (align - 1)
	return b[skip : skip+int64(n)]
}

// addressOf returns where a slice's bytes lie.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// ceil rounds n up to a multiple of unit.
func ceil(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
