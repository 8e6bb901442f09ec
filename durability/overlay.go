package durability

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

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
		options, err := overlayOptions(fd)
		if err != nil {
			fsys.Why = fmt.Sprintf("what it lies on is not known: %v", err)
			return
		}
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

// overlayOptions returns the options with which the overlay was mounted that a
// descriptor lies on, from the list of the calling thread: the first one of the process,
// whose list /proc/self has, may be in a mount namespace of its own.
func overlayOptions(fd int) (map[string]string, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return nil, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return nil, fmt.Errorf("the kernel does not tell its mount (statx(2): since Linux 5.8)")
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay has a path for each of its layers
	for lines.Scan() {
		// ID, ..., " - ", type, source, options of the superblock (proc(5))
		id, _, _ := strings.Cut(lines.Text(), " ")
		_, rest, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(rest)
		if n, err := strconv.ParseUint(id, 10, 64); err != nil || n != st.Mnt_id || !ok || len(fields) < 3 {
			continue
		}
		return mountOptions(fields[2]), nil
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("/proc/thread-self/mountinfo does not list its mount")
}

// mountOptions takes the mount options of an overlay apart, as mountinfo shows them:
// some characters are octal numbers behind a backslash (proc(5)), commas within a
// value among them, which have a backslash of the mount's own in front.
func mountOptions(text string) map[string]string {
	options := make(map[string]string)
	for option := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(unescape(option, octal), "=")
		options[name] = unescape(value, 1)
	}
	return options
}

// octal is how many digits a byte has in mountinfo.
const octal = 3

// unescape replaces what stands behind backslashes: an octal number of three digits,
// or a character that is itself.
func unescape(text string, digits int) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+digits >= len(text) {
			out.WriteByte(text[i])
			continue
		}
		next := text[i+1 : i+1+digits]
		if n, err := strconv.ParseUint(next, 8, 8); err == nil && digits == octal {
			out.WriteByte(byte(n))
		} else {
			out.WriteString(next)
		}
		i += digits
	}
	return out.String()
}
