//go:build linux

package blockdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// labPrefix begins the names of the labs' directories.
const labPrefix = "seawall-disks-"

// lockName is a file in a lab's directory that it holds locked as long as it
// lives.
const lockName = "lab"

// patience is how long the lab waits for what comes at once, unless another process holds it, as
// a copy of a mount in a namespace of its own does: see Isolate.
const patience = 5 * time.Minute

// Lab is a server process and its disks.
type Lab struct {
	// Dir is the lab's directory, for scratch files.
	Dir   string
	Disks []*Disk

	lock *os.File
	cmd  *exec.Cmd
	rpc  *rpc.Client
	said *strings.Builder
	end  sync.Once
	err  error
}

// Open starts a server with a disk of each size, in bytes, and attaches their
// devices. Its files lie below dir; empty is $TMPDIR. It needs root and /dev/fuse.
// The lab must be closed.
func Open(dir string, sizes ...int64) (l *Lab, err error) {
	for _, size := range sizes {
		if size <= 0 || size%BlockBytes != 0 || size > maxDiskBytes {
			return nil, fmt.Errorf("blockdev: a disk of %d bytes: it has to be whole blocks, up to 1 TiB", size)
		}
	}
	if err = Ready(); err != nil {
		return nil, err
	}
	if dir == "" {
		dir = os.TempDir()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // as the mount table names it
		return nil, err
	}
	l = &Lab{said: &strings.Builder{}}
	if l.Dir, err = os.MkdirTemp(dir, labPrefix); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			l = nil
		}
	}()
	if l.lock, err = lockDir(l.Dir, os.O_CREATE); err != nil {
		return l, err
	}
	if err = os.Mkdir(filepath.Join(l.Dir, fuseName), 0o700); err != nil {
		return l, err
	}
	if err = l.start(sizes); err != nil {
		return l, err
	}
	for n := range sizes {
		d := &Disk{lab: l, number: n, dir: filepath.Join(l.Dir, fmt.Sprintf("disk%d", n))}
		if err = os.Mkdir(d.dir, 0o700); err == nil {
			err = os.Mkdir(d.Path(), 0o700)
		}
		if err == nil {
			d.loop, err = attach(filepath.Join(l.Dir, fuseName, fmt.Sprintf("disk%d", n)))
		}
		if err != nil {
			return l, err
		}
		l.Disks = append(l.Disks, d)
		if err = d.Record(View{}); err != nil { // to attach is a flush
			return l, err
		}
	}
	return l, nil
}

// Ready returns in one line why there can be no disks here, or nil.
func Ready() error {
	if os.Geteuid() != 0 {
		return errors.New("blockdev: needs root: it mounts filesystems")
	}
	for _, name := range []string{"/dev/fuse", "/dev/loop-control"} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("blockdev: needs FUSE and loop devices: %w", err)
		}
		_ = f.Close()
	}
	return nil
}

// lockDir marks a directory as one of a lab that lives, by its lock file, which flags may create.
func lockDir(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// start starts the server, and waits until it serves.
func (l *Lab) start(sizes []int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args, err := json.Marshal(serverArgs{Dir: l.Dir, Sizes: sizes})
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "disks"), os.NewFile(uintptr(fds[1]), "lab")
	l.cmd = exec.Command(self)
	l.cmd.Env = append(os.Environ(), serverEnv+"="+string(args))
	l.cmd.ExtraFiles = []*os.File{theirs}
	l.cmd.Stderr = l.said
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = l.cmd.Start()
	if cerr := theirs.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		l.cmd = nil
		return errors.Join(err, ours.Close())
	}
	conn, err := net.FileConn(ours)
	if cerr := ours.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	l.rpc = rpc.NewClient(conn)
	if err = l.call("Drop", -1, &None{}); err != nil { // it answers as soon as it serves
		_ = l.rpc.Close()
		l.rpc = nil
		werr := l.cmd.Wait()
		l.cmd = nil
		return fmt.Errorf("blockdev: the server ended: %w: %s", errors.Join(err, werr), strings.TrimSpace(l.said.String()))
	}
	return nil
}

// call asks the server.
func (l *Lab) call(method string, args, reply any) error {
	return l.rpc.Call("disks."+method, args, reply)
}

// Close unmounts and detaches everything, ends the server and removes the
// directory. It may be called again.
func (l *Lab) Close() error {
	l.end.Do(func() {
		for _, d := range l.Disks {
			l.err = errors.Join(l.err, d.close())
		}
		if l.cmd != nil {
			l.err = errors.Join(l.err, l.stop())
		}
		if l.lock != nil {
			l.err = errors.Join(l.err, l.lock.Close())
		}
		if l.err == nil {
			l.err = os.RemoveAll(l.Dir)
		}
	})
	return l.err
}

// stop ends the server: it ends with its mount.
func (l *Lab) stop() error {
	dir := filepath.Join(l.Dir, fuseName)
	err := patiently(func() error { return unix.Unmount(dir, 0) })
	if err != nil {
		err = errors.Join(fmt.Errorf("blockdev: unmount %s: %w", dir, err), unix.Unmount(dir, unix.MNT_DETACH), l.cmd.Process.Kill())
	}
	if werr := l.cmd.Wait(); werr != nil && err == nil {
		err = fmt.Errorf("blockdev: the server ended: %w: %s", werr, strings.TrimSpace(l.said.String()))
	}
	if l.rpc != nil {
		_ = l.rpc.Close() // there is nobody left
	}
	return err
}

// patiently tries again while something is busy: a child that is being forked
// holds copies of descriptors for a moment.
func patiently(try func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := try()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// ReadView returns bytes of a view.
func (l *Lab) ReadView(v View, off, length int64) ([]byte, error) {
	var p []byte
	err := l.call("ReadView", ReadArgs{v, off, length}, &p)
	return p, err
}

// Image returns what a view holds.
func (l *Lab) Image(v View) (Image, error) {
	var image Image
	err := l.call("Image", v, &image)
	return image, err
}

// Load makes a layer of an image, and returns the view of it.
func (l *Lab) Load(image Image) (View, error) {
	var id int
	err := l.call("Load", image, &id)
	return View{Layer: id, Cut: len(image)}, err
}

// Overlay makes a layer of an image on a view, and returns the view of it: of what has happened to
// a disk without a request.
func (l *Lab) Overlay(v View, image Image) (View, error) {
	var id int
	err := l.call("Overlay", OverlayArgs{v, image}, &id)
	return View{Layer: id, Cut: len(image)}, err
}

// Drop forgets a layer. No disk may be forked from it any more; one that was goes
// on.
func (l *Lab) Drop(layer int) error { return l.call("Drop", layer, &None{}) }
