package probe

import (
	"fmt"
	"slices"
	"strings"
)

// Below these times an answer to fdatasync comes too early.
const (
	// rotatingBound is half a turn of the fastest disks (15,000 a minute: 4 ms a turn),
	// which a write waits for on average wherever the head is; without the seek.
	rotatingBound = 2e-3

	// cacheBound is for devices that say that their cache is volatile. A commit into written
	// blocks is a write and a flush, two commands one after the other. One NVMe command
	// takes some 5 to 10 µs there and back, interrupt included, before any cell is
	// programmed; SATA takes more, and a NAND page takes 100 µs and more to program.
	cacheBound = 15e-6
)

// virtualMakers are how emulated disks begin their names. Whether these turn is
// what somebody has configured.
var virtualMakers = []string{"QEMU", "VMware", "VBOX", "Msft", "Virtual", "Google", "Amazon", "BHYVE", "Xen"}

// memoryDrivers drive devices that forget.
var memoryDrivers = []string{"zram", "ram", "nullb"}

// judge says whether the device can have flushed in the time that a sync took.
func judge(r *Result) Flush {
	f := Flush{Verdict: CannotTell, Class: "none"}
	var flushes int64 = Unknown
	for _, s := range r.Syncs {
		if s.Method == Fdatasync && s.State == Written {
			f.P50, flushes = s.P50, s.Flushes
		}
	}
	switch {
	case len(r.Devices) == 0 && !r.Filesystem.Durable:
		f.Why = append(f.Why, "there is no device here: "+r.Filesystem.Why)
		return f
	case len(r.Devices) == 0:
		f.Class = "unknown"
		f.Why = append(f.Why, "the device is not known")
		return f
	}
	f.device(r.Devices[0])
	for _, d := range r.Devices[1:] { // what lies below decides too
		if slices.Contains(memoryDrivers, d.Driver) {
			f.device(d)
		}
	}
	if f.P50 == 0 {
		f.Why = append(f.Why, "fdatasync was not timed")
		return f
	}
	f.compare(r.Devices[0], flushes)
	if f.Verdict != Implausible && barriersOff(r.Filesystem) {
		f.Verdict = Implausible
		f.Why = append(f.Why, "the filesystem is mounted without barriers: it tells no device to flush")
	}
	return f
}

// device tells the class of a device, and the bound that goes with it.
func (f *Flush) device(d Device) {
	virtual := d.Driver == "virtio_blk" || d.Driver == "vbd" ||
		slices.ContainsFunc(virtualMakers, func(maker string) bool { return strings.HasPrefix(d.Model, maker) })
	cached := d.Cache == "write back"
	if cached {
		f.Bound = cacheBound
	}
	switch {
	case slices.Contains(memoryDrivers, d.Driver):
		f.Class, f.Bound = "memory", 0
		f.Why = append(f.Why, d.Name+" lives in memory: nothing on it survives a power loss")
	case d.Driver == "loop":
		f.Class = "a file as a device"
		f.Why = append(f.Why, "a loop device flushes by an fsync of its file, "+d.LiesOn+": the device below that decides")
	case d.LiesOn != "":
		f.Class = "devices together"
		f.Why = append(f.Why, "a flush goes to each of "+d.LiesOn)
	case virtual:
		f.Class = "a virtual disk"
		f.Why = append(f.Why, "what the host does with a flush cannot be seen from here, nor whether the disk turns (virtio always says that it does)")
	case d.Rotational && cached:
		f.Class, f.Bound = "a disk that turns", rotatingBound
		f.Why = append(f.Why, "half a turn at 15,000 a minute takes 2 ms; a controller with a battery may answer earlier, and is right to")
	case d.Rotational:
		f.Class = "a disk that turns, without a volatile cache"
	default:
		f.Class = "flash, or what behaves like it"
	}
	switch {
	case f.Class == "memory":
	case d.Cache == "write through":
		f.Why = append(f.Why, "the device says that it has no volatile cache: the kernel sends it no flush, and there is nothing to time")
	case f.Bound == cacheBound:
		f.Why = append(f.Why, "a write and a flush are two commands: with 5 to 10 µs each there and back, less than 15 µs is no flush of a volatile cache")
	case d.Cache == "":
		f.Why = append(f.Why, "the device does not tell whether it has a volatile cache")
	}
}

// compare compares what was measured with what the device's class can do.
func (f *Flush) compare(d Device, flushes int64) {
	switch {
	case f.Class == "memory":
		f.Verdict = Implausible
	case f.Bound > 0 && f.P50 < f.Bound:
		f.Verdict = Implausible
		f.Why = append(f.Why, fmt.Sprintf("fdatasync takes %s, less than the %s that are needed", timeText(f.P50), timeText(f.Bound)))
	case d.Cache == "write back" && flushes == 0 && d.LiesOn == "":
		f.Verdict = Implausible
		f.Why = append(f.Why, "the device has a volatile cache, and most commits came without a flush")
	case f.Bound > 0:
		f.Verdict = Plausible
		f.Why = append(f.Why, fmt.Sprintf("fdatasync takes %s, not less than the %s that are needed", timeText(f.P50), timeText(f.Bound)))
	}
}

// barriersOff reports whether a filesystem was told not to flush (ext4(5): nobarrier,
// barrier=0; btrfs(5): nobarrier).
func barriersOff(on Filesystem) bool {
	for option := range strings.SplitSeq(on.Super+","+on.Options, ",") {
		if option == "nobarrier" || option == "barrier=0" {
			return true
		}
	}
	return false
}
