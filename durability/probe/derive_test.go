package probe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/probe"
	"github.com/seawall-wal/seawall/wal"
)

// TestWithin leaves a system call alone that does not come back, and takes one that
// comes back late.
func TestWithin(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration
		want  error
	}{
		{"in time", time.Second, nil},
		{"late", 4 * time.Second, nil},
		{"never", time.Hour, probe.ErrStuck},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			_, err := probe.Within(t.Context(), 3*time.Second, 2*time.Second, func(context.Context) (func(*probe.Result), error) {
				time.Sleep(c.takes)
				return nil, nil
			})
			if !errors.Is(err, c.want) || time.Since(begin) > 5*time.Second {
				t.Errorf("%s: %v after %v, want %v", c.name, err, time.Since(begin), c.want)
			}
			time.Sleep(c.takes) // until the work has ended too
		})
	}
}

// flushed returns a result with one device and one row.
func flushed(d probe.Device, p50 float64, flushes int64) *probe.Result {
	return &probe.Result{
		Filesystem: probe.Filesystem{Name: "ext4", Durable: true, Super: "rw,data=ordered"},
		Devices:    []probe.Device{d},
		Syncs: []probe.Sync{
			{Method: probe.Fsync, State: probe.Written, P50: 1},
			{Method: probe.Fdatasync, State: probe.Recycled, P50: 1},
			{Method: probe.Fdatasync, State: probe.Written, P50: p50, Flushes: flushes},
		},
	}
}

// TestJudge compares times with what devices can do.
func TestJudge(t *testing.T) {
	disk := probe.Device{Name: "sda", Driver: "sd", Model: "ATA ST4000", Cache: "write back", Rotational: true}
	emulated := probe.Device{Name: "sda", Driver: "sd", Model: "QEMU QEMU HARDDISK", Cache: "write back", Rotational: true}
	nvme := probe.Device{Name: "nvme0n1", Driver: "nvme", Cache: "write back"}
	through := probe.Device{Name: "nvme0n1", Driver: "nvme", Cache: "write through"}
	for _, c := range []struct {
		name    string
		device  probe.Device
		p50     float64
		flushes int64
		want    string
	}{
		{"a disk that turns, at once", disk, 300e-6, 1, probe.Implausible},
		{"a disk that turns", disk, 9e-3, 1, probe.Plausible},
		{"an emulated disk says that it turns", emulated, 300e-6, 1, probe.Plausible},
		{"virtio says that it turns", probe.Device{Driver: "virtio_blk", Cache: "write back", Rotational: true}, 300e-6, 1, probe.Plausible},
		{"flash", nvme, 200e-6, 1, probe.Plausible},
		{"flash, at once", nvme, 9e-6, 1, probe.Implausible},
		{"flash, never flushed", nvme, 200e-6, 0, probe.Implausible},
		{"flash, flushes not counted", nvme, 200e-6, probe.Unknown, probe.Plausible},
		{"no volatile cache", through, 5e-6, 0, probe.CannotTell},
		{"not timed", nvme, 0, 0, probe.CannotTell},
		{"memory", probe.Device{Name: "zram0", Driver: "zram", Cache: "write through"}, 5e-6, 0, probe.Implausible},
		{"a loop device flushes its file", probe.Device{Driver: "loop", LiesOn: "/image", Cache: "write back"}, 200e-6, 1, probe.Plausible},
		{"no word of a cache", probe.Device{Driver: "sd"}, 200e-6, 1, probe.CannotTell},
	} {
		if f := probe.Judge(flushed(c.device, c.p50, c.flushes)); f.Verdict != c.want || len(f.Why) == 0 {
			t.Errorf("%s: %+v, want %s", c.name, f, c.want)
		}
	}
	r := flushed(nvme, 200e-6, 1)
	r.Filesystem.Super = "rw,nobarrier"
	if f := probe.Judge(r); f.Verdict != probe.Implausible || !strings.Contains(strings.Join(f.Why, " "), "barriers") {
		t.Errorf("without barriers: %+v", f)
	}
	if f := probe.Judge(&probe.Result{Filesystem: probe.Filesystem{Name: "nfs", Why: "far away"}}); f.Verdict != probe.CannotTell {
		t.Errorf("without a device: %+v", f)
	}
}

// measured returns a result of an ordinary disk.
func measured() *probe.Result {
	return &probe.Result{
		PageBytes:  4096,
		Filesystem: probe.Filesystem{Name: "ext4", Durable: true, FreeBytes: 100 << 30},
		Devices:    []probe.Device{{Name: "sda", LogicalBytes: 512, PhysicalBytes: 4096}},
		Syncs:      []probe.Sync{{Method: probe.Msync, State: probe.Written, P50: 300e-6, P99: 1e-3, Max: 2e-3}},
		Folios: []probe.Folio{
			{FillBytes: 4096, DirtiedBytes: 4096, P50: 300e-6},
			{FillBytes: 16384, DirtiedBytes: 16384, P50: 290e-6},
			{FillBytes: 2 << 20, DirtiedBytes: 2 << 20, P50: 1.2e-3},
		},
		Fill: probe.Fill{Bytes: 16 << 20, Seconds: 0.04},
	}
}

// TestAdvise derives options from measurements.
func TestAdvise(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*probe.Result)
		check  func(probe.Advice) bool
	}{
		{"an ordinary disk", func(*probe.Result) {}, func(a probe.Advice) bool {
			return a.FillBytes == 4096 && a.SegmentBytes == 64<<20 && a.SegmentsAhead == 2 && a.Align == "AlignFrame" && a.Sync == "5ms"
		}},
		{
			"larger folios are faster", func(r *probe.Result) { r.Folios[0].P50 = 400e-6 },
			func(a probe.Advice) bool { return a.FillBytes == 16384 },
		},
		{
			"the fill makes no difference", func(r *probe.Result) { r.Folios[1].DirtiedBytes, r.Folios[2].DirtiedBytes = 4096, 4096 },
			func(a probe.Advice) bool { return a.FillBytes == 0 && !strings.Contains(a.Go, "FillBytes") },
		},
		{"a slow disk", func(r *probe.Result) { r.Fill.Seconds = 2 }, func(a probe.Advice) bool { return a.SegmentBytes == 8<<20 }},
		{"little space", func(r *probe.Result) { r.Filesystem.FreeBytes = 128 << 20 }, func(a probe.Advice) bool { return a.SegmentBytes == 4<<20 }},
		{
			"a sync that stalls", func(r *probe.Result) { r.Syncs[0].P99 = 1 },
			func(a probe.Advice) bool { return a.SegmentsAhead > 4 && a.SegmentsAhead <= probe.MaxSegmentsAhead },
		},
		{
			"a device that rewrites 16 KiB", func(r *probe.Result) { r.Devices[0].PhysicalBytes = 16384 },
			func(a probe.Advice) bool { return a.Align == "AlignFolio" && a.FillBytes == 16384 },
		},
		{
			"a partition off its sectors", func(r *probe.Result) { r.Devices[0].Misaligned = 512 },
			func(a probe.Advice) bool { return a.Align == "AlignFolio" },
		},
		{"memory", func(r *probe.Result) { r.Filesystem.Durable = false }, func(a probe.Advice) bool { return a.Sync == "manual" }},
		{
			"nothing measured", func(r *probe.Result) {
				*r = probe.Result{Filesystem: probe.Filesystem{FreeBytes: probe.Unknown, Durable: true}}
			},
			func(a probe.Advice) bool {
				return a.FillBytes == 0 && a.SegmentBytes == 64<<20 && a.SegmentsAhead == 2 && a.Sync == "manual"
			},
		},
	} {
		r := measured()
		c.change(r)
		a := probe.Advise(r)
		if !c.check(a) {
			t.Errorf("%s: %+v", c.name, a)
		}
		checkAdvice(t, a)
	}
}

// TestDefaults compares what this package says of wal.Options with wal, which it cannot
// import.
func TestDefaults(t *testing.T) {
	if probe.DefaultSegmentBytes != wal.DefaultSegmentBytes || probe.DefaultSegmentsAhead != wal.DefaultSegmentsAhead ||
		probe.MaxSegmentsAhead != wal.MaxSegmentsAhead {
		t.Error("wal has other defaults")
	}
	// An advice is one that wal takes.
	a := probe.Advise(measured())
	l, err := wal.Open(t.TempDir(), wal.Options{
		FillBytes: a.FillBytes, SegmentBytes: a.SegmentBytes, SegmentsAhead: a.SegmentsAhead,
		Align: map[string]wal.Align{"AlignFrame": wal.AlignFrame, "AlignFolio": wal.AlignFolio}[a.Align],
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestPromise names what keeps C2 on each kind of filesystem.
func TestPromise(t *testing.T) {
	for _, c := range []struct {
		fsys    durability.Filesystem
		kind    string
		reached string
		says    string
	}{
		{durability.Filesystem{Name: "ext4", Durable: true}, "ext4", "yes", "as far as the device's flush"},
		{durability.Filesystem{Name: "ext4", Durable: true}, "ext4", "no", "does not hold"},
		{durability.Filesystem{Name: "tmpfs", Why: "memory"}, "tmpfs", "unknown", "no device"},
		{durability.Filesystem{Name: "nfs", Why: "far"}, "nfs4", "yes", "the server's to keep"},
		{durability.Filesystem{Name: "fuse", Why: "a program"}, "fuse.sshfs", "yes", "fuse.sshfs"},
		{durability.Filesystem{Name: "overlay", Why: "mounted volatile"}, "overlay", "yes", "does not hold: mounted volatile"},
		{durability.Filesystem{Name: "overlay", Durable: true, Why: "its upper layer is on xfs"}, "overlay", "yes", "upper layer is on xfs"},
		{durability.Filesystem{Name: "0x42", Durable: true, Why: "not known here"}, "odd", "yes", "is not known to hold"},
	} {
		p := probe.Promise{Coherent: true, Reached: c.reached}
		probe.Words(&p, c.fsys, c.kind)
		if !strings.Contains(p.C2, c.says) || !strings.HasPrefix(p.C1, "holds") {
			t.Errorf("%s, reached %s: %q, %q", c.fsys.Name, c.reached, p.C1, p.C2)
		}
	}
	p := probe.Promise{}
	probe.Words(&p, durability.Filesystem{Name: "ext4", Durable: true}, "ext4")
	if !strings.HasPrefix(p.C1, "does not hold") {
		t.Errorf("an incoherent mapping: %q", p.C1)
	}
}
