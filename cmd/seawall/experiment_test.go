//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// childrenIn returns the processes that work for an experiment below dir.
func childrenIn(t *testing.T, dir string) (pids []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && bytes.Contains(env, []byte("SEAWALL_EXPERIMENT_ROLE=")) && bytes.Contains(env, []byte(dir)) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// stopChildren stops the children, so that none of them ends by itself.
func stopChildren(t *testing.T, dir string) {
	t.Helper()
	for _, text := range childrenIn(t, dir) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if err = syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			continue // it has ended
		}
		t.Cleanup(func() {
			if slices.Contains(childrenIn(t, dir), text) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// TestExperimentInterrupted: Ctrl-C ends an experiment, with what was found until
// then, and leaves no process and no file. When the command itself is killed its
// children die too.
func TestExperimentInterrupted(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -9}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var r *running
			code := 0
			for tries := 0; code == 0 && tries < 10; tries++ { // it may be done before the signal
				r = start(t, "experiment", "run", "--all", "--json", "--dir", dir)
				eventually(t, "a child is at work, or all is done", func() bool {
					return len(childrenIn(t, dir)) > 0 || len(r.state) > 0
				})
				stopChildren(t, dir)
				_ = r.cmd.Process.Signal(c.signal) // no process is left if it is done
				code = r.wait()
			}
			if code != c.code {
				t.Fatalf("exit code %d, want %d; stderr: %s", code, c.code, r.stderr.String())
			}
			eventually(t, "no child is left", func() bool { return len(childrenIn(t, dir)) == 0 })
			if c.signal == syscall.SIGKILL {
				return // its files stay
			}
			line, err := r.line()
			var rep struct{ Error string }
			if jerr := json.Unmarshal([]byte(line), &rep); err != nil || jerr != nil || rep.Error == "" {
				t.Errorf("stdout: %q, %v, %v", line, err, jerr)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestExperimentDisksInterrupted: however an experiment ends that mounts filesystems,
// none of its disks is left, and nobody else sees what it mounts.
func TestExperimentDisksInterrupted(t *testing.T) {
	if why := blockdev.Ready(); why != nil {
		cannotRun(t, why.Error())
	}
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -9}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var r *running
			code := 0
			for tries := 0; code == 0 && tries < 10; tries++ { // it may be done before the signal
				r = start(t, "experiment", "run", "fsyncgate", "stale-cache", "--json", "--dir", dir)
				eventually(t, "there are disks, or all is done", func() bool { return len(disksIn(t, dir)) > 0 || r.ended() })
				mounts, err := os.ReadFile("/proc/self/mounts")
				if err != nil || bytes.Contains(mounts, []byte(" "+dir+"/")) {
					t.Errorf("others see what is mounted: %v", err)
				}
				_ = r.cmd.Process.Signal(c.signal) // no process is left if it is done
				code = r.wait()
			}
			if code != c.code {
				t.Fatalf("exit code %d, want %d; stderr: %s", code, c.code, r.stderr.String())
			}
			eventually(t, "no child and no disk is left", func() bool { return len(childrenIn(t, dir)) == 0 && len(disksIn(t, dir)) == 0 })
			left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if c.signal != syscall.SIGKILL { // or its own directory stays, empty
				left, err = filepath.Glob(filepath.Join(dir, "*"))
			}
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestExperimentDiffers: a verdict that differs is exit code 1.
func TestExperimentDiffers(t *testing.T) {
	for _, c := range []struct{ expected, differing, impossible, code int }{
		{0, 0, 0, 0}, {3, 0, 0, 0}, {1, 0, 2, 0}, {0, 0, 1, 0}, {0, 1, 0, 1}, {5, 2, 1, 1},
	} {
		if code := seawall.ExperimentCode(c.expected, c.differing, c.impossible); code != c.code {
			t.Errorf("%+v: exit code %d", c, code)
		}
	}
}

func TestColumns(t *testing.T) {
	got := seawall.Columns([]string{"way", "n", "size"}, [][]string{{"a", "1", "4096"}, {"longer", "12,000", "2 MiB"}, {"é", "", ""}})
	want := []string{
		"way          n   size",
		"a            1   4096",
		"longer  12,000  2 MiB",
		"é",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := seawall.Columns(nil, nil); got != nil {
		t.Errorf("a table without columns: %q", got)
	}
}
