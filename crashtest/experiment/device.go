//go:build linux

package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// statSectorBytes is the unit of /sys/block/*/stat, whatever the device's own.
const statSectorBytes = 512

// device is the block device that a file's filesystem says it lies on.
type device struct {
	sys string // its directory in sysfs, "" where there is none
	dev uint64
}

// deviceOf returns a file's device. Filesystems that span devices (btrfs), or
// have none, name one that sysfs does not know.
func deviceOf(f *durability.File) device {
	st, err := f.Stat()
	if err != nil {
		return device{}
	}
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if _, err := os.Stat(sys); err != nil {
		return device{}
	}
	return device{sys: sys, dev: st.Dev}
}

// written returns how many bytes the device has written, for everybody, or -1.
func (d device) written() int64 {
	if d.sys == "" {
		return -1
	}
	text, err := os.ReadFile(filepath.Join(d.sys, "stat"))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 7 {
		return -1
	}
	// Documentation/block/stat.rst: the seventh field is write sectors.
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return -1
	}
	return sectors * statSectorBytes
}

// rawFile reads a file's blocks from the block device, below the filesystem.
type rawFile struct {
	fd      int
	extents []extent
	buffer  []byte // a page, aligned for O_DIRECT
}

// extent is a run of blocks of a file.
type extent struct{ logical, physical, length int64 }

// openRaw opens the device below a file for reading, or returns nil: that needs
// root, a filesystem on one block device, and one that tells addresses. Whether
// they are the device's own the caller finds out by reading what it knows.
func openRaw(f *durability.File, size int64) *rawFile {
	d := deviceOf(f)
	extents, err := extentsOf(f.Fd(), size)
	if d.sys == "" || err != nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(d.sys, "uevent"))
	_, rest, found := strings.Cut(string(text), "DEVNAME=")
	name, _, _ := strings.Cut(rest, "\n")
	if err != nil || !found {
		return nil
	}
	fd, err := unix.Open(filepath.Join("/dev", name), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	r := &rawFile{fd: fd, extents: extents}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && uint64(st.Rdev) == d.dev { //nolint:unconvert // uint32 on some machines
		r.buffer, err = unix.Mmap(-1, 0, int(pageBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	}
	if err != nil || r.buffer == nil {
		_ = unix.Close(fd) // nothing was read from it
		return nil
	}
	return r
}

// page returns a copy of the page at an offset of the file.
func (r *rawFile) page(off int64) ([]byte, error) {
	for _, e := range r.extents {
		if off < e.logical || off+pageBytes > e.logical+e.length {
			continue
		}
		n, err := unix.Pread(r.fd, r.buffer, e.physical+off-e.logical)
		if err == nil && n < len(r.buffer) {
			err = io.ErrUnexpectedEOF
		}
		return bytes.Clone(r.buffer), err
	}
	return nil, fmt.Errorf("experiment: no extent holds offset %d", off)
}

// close closes the device.
func (r *rawFile) close() error { return errors.Join(unix.Munmap(r.buffer), unix.Close(r.fd)) }

// fiemap is struct fiemap with space for a few extents (Documentation/filesystems/fiemap.rst).
type fiemap struct {
	start, length uint64
	flags         uint32
	mapped        uint32
	count         uint32
	_             uint32
	extents       [16]fiemapExtent
}

// fiemapExtent is struct fiemap_extent.
type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

const (
	ioctlFiemap = 0xc020660b // FS_IOC_FIEMAP, _IOWR('f', 11, struct fiemap)

	// fiemapNoAddress are the flags of an extent whose address is none of the
	// device's: unknown, delayed, encoded, encrypted, not aligned, inline, tail.
	fiemapNoAddress = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)

// extentsOf returns where the first bytes of a file lie.
func extentsOf(fd int, size int64) ([]extent, error) {
	m := fiemap{length: uint64(size)}
	m.count = uint32(len(m.extents))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlFiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
		return nil, os.NewSyscallError("fiemap", errno)
	}
	var extents []extent
	for _, e := range m.extents[:min(int(m.mapped), len(m.extents))] {
		if e.flags&fiemapNoAddress != 0 {
			return nil, errors.New("experiment: an extent has no address")
		}
		extents = append(extents, extent{int64(e.logical), int64(e.physical), int64(e.length)})
	}
	return extents, nil
}
