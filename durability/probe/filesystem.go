package probe

import (
	"bytes"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// kernel returns the kernel's name, release and machine.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	text := func(field []byte) string {
		before, _, _ := bytes.Cut(field, []byte{0})
		return string(before)
	}
	return text(u.Sysname[:]) + " " + text(u.Release[:]) + " " + text(u.Machine[:])
}

// filesystemOf finds out what a directory lies on.
func filesystemOf(d *durability.Dir, note func(string, any)) (Filesystem, error) {
	kind, err := d.Filesystem()
	if err != nil {
		return Filesystem{}, err
	}
	fs := Filesystem{Name: kind.Name, Durable: kind.Durable, Why: kind.Why, FreeBytes: Unknown}
	var st unix.Statfs_t
	if err = unix.Statfs(d.Path(), &st); err != nil {
		return fs, os.NewSyscallError("statfs", err)
	}
	fs.BlockBytes = int64(st.Bsize) //nolint:unconvert // by machine
	// Network and FUSE filesystems may not count at all.
	if st.Blocks > 0 {
		fs.FreeBytes = int64(st.Bavail) * fs.BlockBytes
	}
	mount, err := d.Mount()
	if err != nil {
		note("mount options", err)
		return fs, nil
	}
	fs.Kind, fs.Source, fs.Point, fs.Options, fs.Super = mount.Kind, mount.Source, mount.Point, mount.Options, mount.Super
	if upper := mount.SuperOptions()["upperdir"]; fs.Name == "overlay" && upper != "" {
		fs.upper = upper
	}
	return fs, nil
}

// below returns the path that the directory's bytes really lie on: the upper layer of
// an overlay, and the path itself elsewhere.
func (fs *Filesystem) below(path string) string {
	if fs.upper != "" {
		return filepath.Clean(fs.upper)
	}
	return path
}
