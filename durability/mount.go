package durability

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is the mount that a directory lies on, as the kernel lists it (proc(5),
// /proc/pid/mountinfo).
type Mount struct {
	Point   string // where it is mounted
	Kind    string // "ext4", "fuse.sshfs", ...: finer than Filesystem.Name
	Source  string // what is mounted: a device, a share, or a word of the filesystem's own
	Options string // of the mount: "rw,relatime"
	Super   string // of the filesystem: "rw,data=ordered", as the kernel escapes it
	Root    string // the directory of the filesystem that is mounted
}

// Mount returns the mount that the directory lies on. The list is that of the calling
// thread: the first one of the process, whose list /proc/self has, may be in a mount
// namespace of its own. It takes Linux 5.8 and /proc.
func (d *Dir) Mount() (m Mount, err error) {
	err = d.with(func(fd int) error {
		m, err = mountOf(fd)
		return err
	})
	return m, pathError("find the mount of", d.path, err)
}

// mountOf returns the mount that a descriptor lies on.
func mountOf(fd int) (Mount, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return Mount{}, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return Mount{}, fmt.Errorf("the kernel does not tell its mount (statx(2): since Linux 5.8)")
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return Mount{}, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay has a path for each of its layers
	for lines.Scan() {
		// ID parent dev root point options ..., " - ", type, source, options of the superblock (proc(5))
		first, rest, ok := strings.Cut(lines.Text(), " - ")
		front, back := strings.Fields(first), strings.Fields(rest)
		if !ok || len(front) < 6 || len(back) < 3 {
			continue
		}
		if n, err := strconv.ParseUint(front[0], 10, 64); err != nil || n != st.Mnt_id {
			continue
		}
		return Mount{
			Root: unescape(front[3], octal), Point: unescape(front[4], octal), Options: front[5],
			Kind: back[0], Source: unescape(back[1], octal), Super: back[2],
		}, nil
	}
	if err := lines.Err(); err != nil {
		return Mount{}, err
	}
	return Mount{}, fmt.Errorf("/proc/thread-self/mountinfo does not list its mount")
}

// SuperOptions takes the options of the filesystem apart: those without a value map
// to nothing. Some characters are octal numbers behind a backslash (proc(5)), commas
// within a value of an overlay among them, which have a backslash of the mount's own
// in front.
func (m Mount) SuperOptions() map[string]string {
	options := make(map[string]string)
	for option := range strings.SplitSeq(m.Super, ",") {
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
