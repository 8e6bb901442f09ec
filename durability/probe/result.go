package probe

// Unknown stands in a count for what the system does not tell.
const Unknown = -1

// Result is what a directory's filesystem, disk and kernel do. Times are in seconds,
// sizes in bytes; a count that the system does not tell is Unknown, -1.
type Result struct {
	Dir         string        `json:"dir"`
	Seconds     float64       `json:"seconds"`      // what the probe took
	Samples     int           `json:"samples"`      // syncs that were timed
	Kernel      string        `json:"kernel"`       // "Linux 6.18.1 x86_64"
	PageBytes   int64         `json:"page_bytes"`   // of a VM page
	Filesystem  Filesystem    `json:"filesystem"`   // what the directory lies on
	Devices     []Device      `json:"devices"`      // what that lies on, from the top down
	Promise     Promise       `json:"promise"`      // what C1 and C2 come to here
	Supports    []Support     `json:"supports"`     // what there is
	Syncs       []Sync        `json:"syncs"`        // by state of the blocks, then by method
	Folios      []Folio       `json:"folios"`       // by the size of the write that filled the file
	Faults      []Fault       `json:"faults"`       // by kind
	Fill        Fill          `json:"fill"`         // how fast a segment can be made ready
	Flush       Flush         `json:"flush"`        // whether the device can have done what it said
	Advice      Advice        `json:"advice"`       // for wal.Options
	NotMeasured []NotMeasured `json:"not_measured"` // what is missing above, and why
}

// NotMeasured is a part that is missing, or a thing that was not looked at.
type NotMeasured struct {
	What string `json:"what"`
	Why  string `json:"why"` // one line
}

// Filesystem is what the directory lies on.
type Filesystem struct {
	Name       string `json:"name"`    // "ext4", as durability names it
	Kind       string `json:"kind"`    // as the mount names it: "fuse.sshfs"; "" where it is not known
	Source     string `json:"source"`  // what is mounted
	Point      string `json:"point"`   // where
	Options    string `json:"options"` // of the mount
	Super      string `json:"super"`   // of the filesystem, as the kernel escapes them
	Durable    bool   `json:"durable"` // a sync can be relied on, as far as the kind tells
	Why        string `json:"why"`     // why not, or what that depends on
	BlockBytes int64  `json:"block_bytes"`
	FreeBytes  int64  `json:"free_bytes"` // for this user

	upper string // of an overlay
}

// Device is a block device, from sysfs (Documentation/ABI/stable/sysfs-block).
type Device struct {
	Name            string `json:"name"`              // "nvme0n1p2"
	Number          string `json:"number"`            // "259:2"
	Disk            string `json:"disk"`              // the disk that a partition is of, or itself
	Driver          string `json:"driver"`            // "nvme", "sd", "virtio_blk", "loop", "device-mapper"; "" unknown
	Model           string `json:"model"`             // "" where it has none
	LiesOn          string `json:"lies_on,omitempty"` // loop: its file; dm and md: their devices
	Cache           string `json:"cache"`             // "write back", "write through"; "" unknown
	Rotational      bool   `json:"rotational"`        // as the driver says
	FUA             bool   `json:"fua"`               // writes that are durable by themselves
	StableWrites    bool   `json:"stable_writes"`     // a store waits while its page is on its way
	LogicalBytes    int64  `json:"logical_sector_bytes"`
	PhysicalBytes   int64  `json:"physical_sector_bytes"`
	Misaligned      int64  `json:"alignment_offset_bytes"` // of its begin from a physical sector's
	WriteZeroes     int64  `json:"write_zeroes_max_bytes"`
	AtomicUnitBytes int64  `json:"atomic_write_unit_max_bytes"`
}

// Promise is what the clauses C1 (process death) and C2 (power loss) come to in the
// directory.
type Promise struct {
	// Coherent: bytes stored into a mapping are read through a descriptor at once, and
	// the other way round.
	Coherent bool `json:"coherent"`
	// Reached says what a read around the page cache found after a sync: "yes", "no", or
	// "unknown" where there is no such read.
	Reached string `json:"reached_device"`
	C1      string `json:"c1"`
	C2      string `json:"c2"`
}

// Support is a thing that the kernel and the filesystem have or do not have.
type Support struct {
	Name string `json:"name"`
	Has  bool   `json:"has"`
	Note string `json:"note"` // the kernel's answer, or what it is used for
}

// The states of the blocks that a commit goes into.
const (
	Extend    = "extend"    // behind the end of the file: a write makes it longer
	Unwritten = "unwritten" // allocated by fallocate(2), never written
	Written   = "written"   // filled with zeros, and synced
	Recycled  = "recycled"  // of a file that was used, renamed, and is used again
)

// The methods that make a commit durable.
const (
	Msync     = "msync"     // store into the mapping, msync(MS_SYNC)
	Fdatasync = "fdatasync" // pwrite, fdatasync
	Fsync     = "fsync"     // pwrite, fsync
	ODSync    = "O_DSYNC"   // pwrite through a descriptor with O_DSYNC
	RWFDSync  = "RWF_DSYNC" // pwritev2 with RWF_DSYNC
)

// Sync is what one small commit of commitBytes costs by one method, into blocks in
// one state. Each commit goes into another page, of a file with small folios. They come
// in turns of up to 16: a lone one may write the inode's new mtime too.
type Sync struct {
	Method  string  `json:"method"`
	State   string  `json:"state"`
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_seconds"` // of the store or write with its sync
	P99     float64 `json:"p99_seconds"` // the longest, where there are fewer than 100 samples
	Max     float64 `json:"max_seconds"`
	// DirtiedBytes is what the kernel charges the thread for, a median:
	// write_bytes of /proc/thread-self/io, which leaves the journal out.
	DirtiedBytes int64 `json:"dirtied_bytes"`
	// DeviceBytes is what the device wrote during the commit, a median: sectors of
	// its stat file in sysfs. Others write to it too.
	DeviceBytes int64 `json:"device_bytes"`
	// Flushes is how often the device was told to flush during it, a median.
	Flushes int64 `json:"flushes"`
}

// Folio is what a store of one byte dirties in a file that was filled by writes of a
// size.
type Folio struct {
	FillBytes    int64   `json:"fill_bytes"`
	DirtiedBytes int64   `json:"dirtied_bytes"` // dirty pages by cachestat(2), or what the thread is charged for; a median
	By           string  `json:"by"`            // "cachestat" or "thread-self/io"
	DeviceBytes  int64   `json:"device_bytes"`  // a median, of the msync
	P50          float64 `json:"p50_seconds"`   // of the msync
	Samples      int     `json:"samples"`
}

// Fault is what a page fault costs. Where one fault maps several pages, Faults is
// smaller than Pages.
type Fault struct {
	Kind    string  `json:"kind"`
	Pages   int64   `json:"pages"`
	Minor   int64   `json:"minor_faults"`
	Major   int64   `json:"major_faults"`
	Seconds float64 `json:"seconds_per_page"`
}

// Fill is how fast a file is filled with zeros and made durable, as segments are.
type Fill struct {
	Bytes   int64   `json:"bytes"` // 0: not measured
	Seconds float64 `json:"seconds"`
}

// Rate returns bytes a second, 0 where it was not measured.
func (f Fill) Rate() float64 {
	if f.Seconds <= 0 {
		return 0
	}
	return float64(f.Bytes) / f.Seconds
}

// The verdicts about a flush.
const (
	Plausible   = "plausible"
	Implausible = "implausible"
	CannotTell  = "cannot tell"
)

// Flush says whether the device can have done what its answer says. That it can
// have does not show that it did: only a power cut does.
type Flush struct {
	Verdict string   `json:"verdict"`
	Class   string   `json:"class"`         // of the device
	P50     float64  `json:"p50_seconds"`   // of fdatasync into written blocks; 0 not measured
	Bound   float64  `json:"bound_seconds"` // below it the answer comes too early; 0: there is no bound
	Why     []string `json:"why"`
}

// Advice is what the measurements say for wal.Options.
type Advice struct {
	FillBytes     int      `json:"fill_bytes"` // 0: the log's own choice
	SegmentBytes  int64    `json:"segment_bytes"`
	SegmentsAhead int      `json:"segments_ahead"`
	Align         string   `json:"align"` // "AlignFrame", "AlignFolio"
	Sync          string   `json:"sync"`  // "manual", "each", or a time as Go writes it
	Words         []Reason `json:"words"` // why, an option each
	Go            string   `json:"go"`    // the same as a Go literal
}

// Reason says what an option's value comes from.
type Reason struct {
	Option string `json:"option"`
	Why    string `json:"why"`
}
