//go:build linux

package intercept

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Call is a system call that a thread of the program is about to make.
type Call struct {
	Op     Op
	Nr     uintptr // unix.SYS_...
	Args   [6]uint64
	Thread int
}

// proc returns a file of the thread's in /proc.
func (c *Call) proc(elem ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(c.Thread)}, elem...)...)
}

// Descriptor returns an argument that is a descriptor.
func (c *Call) Descriptor(arg int) int { return int(int32(c.Args[arg])) }

// OpenPath returns the path of what a descriptor is open on. One that has no name any more ends
// with " (deleted)".
func (c *Call) OpenPath(fd int) (string, error) {
	return os.Readlink(c.proc("fd", strconv.Itoa(fd)))
}

// OpenFile returns the open file itself that a descriptor of the program stands for: what it
// has not been told of errors yet, its caller is told.
func (c *Call) OpenFile(fd int) (*os.File, error) {
	text, err := os.ReadFile(c.proc("status"))
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\nTgid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	process, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	if err != nil {
		return nil, fmt.Errorf("intercept: thread %d: %w", c.Thread, err)
	}
	pidfd, err := unix.PidfdOpen(process, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	own, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err = errors.Join(os.NewSyscallError("pidfd_getfd", err), unix.Close(pidfd)); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), ""), nil
}

// IsRoot reports whether the thread has root's rights, and sees files by the names that the lab
// sees them by.
func (c *Call) IsRoot() bool {
	root, err := os.Readlink(c.proc("root"))
	if err != nil || root != "/" {
		return false
	}
	text, err := os.ReadFile(c.proc("status"))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(text, []byte("\nUid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	ids := strings.Fields(string(line)) // real, effective, saved, of the filesystem
	return len(ids) == 4 && ids[3] == "0"
}

// mostPath is PATH_MAX of the kernel.
const mostPath = 4096

// Path returns an argument that is a path, as the program sees it, made absolute: relative to
// the argument at, which is a descriptor of a directory, or, where that is below 0, to the
// directory that the program is in. It is not cleaned: what comes before a ".." may be a link.
func (c *Call) Path(at, arg int) (string, error) {
	path, err := c.text(uintptr(c.Args[arg]), mostPath)
	if err != nil || filepath.IsAbs(path) {
		return path, err
	}
	base := c.proc("cwd")
	if at >= 0 && c.Descriptor(at) != unix.AT_FDCWD {
		base = c.proc("fd", strconv.Itoa(c.Descriptor(at)))
	}
	dir, err := os.Readlink(base)
	return dir + "/" + path, err
}

// Memory reads the program's memory.
func (c *Call) Memory(at uintptr, p []byte) (int, error) {
	n, err := unix.ProcessVMReadv(c.Thread, []unix.Iovec{iovec(p)}, []unix.RemoteIovec{{Base: at, Len: len(p)}}, 0)
	return n, os.NewSyscallError("process_vm_readv", err)
}

func iovec(p []byte) unix.Iovec {
	v := unix.Iovec{Base: &p[0]}
	v.SetLen(len(p))
	return v
}

// text reads a string that ends with a zero.
func (c *Call) text(at uintptr, most int) (string, error) {
	var all []byte
	for len(all) < most {
		// Not over the end of a page: the next one may not be there.
		p := make([]byte, min(most-len(all), os.Getpagesize()-int((at+uintptr(len(all)))%uintptr(os.Getpagesize()))))
		n, err := c.Memory(at+uintptr(len(all)), p)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(p[:n], 0); end >= 0 {
			return string(append(all, p[:end]...)), nil
		}
		all = append(all, p[:n]...)
	}
	return "", unix.ENAMETOOLONG
}

// Position returns where a descriptor reads and writes next.
func (c *Call) Position(fd int) (int64, error) {
	text, err := os.ReadFile(c.proc("fdinfo", strconv.Itoa(fd)))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if pos, ok := strings.CutPrefix(line, "pos:"); ok {
			return strconv.ParseInt(strings.TrimSpace(pos), 10, 64)
		}
	}
	return 0, fmt.Errorf("intercept: descriptor %d of thread %d has no position", fd, c.Thread)
}

// OpenFlags returns the flags that a descriptor's file is open with.
func (c *Call) OpenFlags(fd int) (int, error) {
	text, err := os.ReadFile(c.proc("fdinfo", strconv.Itoa(fd)))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(flags), 8, 64)
			return int(n), err
		}
	}
	return 0, fmt.Errorf("intercept: descriptor %d of thread %d has no flags", fd, c.Thread)
}

// Read reads parts of the program's memory, each an address and a length, one after the other.
func (c *Call) Read(parts [][2]uint64) ([]byte, error) {
	var all []byte
	for _, part := range parts {
		for at, end := part[0], part[0]+part[1]; at < end; {
			p := make([]byte, min(end-at, 64<<10))
			n, err := c.Memory(uintptr(at), p)
			if err != nil {
				return nil, err
			}
			all, at = append(all, p[:n]...), at+uint64(n)
		}
	}
	return all, nil
}

// Within reports whether a thread is in a call of this kind now, or may be: one that runs does
// not tell.
func Within(thread int, op Op) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(thread), "syscall"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	nr, err := strconv.Atoi(word)
	return err != nil || nr >= 0 && calls[uintptr(nr)] == op // "running"
}
