package probe

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What wal.Options takes, and its defaults: this package is below wal, and its tests
// see to it that they agree.
const (
	defaultSegmentBytes  = 64 << 20
	leastSegmentBytes    = 1 << 20 // wal takes less; rotations then cost more than they save
	defaultSegmentsAhead = 2
	maxSegmentsAhead     = 16
	maxFillBytes         = 2 << 20

	// noise is how much two times may differ that are called the same.
	noise = 1.10

	// spaceShare is how many segments should fit into the free space.
	spaceShare = 32

	// deviceShare is what part of the device's time syncs in the background may take.
	deviceShare = 10
)

// advise derives options from what was measured.
func advise(r *Result) Advice {
	a := Advice{SegmentBytes: defaultSegmentBytes, SegmentsAhead: defaultSegmentsAhead, Align: "AlignFrame", Sync: "manual"}
	a.fill(r)
	a.segment(r)
	a.ahead(r)
	a.align(r)
	a.sync(r)
	a.Go = a.literal()
	return a
}

// because adds the reason for an option's value.
func (a *Advice) because(option, format string, args ...any) {
	a.Words = append(a.Words, Reason{Option: option, Why: fmt.Sprintf(format, args...)})
}

// find returns the row of a method and a state.
func find(r *Result, method, state string) (Sync, bool) {
	for _, s := range r.Syncs {
		if s.Method == method && s.State == state {
			return s, true
		}
	}
	return Sync{}, false
}

// fill chooses the smallest fill whose syncs of one byte are as fast as the fastest, and
// leaves it to the log where the fill makes no difference.
func (a *Advice) fill(r *Result) {
	if len(r.Folios) < 2 {
		a.because("FillBytes", "folio sizes were not measured: the log chooses by what its last segment saw")
		return
	}
	same, fastest := true, math.Inf(1)
	for _, f := range r.Folios {
		same = same && f.DirtiedBytes == r.Folios[0].DirtiedBytes
		fastest = min(fastest, f.P50)
	}
	if same {
		a.because("FillBytes", "a store dirties %d bytes, however the file was filled: the log's own choice will do", r.Folios[0].DirtiedBytes)
		return
	}
	for _, f := range r.Folios {
		if f.P50 <= fastest*noise {
			a.FillBytes = int(f.FillBytes)
			a.because("FillBytes", "for small commits: a store dirties %d bytes and its msync takes %s; the fastest of all fills takes %s. "+
				"Leave it 0 where commits are large: the log follows the bytes per sync, and larger folios fault less",
				f.DirtiedBytes, timeText(f.P50), timeText(fastest))
			return
		}
	}
}

// segment chooses segments that can be made ready within a second, and leave space.
func (a *Advice) segment(r *Result) {
	rate := r.Fill.Rate()
	if rate > 0 {
		for a.SegmentBytes > leastSegmentBytes && float64(a.SegmentBytes) > rate {
			a.SegmentBytes /= 2
		}
	}
	why := "the default: filling was not measured"
	if rate > 0 {
		why = fmt.Sprintf("filled and synced at %.0f MiB/s one is ready in %s", rate/(1<<20), timeText(float64(a.SegmentBytes)/rate))
	}
	if free := r.Filesystem.FreeBytes; free >= 0 {
		for a.SegmentBytes > leastSegmentBytes && a.SegmentBytes > free/spaceShare {
			a.SegmentBytes /= 2
			why = fmt.Sprintf("%d of them fit into the %d MiB that are free", free/a.SegmentBytes, free>>20)
		}
	}
	a.because("SegmentBytes", "%s", why)
}

// ahead chooses as many segments as an appender fills, at the rate at which they are made,
// while the next one is made and a slow sync is waited for: the slowest p99, since the
// longest of all is another one in each probe.
func (a *Advice) ahead(r *Result) {
	rate := r.Fill.Rate()
	if rate == 0 {
		a.because("SegmentsAhead", "the default: filling was not measured")
		return
	}
	longest := 0.0
	for _, s := range r.Syncs {
		longest = max(longest, s.P99)
	}
	one := float64(a.SegmentBytes) / rate
	a.SegmentsAhead = min(maxSegmentsAhead, max(defaultSegmentsAhead, 1+int(math.Ceil((one+longest)/one-0.1))))
	a.because("SegmentsAhead", "one is used up in %s by an appender as fast as the disk; of 100 syncs the slowest takes %s, and one more is being made",
		timeText(one), timeText(longest))
}

// align chooses whole folios where the device rewrites more at once than the kernel
// writes. Its physical sector is the smallest unit that it writes atomically
// (Documentation/ABI/stable/sysfs-block).
func (a *Advice) align(r *Result) {
	for _, d := range r.Devices {
		switch {
		case d.PhysicalBytes > r.PageBytes && d.PhysicalBytes <= maxFillBytes:
			a.Align, a.FillBytes = "AlignFolio", max(a.FillBytes, int(d.PhysicalBytes))
			a.because("Align", "%s rewrites %d bytes at once, and the kernel writes pages of %d: durable bytes beside a commit are at risk "+
				"in a power loss, unless folios are as large (hence FillBytes too)", d.Name, d.PhysicalBytes, r.PageBytes)
			return
		case d.Misaligned != 0:
			a.Align = "AlignFolio"
			a.because("Align", "%s begins %d bytes off its disk's sectors of %d bytes, so that a page lies in two of them: "+
				"durable bytes beside a commit are at risk in a power loss. Better move the partition", d.Name, d.Misaligned, d.PhysicalBytes)
			return
		}
	}
	if len(r.Devices) == 0 {
		a.because("Align", "the default: no device is known. AlignFolio needs no assumption about it, at a page a commit")
		return
	}
	a.because("Align", "%s says that it writes %d bytes whole or not at all, which is all that records packed to 8 bytes need. "+
		"AlignFolio need not trust that, at a page a commit", r.Devices[0].Name, r.Devices[0].PhysicalBytes)
}

// sync chooses a time after which records are durable without being asked, that leaves
// the device most of its time.
func (a *Advice) sync(r *Result) {
	if !r.Filesystem.Durable || r.Promise.Reached == "no" {
		a.because("Sync", "a sync promises nothing here")
		return
	}
	s, ok := find(r, Msync, Written)
	if !ok {
		a.because("Sync", "the sync was not timed")
		return
	}
	every := nice(s.P50 * deviceShare)
	a.Sync = every.String()
	a.because("Sync", "a commit by msync takes %s, so that one writer has %.0f a second; in the background every %v they take a %dth of the "+
		"device's time. SyncEach where Append is to return durable, SyncManual where the program calls Commit", timeText(s.P50), 1/s.P50, every, deviceShare)
}

// nice rounds a time up to 1, 2 or 5 times a power of ten, a millisecond at least.
func nice(seconds float64) time.Duration {
	for unit := time.Millisecond; unit < time.Minute; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if seconds <= (n * unit).Seconds() {
				return n * unit
			}
		}
	}
	return time.Minute
}

// timeText returns a time for people.
func timeText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// literal returns the advice as a value of wal.Options. Fields that are the zero value
// are left out, as gofmt would not.
func (a *Advice) literal() string {
	var fields [][2]string
	if a.FillBytes != 0 {
		fields = append(fields, [2]string{"FillBytes", sizeLiteral(int64(a.FillBytes))})
	}
	fields = append(fields,
		[2]string{"SegmentBytes", sizeLiteral(a.SegmentBytes)},
		[2]string{"SegmentsAhead", fmt.Sprint(a.SegmentsAhead)},
		[2]string{"Align", "wal." + a.Align})
	switch a.Sync {
	case "manual":
		fields = append(fields, [2]string{"Sync", "wal.SyncManual"})
	default:
		every, err := time.ParseDuration(a.Sync)
		if err != nil {
			panic(fmt.Sprintf("probe: the advice has the time %q", a.Sync))
		}
		fields = append(fields, [2]string{"Sync", "wal.SyncEvery(" + durationLiteral(every) + ")"})
	}
	var b strings.Builder
	b.WriteString("wal.Options{\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "\t%-14s %s,\n", f[0]+":", f[1])
	}
	b.WriteString("}")
	return b.String()
}

// durationLiteral returns a time in whole seconds or milliseconds as Go code.
func durationLiteral(d time.Duration) string {
	if d == time.Second || d == time.Minute {
		return map[time.Duration]string{time.Second: "time.Second", time.Minute: "time.Minute"}[d]
	}
	if d%time.Second == 0 {
		return fmt.Sprintf("%d * time.Second", d/time.Second)
	}
	return fmt.Sprintf("%d * time.Millisecond", d/time.Millisecond)
}

// sizeLiteral returns a size as people write it in Go.
func sizeLiteral(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d << 20", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d << 10", n>>10)
	}
	return fmt.Sprint(n)
}
