package durability

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxOverlays bounds how many overlays are looked through that lie on each other.
const maxOverlays = 8

// lookThrough finds out what syncs of an overlay come to: those of the filesystem
// that its upper layer lies on, and nothing where it is mounted volatile
// (Documentation/filesystems/overlayfs.rst). The path of the upper layer is that of
// the mount; within a container it may lead nowhere, and the answer stays open.
func (fsys *Filesystem) lookThrough(fd int) {
	for range maxOverlays {
		mount, err := mountOf(fd)
		if err != nil {
			fsys.Why = fmt.Sprintf("what it lies on is not known: %v", err)
			return
		}
		options := mount.SuperOptions()
		if _, volatile := options["volatile"]; volatile || options["fsync"] == "volatile" { // the latter is Linux 6.18's
			fsys.Durable, fsys.Why = false, "it is an overlay that is mounted volatile: it syncs nothing"
			return
		}
		upper, ok := options["upperdir"]
		if !ok {
			fsys.Why = "it has no upper layer, nothing can be written"
			return
		}
		below, err := statfsPath(upper)
		if err != nil {
			fsys.Why = fmt.Sprintf("as far as its upper layer %s is, which cannot be looked at from here", upper)
			return
		}
		if below.Magic != unix.OVERLAYFS_SUPER_MAGIC {
			fsys.Durable = below.Durable
			fsys.Why = fmt.Sprintf("its upper layer is on %s", below.Name)
			if below.Why != "" {
				fsys.Why += ": " + below.Why
			}
			return
		}
		if fd, err = unix.Open(upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			fsys.Why = fmt.Sprintf("what its upper layer %s lies on is not known: %v", upper, err)
			return
		}
		defer closeUnused(fd)
	}
}

// statfsPath returns what a path lies on, without a look through an overlay.
func statfsPath(path string) (Filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Filesystem{}, err
	}
	return filesystemOf(int64(uint32(st.Type))), nil
}
