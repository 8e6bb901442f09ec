//go:build linux

package experiment_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// testContext is that of helper processes, which end with their test.
var testContext = context.Background()

// newScratch returns a directory that must be empty when the test ends, with no
// process at work in it.
func newScratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "experiment-test-")
	must(t, err)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		var pids []string
		for range 12_000 { // one that was killed may still be ending
			if pids, err = experiment.Children(dir); err != nil || len(pids) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil || len(pids) > 0 {
			t.Errorf("processes left behind: %v, %v", pids, err)
		}
		must(t, os.RemoveAll(dir))
	})
	return dir
}

// TestRun runs every experiment, and has the check applied to what the result's JSON
// says. Folios depend on the kernel and the filesystem; ext4 has large ones from
// Linux 6.16 on.
func TestRun(t *testing.T) {
	for _, e := range experiment.All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			switch {
			case raceDetector && e.Name == "lazy":
				return // the detector's own loads come before those that are counted
			case raceDetector && (e.Name == "sigkill" || e.Name == "sigbus") && os.Getenv("SEAWALL_BUDGET") == "":
				return // it starts many processes of one goroutine, each of which takes a second
			case raceDetector && e.Name == "thrash" && os.Getuid() == 0:
				return // its shadow memory, too, is charged to the group of 24 MiB
			}
			r, err := e.Run(t.Context(), experiment.Env{Dir: newScratch(t), Seed: 1})
			must(t, err)
			if r.Verdict == experiment.CannotRun {
				if len(r.Why) != 1 || strings.Contains(r.Why[0], "\n") {
					t.Errorf("the reason is %q, want one line", r.Why)
				}
				cannot(t, r.Why)
			}
			switch {
			case r.Verdict == experiment.TooNoisy:
				// An honest answer, whatever else runs here. TestJudge holds what the
				// checks are to say of which numbers.
				t.Logf("%s after %d tries: %q", r.Verdict, r.Tries, r.Why)
			case r.Verdict != experiment.AsExpected && e.Name != "folio":
				t.Errorf("%s: %q", r.Verdict, r.Why)
			}
			if r.Measured == nil {
				return
			}
			if len(r.NotRun) > 0 && os.Getenv("SEAWALL_CI") == "1" {
				t.Errorf("must run in CI: %q", r.NotRun)
			}
			measured, err := json.Marshal(r.Measured)
			must(t, err)
			v, why, err := experiment.CheckMeasurement(e.Name, measured)
			if v != r.Verdict || err != nil || !slices.Equal(why, r.Why) {
				t.Errorf("checked by its JSON it is %s %q, %v instead of %s %q", v, why, err, r.Verdict, r.Why)
			}
			for _, row := range r.Table.Rows {
				if len(row) != len(r.Table.Columns) {
					t.Errorf("row %q does not fit the columns %q", row, r.Table.Columns)
				}
			}
		})
	}
}

// TestDescriptions: every experiment says what it is about, in one sentence, and
// has a name of its own.
func TestDescriptions(t *testing.T) {
	seen := make(map[string]bool)
	for _, e := range experiment.All() {
		if seen[e.Name] || len(e.Clauses) == 0 || !strings.HasSuffix(e.Hypothesis, ".") {
			t.Errorf("%+v", e)
		}
		seen[e.Name] = true
		found, ok := experiment.Find(e.Name)
		if !ok || found.Hypothesis != e.Hypothesis {
			t.Errorf("Find(%q) = %v, %t", e.Name, found.Name, ok)
		}
	}
	if _, ok := experiment.Find("none"); ok {
		t.Error("found an experiment that is not there")
	}
}

// TestTornOnDevice makes the subsets on an ext4 whose device can be read below
// it: every page that was not written back still has its old bytes there.
func TestTornOnDevice(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		cannot(t, "needs root for a loop device")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), ext4Env+"="+dir)
	experiment.PrivateMounts(cmd)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if strings.Contains(said.String(), "cannot run here") {
		cannot(t, said.String())
	}
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	var r struct {
		Verdict  experiment.Verdict
		Why      []string
		Measured struct {
			Method string
			States []struct {
				WrittenBack string `json:"written_back"`
				Device      string
			}
		}
	}
	must(t, json.Unmarshal(out, &r))
	if r.Verdict == experiment.TooNoisy {
		t.Logf("%s: %q", r.Verdict, r.Why)
		return
	}
	if r.Verdict != experiment.AsExpected || len(r.Measured.States) != 16 || !strings.Contains(r.Measured.Method, "below the filesystem") {
		t.Errorf("%s", out)
	}
	letters := strings.NewReplacer("x", "n", ".", "o")
	for _, s := range r.Measured.States {
		if want := letters.Replace(s.WrittenBack); s.Device != want {
			t.Errorf("written back %s: the device has %s, want %s", s.WrittenBack, s.Device, want)
		}
	}
}

// errStop is why the tests' contexts end.
var errStop = errors.New("stopped by the test")

// TestCancel ends each experiment at several moments: it returns the reason, and
// leaves nothing behind.
func TestCancel(t *testing.T) {
	for _, e := range experiment.All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			dir := newScratch(t)
			for _, after := range []time.Duration{0, 3 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond} {
				ctx, cancel := context.WithCancelCause(t.Context())
				timer := time.AfterFunc(after, func() { cancel(errStop) })
				if after == 0 {
					cancel(errStop)
				}
				_, err := e.Run(ctx, experiment.Env{Dir: dir})
				if err != nil && !errors.Is(err, errStop) || after == 0 && err == nil {
					t.Errorf("stopped after %v: %v", after, err)
				}
				timer.Stop()
			}
			if left := ownCgroups(t); len(left) > 0 && e.Name == "thrash" {
				t.Errorf("cgroups left behind: %v", left)
			}
		})
	}
}

// ownCgroups returns the cgroups that this process has made for TestCancel and
// not removed. TestRun's may be there at the same time.
func ownCgroups(t *testing.T) []string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for _, place := range experiment.CgroupPlaces(string(own), string(mounts)) {
			dir, _, _ := strings.Cut(place, " ")
			found, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("seawall-thrash-%d-*", os.Getpid())))
			must(t, err)
			left = append(left, found...)
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// TestNoDirectory: what is not there, or is not a directory, is an error.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, name := range []string{"missing", "file"} {
		for _, e := range experiment.All() {
			if r, err := e.Run(t.Context(), experiment.Env{Dir: filepath.Join(dir, name)}); err == nil || r != nil {
				t.Errorf("%s in %s: %v, %v", e.Name, name, r, err)
			}
		}
	}
}

// TestChild: a child whose program forgot BeChild starts no children of its own,
// and a role that nobody knows is an error.
func TestChild(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^TestDescriptions$")
	cmd.Env = append(os.Environ(), experiment.RoleEnv+"=conductor")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), `there is no role "conductor"`) {
		t.Errorf("%v: %s", err, out)
	}
	t.Setenv(experiment.RoleEnv, "sigkill")
	for _, e := range experiment.All() {
		if _, err := e.Run(t.Context(), experiment.Env{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "BeChild") {
			t.Errorf("%s ran in a child: %v", e.Name, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	const words = "unexpected fault address 0x7f0000002040\nfatal error: fault\n" +
		"[signal SIGBUS: bus error code=0x2 addr=0x7f0000002040 pc=0x4f1c21]\n"
	kind, code, offset, err := experiment.ParseSignal(words, 0x7f0000000000)
	if kind != "SIGBUS" || code != 2 || offset != 0x2040 || err != nil {
		t.Errorf("%s, %d, %d, %v", kind, code, offset, err)
	}
	for _, other := range []string{
		"", "panic: out of range", "[signal SIGBUS: bus error code=", "[signal SIGBUS: bus error code=0x2 addr=",
		strings.ReplaceAll(words, "SIGBUS: bus error", "SIGSEGV: segmentation violation"),
	} {
		if _, _, _, err := experiment.ParseSignal(other, 0); err == nil {
			t.Errorf("%q is taken for SIGBUS", other)
		}
	}
}

// TestCgroupPlaces reads what several kinds of machines say.
func TestCgroupPlaces(t *testing.T) {
	const v1 = "33 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"34 31 0:29 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
	const v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	for _, c := range []struct {
		name, own, mounts string
		want              []string
	}{
		{"nothing", "", "", nil},
		{"v1", "9:cpu,cpuacct:/a\n4:memory:/a/b\n", v1, []string{"/sys/fs/cgroup/memory/a/b memory.limit_in_bytes"}},
		{"v1, no memory", "9:cpu,cpuacct:/a\n", v1, nil},
		{
			"v1 in a container", "4:memory:/docker/c1\n", strings.ReplaceAll(v1, "0:29 / ", "0:29 /docker/c1 "),
			[]string{"/sys/fs/cgroup/memory memory.limit_in_bytes"},
		},
		{
			"v2", "0::/user.slice/session\n", v2,
			[]string{"/sys/fs/cgroup/user.slice/session memory.max", "/sys/fs/cgroup/user.slice memory.max", "/sys/fs/cgroup memory.max"},
		},
		{
			"both", "4:memory:/\n0::/\n", v1 + strings.ReplaceAll(v2, "/sys/fs/cgroup ", "/sys/fs/cgroup/unified "),
			[]string{"/sys/fs/cgroup/memory memory.limit_in_bytes", "/sys/fs/cgroup/unified memory.max"},
		},
		{"not mounted", "0::/a\n", v1, nil},
	} {
		if diff := cmp.Diff(c.want, experiment.CgroupPlaces(c.own, c.mounts)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestMemoryGroup: of version 2, only a cgroup that hands the controller on will
// do. Cgroups of processes that are gone are removed.
func TestMemoryGroup(t *testing.T) {
	dir := t.TempDir()
	control := filepath.Join(dir, "cgroup.subtree_control")
	for text, ok := range map[string]bool{"cpu memory pids\n": true, "cpu\n": false, "": false} {
		must(t, os.WriteFile(control, []byte(text), 0o600))
		made, err := experiment.MakeMemoryGroup(dir, true, 12345)
		if (err == nil) != ok {
			t.Errorf("with %q: %v", text, err)
		}
		if err != nil {
			continue
		}
		if limit, err := os.ReadFile(filepath.Join(made, "limit")); err != nil || string(limit) != "12345" {
			t.Errorf("the limit is %q, %v", limit, err)
		}
		must(t, os.RemoveAll(made))
	}
	gone := exec.Command("true")
	must(t, gone.Run())
	dead := filepath.Join(dir, experiment.CgroupName(fmt.Sprint(gone.Process.Pid)))
	alive := filepath.Join(dir, experiment.CgroupName(fmt.Sprint(os.Getpid())))
	must(t, errors.Join(os.Mkdir(dead, 0o700), os.Mkdir(alive, 0o700)))
	experiment.Sweep(dir)
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup of a process that is gone: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the cgroup of a live process: %v", err)
	}
}

// TestUnprivileged runs TestRun as the user nobody: what needs root says so, and
// the rest is as expected. That of sigkill asks for nothing that users differ in.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		cannot(t, "needs root to become nobody; TestRun runs without root here")
	}
	if raceDetector && os.Getenv("SEAWALL_BUDGET") == "" {
		return // as TestRun, where the detector has looked on already
	}
	dir, err := os.MkdirTemp("", "experiment-nobody-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	self, err := os.Executable()
	must(t, err)
	binary, err := os.ReadFile(self)
	must(t, err)
	writeBinary(t, filepath.Join(dir, "tests"), binary)
	must(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o777))
	must(t, errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "tmp"), 0o777)))
	var names []string
	for _, e := range experiment.All() {
		if e.Name != "sigkill" {
			names = append(names, e.Name)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "tests"), "-test.run=^TestRun$/^("+strings.Join(names, "|")+")$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(dir, "tmp"), "SEAWALL_CI=")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range names {
		want := "--- PASS: TestRun/" + name
		if name == "thrash" || name == "fsyncgate" || name == "stale-cache" {
			want = "--- SKIP: TestRun/" + name
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("no line %q:\n%s", want, out)
		}
	}
	for _, why := range []string{"no memory cgroup can be made (that needs root", "a disk that fails needs root"} {
		if !strings.Contains(string(out), why) {
			t.Errorf("nobody says that %s:\n%s", why, out)
		}
	}
}

// writeBinary writes a file that is to be run. A child that another test forks
// at that moment would hold it open for writing for a moment, and it could not be run
// (ETXTBSY).
func writeBinary(t *testing.T, path string, data []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, data, 0o755)
	syscall.ForkLock.RUnlock()
	must(t, err)
}
