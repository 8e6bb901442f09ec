package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/probe"
)

// short is a budget that gives a few samples of each.
const short = 50 * time.Millisecond

// cannot ends a test that this environment cannot run: skipped, or, where CI promises
// the environment, failed.
func cannot(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatal("must run in CI: " + why)
	}
	t.Skip(why)
}

// run probes a directory, and checks what holds everywhere.
func run(t *testing.T, dir string) *probe.Result {
	t.Helper()
	r, err := probe.Run(t.Context(), dir, probe.Options{Budget: short})
	if err != nil {
		t.Fatal(err)
	}
	empty(t, dir)
	for _, n := range r.NotMeasured {
		t.Logf("not measured: %s: %s", n.What, n.Why)
		if n.What == "" || n.Why == "" || strings.Contains(n.Why, "\n") {
			t.Errorf("not one line: %q", n)
		}
	}
	if r.Dir != dir || !strings.HasPrefix(r.Kernel, "Linux ") || r.PageBytes != int64(os.Getpagesize()) || r.Seconds <= 0 {
		t.Errorf("%s on %q, pages of %d, %v s", r.Dir, r.Kernel, r.PageBytes, r.Seconds)
	}
	if len(r.Supports) == 0 && !missing(r, "what is supported") || !r.Promise.Coherent && !missing(r, "coherence of mappings") {
		t.Errorf("supports %v, promise %+v", r.Supports, r.Promise)
	}
	checkSyncs(t, r)
	checkRest(t, r)
	return r
}

// missing reports whether a part is told to be missing.
func missing(r *probe.Result, what string) bool {
	for _, n := range r.NotMeasured {
		if n.What == what {
			return true
		}
	}
	return false
}

// empty checks that nothing is left in a directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != "lost+found" {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}

// checkSyncs checks order and sanity of the commits that were timed.
func checkSyncs(t *testing.T, r *probe.Result) {
	t.Helper()
	seen, samples := make(map[string]bool), 0
	for _, s := range r.Syncs {
		key := s.State + " " + s.Method
		if seen[key] || s.Samples < 1 || s.P50 <= 0 || s.P50 > s.P99 || s.P99 > s.Max {
			t.Errorf("%s: %+v", key, s)
		}
		seen[key] = true
		samples += s.Samples
	}
	if samples != r.Samples || seen["extend msync"] {
		t.Errorf("%d samples, told as %d; %v", samples, r.Samples, seen)
	}
	if len(r.Syncs) < 19 && !missing(r, "sync latency") {
		t.Errorf("%d of 19 methods and states, and no word of the others", len(r.Syncs))
	}
}

// checkRest checks folios, faults, and what is derived.
func checkRest(t *testing.T, r *probe.Result) {
	t.Helper()
	for i, f := range r.Folios {
		if f.FillBytes != probe.FillSizes()[i] || f.Samples < 1 || f.P50 <= 0 || f.DirtiedBytes%r.PageBytes != 0 {
			t.Errorf("folio %+v", f)
		}
	}
	if len(r.Folios) < len(probe.FillSizes()) && !missing(r, "folio size") {
		t.Errorf("%d folio sizes", len(r.Folios))
	}
	for _, f := range r.Faults {
		if f.Pages < 1 || f.Minor+f.Major < 1 || f.Seconds <= 0 || (f.Kind == probe.FaultMajor && f.Major == 0) {
			t.Errorf("fault %+v", f)
		}
	}
	if len(r.Faults) < 5 && !missing(r, "faults") {
		t.Errorf("%d kinds of faults", len(r.Faults))
	}
	if (r.Fill.Bytes <= 0 || r.Fill.Rate() <= 0) && !missing(r, "filling segments") {
		t.Errorf("fill %+v", r.Fill)
	}
	if r.Flush.Verdict == "" || len(r.Flush.Why) == 0 {
		t.Errorf("flush %+v", r.Flush)
	}
	checkAdvice(t, r.Advice)
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// checkAdvice checks that the advice is Go, and has a reason for each option.
func checkAdvice(t *testing.T, a probe.Advice) {
	t.Helper()
	if _, err := parser.ParseExpr(a.Go); err != nil {
		t.Errorf("%v in\n%s", err, a.Go)
	}
	for _, option := range []string{"FillBytes", "SegmentBytes", "SegmentsAhead", "Align", "Sync"} {
		found := 0
		for _, w := range a.Words {
			if w.Option == option && w.Why != "" {
				found++
			}
		}
		if found == 0 {
			t.Errorf("no reason for %s in %+v", option, a.Words)
		}
	}
}

// TestHere probes a directory on the disk that tests run on.
func TestHere(t *testing.T) {
	t.Parallel()
	r := run(t, t.TempDir())
	if r.Filesystem.Durable && len(r.Devices) == 0 && !missing(r, "device") {
		t.Errorf("no device of %+v, and no word why", r.Filesystem)
	}
}

// TestMemory probes a tmpfs: there is no device, and C2 does not hold.
func TestMemory(t *testing.T) {
	t.Parallel()
	r := run(t, mount(t, "tmpfs", "tmpfs", "size=100m"))
	if r.Filesystem.Name != "tmpfs" || r.Filesystem.Durable || len(r.Devices) != 0 || r.Promise.Reached != "unknown" {
		t.Errorf("%+v, devices %v, %+v", r.Filesystem, r.Devices, r.Promise)
	}
	if r.Flush.Verdict != probe.CannotTell || !strings.Contains(r.Promise.C2, "no device") || r.Advice.Sync != "manual" {
		t.Errorf("flush %+v, C2 %s, sync %s", r.Flush, r.Promise.C2, r.Advice.Sync)
	}
}

// TestVolumes probes filesystems on a loop device, and finds what lies below it.
func TestVolumes(t *testing.T) {
	for _, c := range []struct {
		fs    string
		bytes int64
		mkfs  []string
	}{
		{"ext4", 160 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}},
		{"xfs", 300 << 20, []string{"mkfs.xfs", "-q", "-f"}},
		{"btrfs", 256 << 20, []string{"mkfs.btrfs", "-q", "-f"}},
	} {
		t.Run(c.fs, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(t.TempDir(), "image")
			if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, c.bytes)); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(c.mkfs[0], append(c.mkfs[1:], image)...).CombinedOutput(); err != nil {
				cannot(t, fmt.Sprintf("%v: %v\n%s", c.mkfs, err, out))
			}
			loop := attach(t, image)
			r := run(t, mount(t, loop, c.fs, ""))
			if r.Filesystem.Name != c.fs || !r.Filesystem.Durable || r.Filesystem.Source != loop {
				t.Errorf("%+v", r.Filesystem)
			}
			if len(r.Devices) == 0 || r.Devices[0].Driver != "loop" || r.Devices[0].LiesOn != image ||
				"/dev/"+r.Devices[0].Name != loop || r.Devices[0].LogicalBytes < 512 {
				t.Errorf("devices %+v, want %s on %s", r.Devices, loop, image)
			}
		})
	}
}

// TestOverlay looks through an overlay for the device, and counts what a store dirties
// all the same.
func TestOverlay(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	options := ""
	for _, kind := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(root, kind), 0o755); err != nil {
			t.Fatal(err)
		}
		options += fmt.Sprintf(",%sdir=%s", kind, filepath.Join(root, kind))
	}
	below, r := run(t, root+"/lower"), run(t, mount(t, "overlay", "overlay", options[1:]))
	if r.Filesystem.Name != "overlay" || len(r.Devices) != len(below.Devices) || !strings.Contains(r.Promise.C2, "upper layer") {
		t.Errorf("%+v, devices %v, those below %v, C2 %s", r.Filesystem, r.Devices, below.Devices, r.Promise.C2)
	}
}

// attach attaches a file to a loop device until nothing uses it.
func attach(t *testing.T, image string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		cannot(t, fmt.Sprintf("needs root and a loop device: %v", err))
	}
	defer control.Close()
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			cannot(t, fmt.Sprintf("no free loop device: %v", err))
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			cannot(t, err.Error())
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			t.Cleanup(func() { loop.Close() })
			return loop.Name()
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) { // another process was faster
			cannot(t, err.Error())
		}
	}
}

// mount mounts a filesystem until the test ends.
func mount(t *testing.T, source, kind, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		cannot(t, fmt.Sprintf("needs root to mount %s: %v", kind, err))
	}
	// A child that is being forked for another test holds descriptors for a moment.
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRefused names what cannot be probed.
func TestRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		want      error
	}{
		{"missing", filepath.Join(t.TempDir(), "missing"), fs.ErrNotExist},
		{"a file", file, unix.ENOTDIR},
	} {
		if _, err := probe.Run(t.Context(), c.dir, probe.Options{Budget: short}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestFull says how much space it takes, and leaves nothing.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := mount(t, "tmpfs", "tmpfs", "size=1m")
	_, err := probe.Run(t.Context(), dir, probe.Options{Budget: short})
	if !errors.Is(err, durability.ErrNoSpace) || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("on a full filesystem: %v", err)
	}
	empty(t, dir)
}

// TestEnded ends a probe in each of its parts: the cause comes back, and nothing is left.
func TestEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cause := errors.New("a signal")
	for _, n := range []int{0, 1, 3, 5} { // of six parts
		ctx, cancel := context.WithCancelCause(t.Context())
		told := 0
		_, err := probe.Run(ctx, dir, probe.Options{Budget: short, Progress: func(string) {
			if told == n {
				cancel(cause)
			}
			told++
		}})
		if !errors.Is(err, cause) {
			t.Errorf("ended before part %d: %v", n, err)
		}
		if told != n+1 {
			t.Errorf("ended before part %d, and went on to %d", n, told)
		}
		empty(t, dir)
	}
}
