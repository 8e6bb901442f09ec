//go:build linux

package blockdev

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cleanup removes what labs have left that were killed: mounts, loop devices,
// servers and directories. It knows them by their names, and by a lock that a lab
// holds as long as it lives; it touches nothing else. It looks below dir; where that is
// empty, below $TMPDIR and wherever such a lab has something mounted or attached. It
// returns what it removed, in words.
func Cleanup(dir string) (removed []string, err error) {
	labs, err := leftLabs(dir)
	if err != nil {
		return nil, err
	}
	for _, lab := range labs {
		words, serr := sweep(lab)
		removed = append(removed, words...)
		err = errors.Join(err, serr)
	}
	return removed, err
}

// leftLabs returns the directories of labs.
func leftLabs(dir string) ([]string, error) {
	everywhere := dir == ""
	if everywhere {
		dir = os.TempDir()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, err
	}
	labs, err := filepath.Glob(filepath.Join(dir, labPrefix+"*"))
	if err != nil {
		return nil, err
	}
	if everywhere {
		mounts, err := mountPoints()
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			if m.source == fuseSource && filepath.Base(m.path) == fuseName {
				labs = append(labs, filepath.Dir(m.path))
			}
		}
		for _, l := range attachedLoops() {
			if d := filepath.Dir(l.file); filepath.Base(d) == fuseName {
				labs = append(labs, filepath.Dir(d))
			}
		}
	}
	labs = slices.DeleteFunc(labs, func(lab string) bool { return !isLab(lab) })
	slices.Sort(labs)
	return slices.Compact(labs), nil
}

// isLab reports whether a directory is a lab's: it has the name, is no link to another one, is
// this user's, and has a lock.
func isLab(lab string) bool {
	var st, lock unix.Stat_t
	return strings.HasPrefix(filepath.Base(lab), labPrefix) &&
		unix.Lstat(lab, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid() &&
		unix.Lstat(filepath.Join(lab, lockName), &lock) == nil && lock.Mode&unix.S_IFMT == unix.S_IFREG
}

// sweep removes a lab, unless it lives.
func sweep(lab string) (removed []string, err error) {
	lock, err := lockDir(lab, 0)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	mounts, err := mountPoints()
	if err != nil {
		return nil, err
	}
	fuse := filepath.Join(lab, fuseName)
	for _, m := range slices.Backward(mounts) {
		if !strings.HasPrefix(m.path, lab+"/") || m.path == fuse {
			continue
		}
		uerr := patientlyUnmount(m.path)
		if uerr != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", m.path, uerr))
			continue
		}
		removed = append(removed, "mount "+m.path)
	}
	for _, l := range attachedLoops() {
		if filepath.Dir(l.file) != fuse {
			continue
		}
		if derr := detach(l.device); derr != nil && !errors.Is(derr, unix.ENXIO) {
			err = errors.Join(err, fmt.Errorf("detach %s: %w", l.device, derr))
			continue
		}
		removed = append(removed, "loop device "+l.device)
	}
	for _, m := range mounts {
		if m.path != fuse {
			continue
		}
		if uerr := unix.Unmount(fuse, unix.MNT_DETACH); uerr != nil && !errors.Is(uerr, unix.EINVAL) {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", fuse, uerr))
		}
		removed = append(removed, "mount "+fuse)
	}
	if pid := serverOf(lab); pid != 0 && pid != os.Getppid() {
		if kerr := unix.Kill(pid, unix.SIGKILL); kerr == nil {
			removed = append(removed, fmt.Sprintf("process %d", pid))
		}
	}
	if err != nil {
		return removed, err
	}
	if err = nothingMounted(lab); err != nil {
		return removed, err
	}
	removed = append(removed, "directory "+lab)
	return removed, os.RemoveAll(lab)
}

// patientlyUnmount unmounts a filesystem, by force of patience; where a process
// of the lab's is at work on it still, it goes when that does.
func patientlyUnmount(path string) error {
	err := patiently(func() error { return unix.Unmount(path, 0) })
	if errors.Is(err, unix.EBUSY) {
		return unix.Unmount(path, unix.MNT_DETACH)
	}
	if errors.Is(err, unix.EINVAL) { // somebody was faster
		return nil
	}
	return err
}

// nothingMounted makes sure that nothing of what is removed is on another
// filesystem.
func nothingMounted(lab string) error {
	mounts, err := mountPoints()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.path, lab+"/") {
			return fmt.Errorf("%s is mounted still", m.path)
		}
	}
	return nil
}

// mountPoint is a line of the mount table.
type mountPoint struct{ path, source string }

// mountPoints reads the mount table, in order.
func mountPoints() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it is read
	var list []mountPoint
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	in := bufio.NewScanner(f)
	for in.Scan() {
		if fields := strings.Fields(in.Text()); len(fields) >= 2 {
			list = append(list, mountPoint{path: unescape.Replace(fields[1]), source: unescape.Replace(fields[0])})
		}
	}
	return list, in.Err()
}

// loopOf is a loop device and its file.
type loopOf struct{ device, file string }

// attachedLoops returns all loop devices that have a file.
func attachedLoops() []loopOf {
	names, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is good
	var list []loopOf
	for _, name := range names {
		if file, err := os.ReadFile(name); err == nil {
			device := strings.Split(name, "/")[3]
			list = append(list, loopOf{"/dev/" + device, strings.TrimSpace(string(file))})
		}
	}
	return list
}

// detach detaches a loop device from its file.
func detach(device string) error {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
}

// serverOf returns the process that serves a lab's disks, or 0.
func serverOf(lab string) int {
	names, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	for _, name := range names {
		environ, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for v := range strings.SplitSeq(string(environ), "\x00") {
			if strings.HasPrefix(v, serverEnv+"=") && strings.Contains(v, `"dir":"`+lab+`"`) && !strings.Contains(v, `"sweep":true`) {
				pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
				return pid
			}
		}
	}
	return 0
}
