package probe

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// What Supports tells of.
const (
	SupportDirect      = "O_DIRECT"
	SupportNoCOW       = "NOCOW"
	SupportReflink     = "reflink"
	SupportCachestat   = "cachestat"
	SupportPopulate    = "MADV_POPULATE_WRITE"
	SupportWriteZeroes = "FALLOC_FL_WRITE_ZEROES"
	SupportAtomic      = "RWF_ATOMIC"
)

const supportBytes = 256 << 10

// Filesystems that write elsewhere, by f_type.
const (
	magicZFS      = 0x2fc12fc1
	magicBcachefs = 0xca451a4e
)

// measureSupport tries what there is, one by one.
func measureSupport(b *bench) (func(*Result), error) {
	f, err := b.filled("support", supportBytes, pageBytes)
	if err != nil {
		return nil, err
	}
	rows := []Support{}
	for _, try := range []struct {
		name string
		do   func(*bench, *durability.File) (has bool, note string, err error)
	}{
		{SupportDirect, tryDirect},
		{SupportNoCOW, tryNoCOW},
		{SupportReflink, tryReflink},
		{SupportCachestat, tryCachestat},
		{SupportPopulate, tryPopulate},
		{SupportWriteZeroes, tryWriteZeroes},
		{SupportAtomic, tryAtomic},
	} {
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		s := Support{Name: try.name}
		s.Has, s.Note, err = try.do(b, f)
		if err != nil {
			s.Note = err.Error()
		}
		rows = append(rows, s)
	}
	return func(r *Result) { r.Supports = rows }, nil
}

// tryDirect reads around the page cache, as Open does.
func tryDirect(_ *bench, f *durability.File) (bool, string, error) {
	var st unix.Statx_t
	if err := unix.Statx(f.Fd(), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st); err != nil {
		return false, "", err
	}
	_, how, err := f.ReadDirect(make([]byte, commitBytes), 0)
	if err != nil {
		return false, "", err
	}
	if how != durability.ModeDirect {
		return false, f.DirectReason(), nil
	}
	if st.Mask&unix.STATX_DIOALIGN == 0 {
		return true, "its alignment is not told (statx(2): Linux 6.1, some filesystems)", nil
	}
	return true, fmt.Sprintf("offsets by %d, memory by %d bytes", st.Dio_offset_align, st.Dio_mem_align), nil
}

// tryNoCOW asks whether stores rewrite blocks in place: on btrfs by the flag that
// durability sets.
func tryNoCOW(b *bench, f *durability.File) (bool, string, error) {
	fsys, err := f.Filesystem()
	if err != nil {
		return false, "", err
	}
	switch fsys.Magic {
	case unix.BTRFS_SUPER_MAGIC:
		const noCOW = 0x00800000 // FS_NOCOW_FL of include/uapi/linux/fs.h
		flags, err := unix.IoctlGetInt(f.Fd(), unix.FS_IOC_GETFLAGS)
		if err = errors.Join(err, f.NoCOW()); err != nil {
			return false, "", err
		}
		if flags&noCOW == 0 {
			return false, "the flag did not stick: a store may need space", nil
		}
		return true, "segments are born with it: stores need no space", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return false, "through an overlay the flag is not set: a btrfs below needs space for stores", nil
	case magicZFS, magicBcachefs:
		return false, fsys.Name + " writes elsewhere: a store may need space", nil
	}
	return true, fsys.Name + " rewrites in place, but for reflinked blocks", nil
}

// tryReflink clones a file.
func tryReflink(b *bench, f *durability.File) (bool, string, error) {
	// A file out of copy-on-write can be cloned into such files only: both are plain.
	from, err := b.create("reflink-from")
	if err != nil {
		return false, "", err
	}
	to, err := b.create("reflink-to")
	if err != nil {
		return false, "", err
	}
	if _, err = from.WriteAt(make([]byte, supportBytes), 0); err != nil {
		return false, "", err
	}
	if err := unix.IoctlFileClone(to.Fd(), from.Fd()); err != nil {
		return false, "", fmt.Errorf("FICLONE: %w", err)
	}
	return true, "never clone a live log: stores then need space", nil
}

// tryCachestat counts pages.
func tryCachestat(_ *bench, f *durability.File) (bool, string, error) {
	pc, err := f.PageCache(0, 0)
	if err != nil || pc.Known != durability.Known {
		return false, pc.Reason, err
	}
	return true, "bytes at risk, as the kernel sees them", nil
}

// tryPopulate populates a mapping. durability.PopulateWrite would do without.
func tryPopulate(b *bench, f *durability.File) (bool, string, error) {
	m, err := b.mapped(f, supportBytes)
	if err != nil {
		return false, "", err
	}
	if err := unix.Madvise(m.Bytes(), unix.MADV_POPULATE_WRITE); err != nil {
		return false, "", fmt.Errorf("madvise: %w", err)
	}
	return true, "takes the faults off the append path", nil
}

// tryWriteZeroes has the device write zeros (Linux 6.17), over the blocks that the
// probe's own file has.
func tryWriteZeroes(b *bench, _ *durability.File) (bool, string, error) {
	f, err := b.create("zeroes")
	if err != nil {
		return false, "", err
	}
	if err := unix.Fallocate(f.Fd(), unix.FALLOC_FL_WRITE_ZEROES, 0, supportBytes); err != nil {
		return false, "", fmt.Errorf("fallocate: %w", err)
	}
	return true, "the device writes zeros without their bytes", nil
}

// tryAtomic asks for writes that are never torn (Linux 6.11): O_DIRECT only, not what
// is stored into a mapping.
func tryAtomic(b *bench, f *durability.File) (bool, string, error) {
	var st unix.Statx_t
	path := filepath.Join(b.dir.Path(), f.Name())
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_WRITE_ATOMIC, &st); err != nil {
		return false, "", err
	}
	if st.Mask&unix.STATX_WRITE_ATOMIC == 0 || st.Atomic_write_unit_max == 0 {
		return false, "no write is promised to be whole", nil
	}
	return true, fmt.Sprintf("%d to %d bytes, by O_DIRECT only: not stores", st.Atomic_write_unit_min, st.Atomic_write_unit_max), nil
}
