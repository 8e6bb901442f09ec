package durability

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Filesystem is what a file lies on.
type Filesystem struct {
	Name  string // "ext4", "xfs", "btrfs", "tmpfs", "overlay", "nfs", "fuse", ..., or "0x..." for an unknown one
	Magic int64  // f_type of statfs(2)

	// Durable says whether a sync that succeeds can be relied on to survive a
	// power loss, as far as the kind of filesystem tells. It is false where
	// there is no device (tmpfs), and where another machine or program decides
	// what a sync means (nfs, fuse). For an overlay it is what its upper layer lies
	// on that counts, as far as that can be seen, and whether it is mounted
	// volatile. Why says the reason in words.
	Durable bool
	Why     string
}

// The filesystems by f_type, from statfs(2) and include/uapi/linux/magic.h.
const (
	magic9P     = 0x01021997
	magicBcache = 0xca451a4e
	magicCeph   = 0x00c36400
	magicCIFS   = 0xff534d42
	magicExFAT  = 0x2011bab0
	magicFUSE   = 0x65735546
	magicGFS2   = 0x01161970
	magicNTFS3  = 0x7366746e
	magicSMB2   = 0xfe534d42
	magicZFS    = 0x2fc12fc1
)

const (
	whyMemory  = "it lives in memory and has no device"
	whyNetwork = "what a sync means is up to the server on the other side"
	whyFUSE    = "what a sync means is up to the program that serves it"
)

// filesystems is indexed by f_type. ext2, ext3 and ext4 share theirs.
var filesystems = map[int64]Filesystem{
	unix.EXT4_SUPER_MAGIC:      {Name: "ext4", Durable: true},
	unix.XFS_SUPER_MAGIC:       {Name: "xfs", Durable: true},
	unix.BTRFS_SUPER_MAGIC:     {Name: "btrfs", Durable: true},
	unix.F2FS_SUPER_MAGIC:      {Name: "f2fs", Durable: true},
	unix.OVERLAYFS_SUPER_MAGIC: {Name: "overlay", Durable: true},
	unix.MSDOS_SUPER_MAGIC:     {Name: "vfat", Durable: true},
	magicBcache:                {Name: "bcachefs", Durable: true},
	magicExFAT:                 {Name: "exfat", Durable: true},
	magicNTFS3:                 {Name: "ntfs3", Durable: true},
	magicZFS:                   {Name: "zfs", Durable: true},
	unix.TMPFS_MAGIC:           {Name: "tmpfs", Why: whyMemory},
	unix.RAMFS_MAGIC:           {Name: "ramfs", Why: whyMemory},
	unix.HUGETLBFS_MAGIC:       {Name: "hugetlbfs", Why: whyMemory},
	unix.NFS_SUPER_MAGIC:       {Name: "nfs", Why: whyNetwork},
	unix.SMB_SUPER_MAGIC:       {Name: "smb", Why: whyNetwork},
	magicCIFS:                  {Name: "cifs", Why: whyNetwork},
	magicSMB2:                  {Name: "smb2", Why: whyNetwork},
	magicCeph:                  {Name: "ceph", Why: whyNetwork},
	magicGFS2:                  {Name: "gfs2", Why: whyNetwork},
	magic9P:                    {Name: "9p", Why: whyNetwork},
	unix.AFS_SUPER_MAGIC:       {Name: "afs", Why: whyNetwork},
	magicFUSE:                  {Name: "fuse", Why: whyFUSE},
}

// Filesystem returns the kind of filesystem that the file lies on.
func (f *File) Filesystem() (Filesystem, error) { return f.filesystem(f.Path()) }

// Filesystem returns the kind of filesystem that the directory lies on.
func (d *Dir) Filesystem() (Filesystem, error) { return d.filesystem(d.path) }

func (h *handle) filesystem(path string) (Filesystem, error) {
	var st unix.Statfs_t
	err := h.with(func(fd int) error {
		for {
			if err := unix.Fstatfs(fd, &st); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	if err != nil {
		return Filesystem{}, pathError("statfs", path, err)
	}
	// f_type is a signed or an unsigned word, by machine; magic numbers have 32 bits.
	fsys := filesystemOf(int64(uint32(st.Type)))
	if fsys.Magic == unix.OVERLAYFS_SUPER_MAGIC {
		err = h.with(func(fd int) error {
			fsys.lookThrough(fd)
			return nil
		})
	}
	return fsys, err
}

// filesystemOf returns what is known of a kind of filesystem.
func filesystemOf(magic int64) Filesystem {
	fsys, ok := filesystems[magic]
	if !ok {
		fsys = Filesystem{Name: fmt.Sprintf("0x%x", magic), Durable: true, Why: "it is not a kind that is known here"}
	}
	fsys.Magic = magic
	return fsys
}
