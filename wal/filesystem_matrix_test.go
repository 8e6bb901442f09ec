package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// volumeKinds are the filesystems that tests fill up, each of about the smallest
// size at which its mkfs makes one that can be emptied again. The btrfs has data
// and metadata in the same blocks: full is full then, for names too. It commits
// each second: while it is full, a store that needs a block can wait for that,
// which was 30 s otherwise.
var volumeKinds = []volumeKind{
	{name: "ext4", fs: "ext4", bytes: 100 << 20, mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}},
	{name: "xfs", fs: "xfs", bytes: 300 << 20, mkfs: []string{"mkfs.xfs", "-q", "-f"}, options: "nouuid"},
	{name: "btrfs", fs: "btrfs", bytes: 110 << 20, mkfs: []string{"mkfs.btrfs", "-q", "-f", "-M"}, options: "commit=1"},
	{name: "tmpfs", fs: "tmpfs", bytes: 100 << 20},
}

// volumeKind is a kind of filesystem.
type volumeKind struct {
	name    string
	fs      string
	bytes   int64
	mkfs    []string // nil where nothing has to be made
	options string
}

// volume is a mounted filesystem of its own, on a loop device or in memory.
type volume struct {
	volumeKind
	t     *testing.T
	dir   string // where it is mounted
	image string
	loop  string // the device's name
}

// newVolume makes a filesystem and mounts it until the test ends.
func newVolume(t *testing.T, kind volumeKind) *volume {
	t.Helper()
	if kind.mkfs == nil {
		return &volume{volumeKind: kind, t: t, dir: mountMemory(t, int(kind.bytes))}
	}
	root := fastDir(t)
	v := &volume{volumeKind: kind, t: t, dir: filepath.Join(root, "mnt"), image: filepath.Join(root, "image")}
	if err := errors.Join(os.Mkdir(v.dir, 0o755), os.WriteFile(v.image, nil, 0o600), os.Truncate(v.image, kind.bytes)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(kind.mkfs[0], append(kind.mkfs[1:], v.image)...).CombinedOutput(); err != nil {
		cannotRun(t, fmt.Sprintf("%v (make packages installs what is missing): %v\n%s", kind.mkfs, err, out))
	}
	v.mount()
	t.Cleanup(func() {
		if err := unmount(v.dir); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", v.dir, err)
			_ = unix.Unmount(v.dir, unix.MNT_DETACH)
		}
	})
	return v
}

// mount mounts the filesystem on a loop device that ends with the mount, also
// when this process is killed and another process unmounts.
func (v *volume) mount() {
	v.t.Helper()
	loop, err := attachLoop(v.image)
	if err != nil {
		cannotRun(v.t, fmt.Sprintf("attaching a loop device (are you root?): %v", err))
	}
	defer loop.Close()
	v.loop = filepath.Base(loop.Name())
	if err := unix.Mount(loop.Name(), v.dir, v.fs, 0, v.options); err != nil {
		cannotRun(v.t, fmt.Sprintf("mounting %s: %v", v.name, err))
	}
}

// attachLoop attaches a file to a free loop device.
func attachLoop(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) { // another process was faster
			return nil, err
		}
	}
}

// remount unmounts the filesystem and mounts it again: what is read afterwards
// comes from the device. In memory there is no device, and nothing is done.
func (v *volume) remount() {
	v.t.Helper()
	if v.mkfs == nil {
		return
	}
	if err := unmount(v.dir); err != nil {
		v.t.Fatalf("unmount %s: %v", v.dir, err)
	}
	v.awaitDetached()
	v.mount()
}

// unmount unmounts a filesystem that is not used any more. A child that is being
// forked for another test holds copies of descriptors for a moment.
func unmount(dir string) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := unix.Unmount(dir, 0)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// awaitDetached waits until the loop device has let go of the image. A mount
// namespace that another process made in the meantime holds a copy of the mount,
// and the filesystem lives on in it: mounted a second time, it would lose what
// the first one has not written.
func (v *volume) awaitDetached() {
	v.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		backing, err := os.ReadFile("/sys/block/" + v.loop + "/loop/backing_file")
		if err != nil || strings.TrimSpace(string(backing)) != v.image {
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("%s is unmounted, and /dev/%s holds on to %s", v.dir, v.loop, v.image)
		}
	}
}

// patience is how long a test waits for what comes at once on an idle machine: it
// only ends what hangs.
const patience = 2 * time.Minute

// fill fills the filesystem up and then leaves room for so many bytes.
func (v *volume) fill(room int64) {
	v.t.Helper()
	v.free()
	keep := v.path("room")
	if room > 0 {
		if n := v.occupy(keep, room); n != room {
			v.t.Fatalf("%s has room for %d bytes only, not for %d", v.name, n, room)
		}
	}
	// Large files first, so that few of them are enough; then whole pages, by
	// writes too: what filesystems hold back from fallocate they may give to these.
	for i, size := 0, v.bytes; size >= 4096; i++ {
		if v.occupy(v.path(fmt.Sprintf("ballast%d", i)), size) < size {
			size /= 2
		}
	}
	v.cramAll("crumbs")
	if room > 0 {
		if err := os.Remove(keep); err != nil {
			v.t.Fatal(err)
		}
		v.sync()
	}
}

// staysFull reports whether a disk that was filled has room for nothing until
// something is removed. An xfs gives back later, in the background, what it
// allocated behind the ends of files, and a btrfs keeps some blocks for itself.
func (v *volume) staysFull() bool { return v.fs != "xfs" && v.fs != "btrfs" }

// cramAll writes into files until a commit of the filesystem leaves no room for a
// page. What it holds back while a file is written, for blocks that are not
// allocated yet and behind the file's end, it gives up when the file is synced and
// closed, and what was freed it gives back when it commits. A btrfs is filled once:
// there a store into blocks of its own needs room too, for a moment, and where even
// that is taken the kernel refuses it, which poisons a log (C6, C8).
func (v *volume) cramAll(name string) {
	v.t.Helper()
	for i := range 20 {
		v.sync()
		if v.cram(fmt.Sprintf("%s%d", name, i)) == 0 || v.fs == "btrfs" {
			return
		}
	}
}

// cram writes into a file until there is no room for a page, and returns how many
// it wrote.
func (v *volume) cram(name string) (pages int) {
	v.t.Helper()
	f, err := os.OpenFile(v.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, unix.ENOSPC) {
		return 0
	}
	page := bytes.Repeat([]byte{0xa5}, 4096)
	for failed := 0; err == nil && failed < 2; {
		n, werr := f.Write(page)
		if n == len(page) {
			pages++
			if v.fs != "btrfs" {
				failed = 0
			}
		}
		if n < len(page) || werr != nil {
			if !errors.Is(werr, unix.ENOSPC) {
				v.t.Fatalf("filling %s: %v", v.name, werr)
			}
			failed++
			if serr := f.Sync(); serr != nil && !errors.Is(serr, unix.ENOSPC) {
				v.t.Fatalf("filling %s: %v", v.name, serr)
			}
		}
	}
	if cerr := f.Close(); err != nil || cerr != nil {
		v.t.Fatalf("filling %s: %v, %v", v.name, err, cerr)
	}
	return pages
}

// occupy allocates blocks to a new file, or removes it again where there are
// not so many. It returns how many bytes it has.
func (v *volume) occupy(path string, size int64) int64 {
	v.t.Helper()
	f, err := os.Create(path)
	if errors.Is(err, unix.ENOSPC) {
		return 0
	}
	if err == nil {
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
		f.Close()
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		if rerr := os.Remove(path); rerr != nil {
			v.t.Fatal(rerr)
		}
		return 0
	case err != nil:
		v.t.Fatal(err)
	}
	return size
}

// free removes what fill made.
func (v *volume) free() {
	v.t.Helper()
	for _, pattern := range []string{"ballast*", "crumbs*", "room"} {
		names, err := filepath.Glob(v.path(pattern))
		if err != nil {
			v.t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				v.t.Fatal(err)
			}
		}
	}
	v.sync()
}

// sync commits the filesystem, so that freed space can be had.
func (v *volume) sync() {
	v.t.Helper()
	d, err := os.Open(v.dir)
	if err != nil {
		v.t.Fatal(err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		v.t.Fatalf("syncfs %s: %v", v.dir, err)
	}
}

// path returns the path of a file on the volume.
func (v *volume) path(name string) string { return filepath.Join(v.dir, name) }
