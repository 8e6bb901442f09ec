//go:build linux

package blockdev

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopMajor is the major number of loop devices.
const loopMajor = 7

// attach attaches a file to a free loop device, and returns the device, open. It
// detaches itself when it is closed and not mounted.
func attach(file string) (*os.File, error) {
	return attachAs(file, os.O_RDWR, unix.LO_FLAGS_DIRECT_IO)
}

// attachReadOnly is attach for a device that is never written to.
func attachReadOnly(file string) (*os.File, error) {
	return attachAs(file, os.O_RDONLY, unix.LO_FLAGS_READ_ONLY)
}

func attachAs(file string, mode int, flags uint32) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("blockdev: loop devices: %w (it needs root, and the loop module)", err)
	}
	defer func() { _ = control.Close() }()
	backing, err := os.OpenFile(file, mode, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = backing.Close() }() // the loop device has it
	for range 1000 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("blockdev: loop devices: %w", err)
		}
		loop, err := openLoop(n)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | flags
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			boundRequests(n)
			return loop, nil
		}
		_ = loop.Close() // it is not ours
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("blockdev: attach %s: %w", file, err)
		}
		time.Sleep(time.Millisecond) // somebody else was faster
	}
	return nil, errors.New("blockdev: no loop device is free")
}

// boundRequests has no request of the device be larger than one that the server takes whole: of
// one that is split, a part may fail, and the kernel takes the whole for done then (lo_complete_rq in
// drivers/block/loop.c looks at short reads, not at short writes). Where /sys cannot be written to,
// requests of more than a megabyte may be taken so.
func boundRequests(n int) {
	_ = os.WriteFile(fmt.Sprintf("/sys/block/loop%d/queue/max_sectors_kb", n), []byte(strconv.Itoa(maxWriteBytes>>10)), 0o644)
}

// openLoop opens a loop device, and makes its node where nobody else does.
func openLoop(n int) (*os.File, error) {
	name := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err = unix.Mknod(name, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(n)))); err == nil || errors.Is(err, unix.EEXIST) {
			loop, err = os.OpenFile(name, os.O_RDWR, 0)
		}
	}
	return loop, err
}

// forget drops what the kernel has cached of the device.
func forget(loop *os.File) error {
	return unix.IoctlSetInt(int(loop.Fd()), unix.BLKFLSBUF, 0)
}

// isBusy reports whether somebody holds the device: a filesystem that is still
// mounted, if only in some other mount namespace.
func isBusy(loop *os.File) bool {
	f, err := unix.Open(loop.Name(), unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	_ = unix.Close(f)
	return false
}

// MountReadOnly mounts an image read-only. The filesystem recovers in memory, or
// not at all: the image stays what it is. The mount outlives this process, and its
// loop device goes with it.
func MountReadOnly(image, dir, filesystem, options string) error {
	loop, err := attachReadOnly(image)
	if err != nil {
		return err
	}
	defer func() { _ = loop.Close() }() // the mount has it
	// A journal that has not been replayed is refused on a device that cannot be
	// written to, unless it is passed by.
	for _, passBy := range []string{"", "norecovery", "rescue=nologreplay"} {
		all := strings.Trim(options+","+passBy, ",")
		if err = unix.Mount(loop.Name(), dir, filesystem, unix.MS_RDONLY, all); err == nil {
			return nil
		}
	}
	return fmt.Errorf("mount %s: %w", image, err)
}
