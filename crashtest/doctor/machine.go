//go:build linux

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// machine is where a machine's files are seen: / is this one.
type machine struct{ root string }

// filesystems are those of the campaigns of power cuts, with the packages of their
// tools.
var filesystems = []struct{ name, tools string }{{"ext4", "e2fsprogs"}, {"xfs", "xfsprogs"}, {"btrfs", "btrfs-progs"}}

// mayAdmin says how to get what mounting needs.
const mayAdmin = "run it as root (CAP_SYS_ADMIN, not in a user namespace)"

// examine returns what the machine has. Whether processes may be traced, and memory
// be limited, was tried.
func (m machine) examine(trace, memory error) []Check {
	checks := []Check{{Name: "exact", OK: trace == nil}}
	if trace != nil {
		checks[0].Enable = m.enableTrace()
	}
	for _, fsys := range filesystems {
		enable := m.enableFilesystem(fsys.name, fsys.tools)
		checks = append(checks, Check{Name: fsys.name, OK: enable == "", Enable: enable})
	}
	cgroups := Check{Name: "cgroups", OK: memory == nil}
	if memory != nil {
		cgroups.Enable = "run it as root, or by `systemd-run --user --scope -p Delegate=yes`: " + memory.Error()
	}
	fuse, loop := m.enableFUSE(), m.enableLoop()
	return append(checks, cgroups, Check{Name: "fuse", OK: fuse == "", Enable: fuse}, Check{Name: "loop", OK: loop == "", Enable: loop})
}

// enableTrace says how ptrace is permitted.
func (m machine) enableTrace() string {
	switch strings.TrimSpace(m.read("proc/sys/kernel/yama/ptrace_scope")) {
	case "2":
		return "sysctl kernel.yama.ptrace_scope=1"
	case "3":
		return "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d, and boot again"
	}
	return "permit ptrace: a container needs --cap-add SYS_PTRACE"
}

// enableFilesystem says what a filesystem lacks, or nothing.
func (m machine) enableFilesystem(name, tools string) string {
	switch {
	case !m.hasProgram("mkfs." + name):
		return fmt.Sprintf("install mkfs.%s: apt-get install %s", name, tools)
	case !m.hasFilesystem(name):
		return fmt.Sprintf("boot a kernel with %s, or install its module", name)
	case !m.isAdmin():
		return mayAdmin
	}
	return ""
}

// enableFUSE says what filesystems in user space lack, or nothing.
func (m machine) enableFUSE() string {
	err := m.open("dev/fuse")
	switch {
	case !m.hasFilesystem("fuse"):
		return "modprobe fuse"
	case errors.Is(err, fs.ErrNotExist):
		return "mknod /dev/fuse c 10 229: a container needs --device /dev/fuse"
	case err != nil:
		return "permit /dev/fuse: chmod 666 /dev/fuse; a container needs --device /dev/fuse"
	case !m.isAdmin() && !m.hasProgram("fusermount3") && !m.hasProgram("fusermount"):
		return "install fusermount3: apt-get install fuse3"
	}
	return ""
}

// enableLoop says what loop devices lack, or nothing. None is made: that would be
// left behind.
func (m machine) enableLoop() string {
	err := m.open("dev/loop-control")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "modprobe loop; a container needs --privileged"
	case !m.isAdmin():
		return mayAdmin
	case err != nil:
		return "permit /dev/loop-control: a container needs --privileged"
	}
	return ""
}

// hasFilesystem reports whether the kernel has a filesystem, or loads it when it is
// mounted.
func (m machine) hasFilesystem(name string) bool {
	for line := range strings.Lines(m.read("proc/filesystems")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	release := strings.TrimSpace(m.read("proc/sys/kernel/osrelease"))
	return release != "" && strings.Contains(m.read("lib/modules/"+release+"/modules.dep"), "/"+name+".ko")
}

// hasProgram reports whether a program is where root finds it, or this user.
func (m machine) hasProgram(name string) bool {
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin", "/usr/local/sbin")
	return slices.ContainsFunc(dirs, func(dir string) bool {
		st, err := os.Stat(filepath.Join(m.root, dir, name))
		return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
	})
}

// capSysAdmin is the number of the capability that mounting needs.
const capSysAdmin = 21

// isAdmin reports whether this process may mount a device. The root of a user
// namespace may not.
func (m machine) isAdmin() bool {
	if ids := strings.Fields(m.read("proc/self/uid_map")); len(ids) != 3 || ids[2] != "4294967295" {
		return false
	}
	for line := range strings.Lines(m.read("proc/self/status")) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && caps&(1<<capSysAdmin) != 0
		}
	}
	return false
}

// read returns a file's content, nothing where there is none.
func (m machine) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(m.root, name))
	return string(text)
}

// open opens a device for reading and writing, and closes it.
func (m machine) open(name string) error {
	f, err := os.OpenFile(filepath.Join(m.root, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
