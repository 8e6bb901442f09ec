package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// statSectorBytes is the unit of the stat file in sysfs, whatever the device's own.
	statSectorBytes = 512

	// maxLayers bounds how many devices are looked through that lie on each other.
	maxLayers = 16
)

// device is a block device and where sysfs has it.
type device struct {
	Device
	sys string // its directory
}

// counters are what a device has done for everybody since it came.
type counters struct{ written, flushes int64 }

// count returns the device's counters, Unknown where there are none
// (Documentation/block/stat.rst: the seventh field is write sectors, the sixteenth, of
// Linux 5.5, flush I/Os).
func (d *device) count() counters {
	c := counters{Unknown, Unknown}
	if d == nil {
		return c
	}
	text, err := os.ReadFile(filepath.Join(d.sys, "stat"))
	if err != nil {
		return c
	}
	fields := strings.Fields(string(text))
	number := func(i int) int64 {
		if i >= len(fields) {
			return Unknown
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return Unknown
		}
		return n
	}
	if c.written = number(6); c.written >= 0 {
		c.written *= statSectorBytes
	}
	c.flushes = number(15)
	return c
}

// since returns what was done since the counters before.
func (c counters) since(before counters) counters {
	if before.written < 0 || c.written < 0 {
		return counters{Unknown, Unknown}
	}
	d := counters{c.written - before.written, Unknown}
	if before.flushes >= 0 && c.flushes >= 0 {
		d.flushes = c.flushes - before.flushes
	}
	return d
}

// finder looks devices up.
type finder struct {
	found []*device
	seen  map[string]bool
	note  func(string, any)
}

// findDevices returns the devices that a path lies on, from the top down.
func findDevices(path string, on Filesystem, note func(string, any)) []*device {
	f := &finder{seen: make(map[string]bool), note: note}
	if on.Name == "tmpfs" || on.Name == "ramfs" || on.Name == "hugetlbfs" {
		return nil // the promise says so
	}
	f.ofPath(on.below(path), on.Source, 0)
	if len(f.found) == 0 && len(f.seen) == 0 {
		note("device", "none is known for "+on.Name+" here, neither by its number nor by the mount's source "+strconv.Quote(on.Source))
	}
	return f.found
}

// ofPath adds the devices that a path lies on. A filesystem that spans devices has a
// number that sysfs does not know; a btrfs tells which they are, of others the mount
// may name them.
func (f *finder) ofPath(path, source string, layer int) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		f.note("device", fmt.Sprintf("stat %s: %v", path, err))
		f.seen[path] = true
		return
	}
	dev := uint64(st.Dev) //nolint:unconvert // uint32 on some machines
	if unix.Major(dev) != 0 {
		f.ofNumber(fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)), layer)
		return
	}
	numbers := btrfsDevices(path)
	if len(numbers) == 0 {
		numbers = sourceDevices(source)
	}
	if len(numbers) > 1 {
		f.note("bytes of the device", fmt.Sprintf("the filesystem spans %d devices: those of the first are shown", len(numbers)))
	}
	for _, n := range numbers {
		f.ofNumber(n, layer)
	}
}

// sourceDevices returns the numbers of block devices that a mount names, several with
// colons between them (bcachefs).
func sourceDevices(source string) (numbers []string) {
	for name := range strings.SplitSeq(source, ":") {
		var st unix.Stat_t
		if !filepath.IsAbs(name) || unix.Stat(name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		rdev := uint64(st.Rdev) //nolint:unconvert // uint32 on some machines
		numbers = append(numbers, fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev)))
	}
	return numbers
}

// btrfsInfo is struct btrfs_ioctl_fs_info_args (include/uapi/linux/btrfs.h): 1 KiB.
type btrfsInfo struct {
	_    [2]uint64
	fsid [16]byte
	_    [1024 - 32]byte
}

// ioctlBtrfsInfo is BTRFS_IOC_FS_INFO, _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args).
// It needs no privilege.
const ioctlBtrfsInfo = 0x8400941f

// btrfsDevices returns the numbers of a btrfs's devices, nil where the path is on none.
func btrfsDevices(path string) (numbers []string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var info btrfsInfo
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlBtrfsInfo, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return nil
	}
	id := fmt.Sprintf("%x", info.fsid)
	id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	list, err := filepath.Glob(filepath.Join("/sys/fs/btrfs", id, "devices", "*", "dev"))
	if err != nil {
		return nil
	}
	for _, name := range list {
		numbers = append(numbers, sysText(name))
	}
	return numbers
}

// ofNumber adds a device and those below it.
func (f *finder) ofNumber(number string, layer int) {
	if f.seen[number] || layer > maxLayers {
		return
	}
	f.seen[number] = true
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("sysfs has no block device %s (a container may hide it)", number)
		}
		f.note("device", err)
		return
	}
	d := describe(sys, number)
	f.found = append(f.found, d)
	if backing := sysText(filepath.Join(sys, "loop/backing_file")); backing != "" {
		d.LiesOn = backing
		f.ofPath(backing, "", layer+1)
	}
	disk := filepath.Join(filepath.Dir(sys), d.Disk)
	if d.Disk == d.Name {
		disk = sys
	}
	below, err := filepath.Glob(filepath.Join(disk, "slaves", "*", "dev"))
	if err != nil {
		return
	}
	var names []string
	for _, name := range below {
		names = append(names, filepath.Base(filepath.Dir(name)))
	}
	if len(names) > 0 {
		d.LiesOn = strings.Join(names, " ")
	}
	for _, name := range below {
		f.ofNumber(sysText(name), layer+1)
	}
}

// describe reads what sysfs has about a device. A partition's queue is its disk's.
func describe(sys, number string) *device {
	d := &device{Device: Device{Name: filepath.Base(sys), Number: number}, sys: sys}
	disk := sys
	if sysText(filepath.Join(sys, "partition")) != "" {
		disk = filepath.Dir(sys)
	}
	d.Disk = filepath.Base(disk)
	queue := func(name string) string { return sysText(filepath.Join(disk, "queue", name)) }
	size := func(name string) int64 {
		n, err := strconv.ParseInt(queue(name), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	d.Driver = driverOf(disk)
	d.Model = strings.TrimSpace(sysText(filepath.Join(disk, "device/vendor")) + " " + sysText(filepath.Join(disk, "device/model")))
	if name := sysText(filepath.Join(disk, "dm/name")); name != "" {
		d.Model = name
	}
	if strings.HasPrefix(d.Model, "0x") {
		d.Model = "" // a PCI vendor's number, of a virtual disk that has no model
	}
	d.Cache = queue("write_cache")
	d.Rotational, d.FUA, d.StableWrites = queue("rotational") == "1", queue("fua") == "1", queue("stable_writes") == "1"
	d.LogicalBytes, d.PhysicalBytes = size("logical_block_size"), size("physical_block_size")
	if n, err := strconv.ParseInt(sysText(filepath.Join(sys, "alignment_offset")), 10, 64); err == nil {
		d.Misaligned = max(0, n)
	}
	d.WriteZeroes, d.AtomicUnitBytes = size("write_zeroes_max_bytes"), size("atomic_write_unit_max_bytes")
	return d
}

// driverOf returns the word for what drives a disk.
func driverOf(disk string) string {
	for _, kind := range []struct{ dir, driver string }{{"loop", "loop"}, {"dm", "device-mapper"}, {"md", "md"}, {"bcache", "bcache"}} {
		if _, err := os.Stat(filepath.Join(disk, kind.dir)); err == nil {
			return kind.driver
		}
	}
	for _, link := range []string{"device/driver", "device/device/driver"} {
		if target, err := os.Readlink(filepath.Join(disk, link)); err == nil {
			return filepath.Base(target)
		}
	}
	// What has no device below it: loop0 that is not attached, zram0, ram0, nullb0.
	return strings.TrimRight(filepath.Base(disk), "0123456789")
}

// sysText returns the content of a file in sysfs, and nothing where there is none.
func sysText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
