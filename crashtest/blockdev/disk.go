//go:build linux

package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a device. One goroutine at a time may use it.
type Disk struct {
	lab     *Lab
	number  int
	dir     string // of its own
	loop    *os.File
	mounted bool
	cache   cache
}

// cache is what the kernel may have in its cache of a device.
type cache int

const (
	stale cache = iota // anything, also what was not written yet
	clean              // what is written already, and may be another disk's by now
	empty              // nothing
)

// Device returns the name of the device.
func (d *Disk) Device() string { return d.loop.Name() }

// Dir returns the directory that belongs to the disk; it is not on it.
func (d *Disk) Dir() string { return d.dir }

// Path returns where the disk is mounted.
func (d *Disk) Path() string { return filepath.Join(d.dir, "mnt") }

// Fork lets the disk hold a view. It must not be mounted. What is written is not
// recorded.
func (d *Disk) Fork(v View, faults ...Fault) error {
	return d.fork(ForkArgs{d.number, v, false, faults})
}

// Record lets the disk hold a view, and record what is written from then on.
func (d *Disk) Record(v View, faults ...Fault) error {
	return d.fork(ForkArgs{d.number, v, true, faults})
}

func (d *Disk) fork(args ForkArgs) error {
	if d.mounted {
		return errors.New("blockdev: fork of a mounted disk")
	}
	if err := d.awaitFree(); err != nil {
		return err
	}
	if d.cache == stale {
		if err := d.forget(); err != nil { // and so it is written before the fork
			return err
		}
	}
	if err := d.lab.call("Fork", args, &None{}); err != nil {
		return err
	}
	return d.forget()
}

// awaitFree waits until no filesystem uses the device any more. A mount namespace that another
// process has made meanwhile has a copy of a mount, in which the filesystem lives on.
func (d *Disk) awaitFree() error {
	for end := time.Now().Add(patience); isBusy(d.loop); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("blockdev: %s is unmounted, and another process holds on to it", d.Device())
		}
	}
	return nil
}

// forget writes and drops what the kernel has cached of the device. It waits for each processor: a
// state needs it once.
func (d *Disk) forget() error {
	if err := forget(d.loop); err != nil {
		return fmt.Errorf("blockdev: %s: %w", d.Device(), err)
	}
	d.cache = empty
	return nil
}

// Arm gives the disk faults, in place of those that it has.
func (d *Disk) Arm(faults ...Fault) error {
	return d.lab.call("Arm", ForkArgs{Disk: d.number, Faults: faults}, &None{})
}

// Listen returns the writing end of a pipe of acknowledgements, for lines `ack
// TOKEN`. It must be closed.
func (d *Disk) Listen() (*os.File, error) {
	path := filepath.Join(d.dir, "acks.pipe")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	if err := d.lab.call("Listen", ListenArgs{d.number, path}, &None{}); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY, 0)
}

// Cut returns what was recorded since Record, or since it was cut before.
func (d *Disk) Cut() (*Recording, error) {
	r := &Recording{}
	if err := d.lab.call("Cut", d.number, &r.Layer); err != nil {
		return nil, err
	}
	return r, nil
}

// Touched returns which blocks were read and written since the disk was forked.
func (d *Disk) Touched() (Touched, error) {
	var t Touched
	err := d.lab.call("Touched", d.number, &t)
	return t, err
}

// Make makes a filesystem with a program such as mkfs.ext4; the device's name is
// added to its arguments.
func (d *Disk) Make(program string, args ...string) error {
	d.cache = stale
	out, err := exec.Command(program, append(args, d.Device())...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("blockdev: %s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// Mount mounts the disk at Path. Whoever looks for a free loop device holds it for
// a moment, and others may for theirs.
func (d *Disk) Mount(filesystem string, flags uintptr, options string) error {
	if d.cache != empty { // or it would be the filesystem of the mount before, as it ended
		if err := errors.Join(d.awaitFree(), d.forget()); err != nil {
			return err
		}
	}
	d.cache = clean // a filesystem writes its buffers when it ends, also one that could not be mounted
	err := patiently(func() error { return unix.Mount(d.Device(), d.Path(), filesystem, flags, options) })
	if err != nil {
		return fmt.Errorf("mount %s: %w", filesystem, err)
	}
	d.mounted = true
	return nil
}

// Unmount unmounts the disk. What is not written yet is written.
func (d *Disk) Unmount() error {
	if !d.mounted {
		return nil
	}
	if err := patiently(func() error { return unix.Unmount(d.Path(), 0) }); err != nil {
		return fmt.Errorf("unmount %s: %w", d.Path(), err)
	}
	d.mounted = false
	return nil
}

// Discard unmounts the disk without asking for what was not written: the
// filesystem is shut down before, where it can be.
func (d *Disk) Discard() error {
	if !d.mounted {
		return nil
	}
	d.shutDown()
	return d.Unmount()
}

// goingDown is the request that ext4 and xfs share, and noFlush its argument.
const (
	goingDown = 0x8004587d // _IOR('X', 125, __u32)
	noFlush   = 2
)

// shutDown stops a filesystem at once. One that cannot be is unmounted with all
// its writes.
func (d *Disk) shutDown() {
	f, err := os.Open(d.Path())
	if err != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noFlush)
	_ = f.Close() // a directory, open for reading
}

// close unmounts and detaches.
func (d *Disk) close() error {
	_ = d.Arm() // a slow disk takes its time no more; the server may be gone
	err := d.Unmount()
	if err != nil && unix.Unmount(d.Path(), unix.MNT_DETACH) == nil {
		d.mounted = false
	}
	if d.loop != nil {
		err = errors.Join(err, d.loop.Close()) // it detaches itself
	}
	return err
}
