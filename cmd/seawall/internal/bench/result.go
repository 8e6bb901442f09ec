//go:build linux

package bench

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// Result is what was measured. Times are in nanoseconds where a key says ns, else in
// seconds. Null stands for what the kernel does not tell, or what there was none of.
type Result struct {
	// Mode is "durable" where each append is synced, else "unsynced".
	Mode string `json:"mode"`
	// Summary is the first ratio, and whether to believe it, in one line of words.
	Summary string `json:"summary"`
	// Ratios compare the log with each limit. The first is what the log is judged by.
	Ratios []Ratio `json:"ratios"`
	// Noisy says that the machine was too noisy for the ratios to tell anything, and
	// NoisyReason why.
	Noisy       bool   `json:"noisy"`
	NoisyReason string `json:"noisy_reason"`
	// LimitSpread is how far the time a record of the first limit spread over the runs:
	// largest less smallest, by the median. LimitSpreadBound is from where it is noise.
	LimitSpread      float64 `json:"limit_spread"`
	LimitSpreadBound float64 `json:"limit_spread_bound"`
	// OthersShare is which part of the machine's processors others took while it was
	// measured, the kernel's own threads included; null where that is not known.
	// OthersShareBound is from where it is noise.
	OthersShare      *float64 `json:"others_share"`
	OthersShareBound float64  `json:"others_share_bound"`
	// Log and Limits are the contenders.
	Log    Measured   `json:"log"`
	Limits []Measured `json:"limits"`
	// Young is the log right after Open, by one writer, before its segments ahead are
	// prepared. It is not in Log.
	Young Young `json:"young"`
	// Rotations counts the segments that the logs entered behind their first records, and
	// SegmentWaits the waits of writers for one: time that is in Log, warm-up included.
	Rotations    uint64 `json:"rotations"`
	SegmentWaits uint64 `json:"segment_waits"`
	// VerifiedRecords is how many records the last run's log held when it was closed and
	// verified: all that were appended to it.
	VerifiedRecords int64 `json:"verified_records"`
	// SampleEvery says of how many appends one is timed for the latency. ClockNS is what
	// a look at the clock costs, which is in each latency.
	SampleEvery int     `json:"sample_every"`
	ClockNS     float64 `json:"clock_ns"`

	Writers         int     `json:"writers"`
	RecordBytes     int     `json:"record_bytes"` // payload
	FrameBytes      int64   `json:"frame_bytes"`  // what a record takes in the log
	Sync            string  `json:"sync"`         // each, manual or a duration
	Runs            int     `json:"runs"`
	DurationSeconds float64 `json:"duration_seconds"` // of a run at most
	WarmupSeconds   float64 `json:"warmup_seconds"`   // before each at most
	SegmentBytes    int64   `json:"segment_bytes"`
	LimitBytes      int64   `json:"limit_bytes"` // that a run appends at most

	Machine Machine `json:"machine"`
}

// Ratio compares the log with a limit, run by run: the time a record of the log by that
// of the limit in the same run. 1 is as fast, 2 takes twice as long.
type Ratio struct {
	Limit  string  `json:"limit"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Measured is what one contender did, over all runs.
type Measured struct {
	Name    string  `json:"name"` // log, copy, write, store or group
	What    string  `json:"what"` // the work, in words
	Records int64   `json:"records"`
	Seconds float64 `json:"seconds"`
	// NSPerRecord is the median of the runs' wall time by their records; RunsNS has each
	// run's.
	NSPerRecord float64   `json:"ns_per_record"`
	RunsNS      []float64 `json:"runs_ns_per_record"`
	// RecordsPerSecond and BytesPerSecond, of payload, follow from the median.
	RecordsPerSecond float64 `json:"records_per_second"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
	// EndedByLimit is how many runs ended by their bytes before their time was over.
	EndedByLimit int       `json:"ended_by_limit"`
	Latency      Latency   `json:"latency"`
	PerRecord    PerRecord `json:"per_record"`
	// Syncs counts msync calls for the log's records, and msync or fdatasync calls of
	// the limits. RecordsPerSync is null where there was none.
	Syncs          uint64   `json:"syncs"`
	RecordsPerSync *float64 `json:"records_per_sync"`
}

// Latency is of the appends that were timed, over all runs, right to 1 %. It does not
// correct for what a writer would have appended while it waited.
type Latency struct {
	Samples int64 `json:"samples"`
	P50     int64 `json:"p50_ns"`
	P90     int64 `json:"p90_ns"`
	P99     int64 `json:"p99_ns"`
	P999    int64 `json:"p999_ns"`
	Max     int64 `json:"max_ns"`
	// Longest is how long SampleEvery appends of a writer took at most, one after
	// another: the appends that are not timed are in it.
	Longest int64 `json:"longest_stretch_ns"`
}

// PerRecord is what the kernel counts, by records.
type PerRecord struct {
	// DirtiedBytes is write_bytes of /proc/self/io: what this process made the page cache
	// write. It is counted when a page becomes dirty; the filesystem's journal is not in it.
	DirtiedBytes *float64 `json:"dirtied_bytes"`
	// DeviceBytes is what the block device wrote meanwhile, for everybody, journal
	// included (/sys/dev/block). Null where the filesystem spans devices or has none.
	DeviceBytes *float64 `json:"device_bytes"`
	// ReadWriteCalls is syscr and syscw of /proc/self/io: read and write calls of any
	// kind. SyncCalls is Syncs. Others, as futex, the kernel does not count for a process.
	ReadWriteCalls *float64 `json:"read_write_calls"`
	SyncCalls      float64  `json:"sync_calls"`
	// MinorFaults and MajorFaults are getrusage's, of all threads.
	MinorFaults float64 `json:"minor_faults"`
	MajorFaults float64 `json:"major_faults"`
}

// Young is the beginning of a log.
type Young struct {
	Records     int64   `json:"records"`       // of each run
	NSPerRecord float64 `json:"ns_per_record"` // median of the runs
}

// Machine is where it was measured.
type Machine struct {
	Kernel     string    `json:"kernel"`
	Arch       string    `json:"arch"`
	Cores      int       `json:"cores"` // that this process may use
	PageBytes  int       `json:"page_bytes"`
	Filesystem string    `json:"filesystem"`
	Go         string    `json:"go"`
	Date       time.Time `json:"date"` // in UTC, of the end
}

// series is what the runs of a contender gave.
type series struct {
	name, what string
	counted    counted
	runs       []float64 // nanoseconds a record
	records    int64
	elapsed    time.Duration
	latency    *hdrhistogram.Histogram
	longest    time.Duration
	syncs      uint64
	limited    int
	verified   int64
}

// add adds a run that might have had so many records.
func (s *series) add(d driven, syncs uint64, most int64) {
	s.runs = append(s.runs, float64(d.elapsed)/float64(d.records))
	s.records += d.records
	s.elapsed += d.elapsed
	s.longest = max(s.longest, d.longest)
	s.syncs += syncs
	if d.records == most {
		s.limited++
	}
	if s.latency == nil {
		s.latency = newHistogram()
	}
	s.latency.Merge(d.latency)
}

// measured returns the series in numbers.
func (s *series) measured(c *Config) Measured {
	per := func(n *int64) *float64 {
		if n == nil {
			return nil
		}
		v := float64(*n) / float64(s.records)
		return &v
	}
	minor, major := s.counted.minor, s.counted.major
	m := Measured{
		Name: s.name, What: s.what, Records: s.records, Seconds: s.elapsed.Seconds(),
		NSPerRecord: median(s.runs), RunsNS: s.runs, EndedByLimit: s.limited, Syncs: s.syncs,
		Latency: Latency{
			Samples: s.latency.TotalCount(), P50: s.latency.ValueAtQuantile(50), P90: s.latency.ValueAtQuantile(90),
			P99: s.latency.ValueAtQuantile(99), P999: s.latency.ValueAtQuantile(99.9), Max: s.latency.Max(),
			Longest: max(int64(s.longest), s.latency.Max()),
		},
		PerRecord: PerRecord{
			DirtiedBytes: per(s.counted.dirtied), DeviceBytes: per(s.counted.device), ReadWriteCalls: per(s.counted.calls),
			SyncCalls: float64(s.syncs) / float64(s.records), MinorFaults: *per(&minor), MajorFaults: *per(&major),
		},
	}
	m.RecordsPerSecond = 1e9 / m.NSPerRecord
	m.BytesPerSecond = m.RecordsPerSecond * float64(c.Size)
	if s.syncs > 0 {
		v := float64(s.records) / float64(s.syncs)
		m.RecordsPerSync = &v
	}
	return m
}

// result puts together what was measured.
func (b *bench) result() (*Result, error) {
	r := &Result{
		Mode: "unsynced", Writers: b.Writers, RecordBytes: b.Size, FrameBytes: b.frameBytes(), Sync: b.Sync.String(), Runs: b.Runs,
		DurationSeconds: b.Duration.Seconds(), WarmupSeconds: b.Warmup.Seconds(), SegmentBytes: b.SegmentBytes, LimitBytes: b.Limit,
		SampleEvery: b.every(), ClockNS: clockNanos(), VerifiedRecords: b.log.verified,
		Rotations: b.rotations, SegmentWaits: b.waits,
		LimitSpreadBound: spreadBound, OthersShareBound: othersBound,
		Log: b.log.measured(&b.Config), Young: Young{b.Config.young(), median(b.young)},
	}
	if b.durable() {
		r.Mode = "durable"
	}
	all := b.log.counted
	for _, l := range b.limits {
		r.Limits = append(r.Limits, l.measured(&b.Config))
		r.Ratios = append(r.Ratios, ratio(l.name, b.log.runs, l.runs))
		all.own += l.counted.own
		all.everybody += l.counted.everybody
		all.wall += l.counted.wall
	}
	r.LimitSpread = spread(b.limits[0].runs)
	r.OthersShare = othersShare(&all)
	r.NoisyReason = noise(r.LimitSpread, r.OthersShare, b.limits[0].name)
	r.Noisy = r.NoisyReason != ""
	first := r.Ratios[0]
	r.Summary = fmt.Sprintf("%s, %d B, writers %d: the log takes %.2f times (%.2f to %.2f) the time of: %s",
		r.Mode, r.RecordBytes, r.Writers, first.Median, first.Min, first.Max, r.Limits[0].What)
	if r.Noisy {
		r.Summary += "; too noisy to tell: " + r.NoisyReason
	}
	var err error
	r.Machine, err = machine(b.dir)
	return r, err
}

// ratio compares runs.
func ratio(name string, log, limit []float64) Ratio {
	ratios := make([]float64, len(log))
	for i := range log {
		ratios[i] = log[i] / limit[i]
	}
	return Ratio{Limit: name, Median: median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios)}
}

// median returns the middle of numbers, of which there is one at least.
func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// machine returns the facts of where it was measured.
func machine(dir string) (Machine, error) {
	m := Machine{
		Arch: runtime.GOARCH, Cores: runtime.NumCPU(), PageBytes: unix.Getpagesize(),
		Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second),
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		return m, err
	}
	fsys, err := d.Filesystem()
	m.Filesystem = fsys.Name
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return m, err
}
