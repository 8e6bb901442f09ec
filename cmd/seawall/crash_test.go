//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// planted is a log that acknowledges records before they are synced, if it is
// early.
type planted struct{ early, other bool }

// Name implements campaign.Subject.
func (planted) Name() string { return "planted" }

// Workload implements campaign.Subject.
func (s planted) Workload(l *campaign.Life) error {
	if s.other {
		if err := os.Mkdir(filepath.Join(l.Dir, "log"), 0o700); err != nil {
			return err
		}
	}
	w, err := wal.Open(filepath.Join(l.Dir, "log"), wal.Options{SegmentBytes: wal.MinSegmentBytes, Tracer: l.Tracer})
	if err != nil {
		return err
	}
	for n := 0; n < 30 && err == nil; n++ {
		known := acked(0) // mended, it does the same, and acknowledges nothing before it is synced
		if s.early {
			known = acked(n + 1)
		}
		_, err = w.Append(bytes.Repeat([]byte{byte(n + 1)}, 100))
		l.Note(known)
	}
	return errors.Join(err, w.Close())
}

// Recover implements campaign.Subject.
func (planted) Recover(dir string) (campaign.Found, error) {
	r, err := wal.Verify(filepath.Join(dir, "log"))
	if errors.Is(err, wal.ErrMissing) {
		return acked(0), nil
	}
	return acked(r.LastLSN), err
}

// acked is how many records were acknowledged, or found.
type acked int

// Present implements campaign.Found.
func (n acked) Present(k campaign.Known, _ bool) error {
	if known, _ := k.(acked); known > n {
		return &campaign.Broken{Kind: campaign.Lost, Clause: "C2", What: fmt.Sprintf("record %d of %d", n+1, known)}
	}
	return nil
}

// Legal implements campaign.Found.
func (acked) Legal(campaign.Known, bool) error { return nil }

// killedIn returns the processes that a campaign has started below dir.
func killedIn(t *testing.T, dir string) (pids []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && (bytes.Contains(env, []byte("SEAWALL_KILL_CHILD=")) || bytes.Contains(env, []byte("SEAWALL_TRUNCATE_CHILD="))) && bytes.Contains(env, []byte(dir+"/")) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// disksIn returns what there is of disks below dir: processes that serve them or use what is
// mounted there, and loop devices.
func disksIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	environs, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	for _, name := range environs {
		env, err := os.ReadFile(name)
		if err == nil && bytes.Contains(env, []byte("SEAWALL_BLOCKDEV=")) && bytes.Contains(env, []byte(dir+"/")) {
			found = append(found, name)
		}
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range files {
		if file, err := os.ReadFile(name); err == nil && bytes.HasPrefix(file, []byte(dir+"/")) {
			found = append(found, name)
		}
	}
	return found
}

// TestCrashPowerInterrupted: however a campaign of power cuts ends, none of its processes, mounts
// and loop devices is left, and nobody else ever sees what it mounts.
func TestCrashPowerInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		cannotRun(t, "mounting a filesystem needs root")
	}
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -9}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := start(t, "crash", "power", "--fs", "ext4", "--states", "1000000000", "--json", "--dir", dir)
			eventually(t, "a filesystem is mounted", func() bool {
				mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", r.cmd.Process.Pid))
				return bytes.Contains(mounts, []byte(" ext4 ")) && bytes.Contains(mounts, []byte(" "+dir+"/seawall-disks-")) || r.ended()
			})
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil || bytes.Contains(mounts, []byte(" "+dir+"/")) {
				t.Errorf("others see what is mounted: %v", err)
			}
			r.signal(c.signal)
			if code := r.wait(); code != c.code {
				t.Fatalf("exit code %d, want %d; stderr: %s", code, c.code, r.stderr.String())
			}
			eventually(t, "nothing is left", func() bool {
				left, err := os.ReadDir(dir)
				return err == nil && len(left) == 0 && len(disksIn(t, dir)) == 0
			})
			if c.code < 0 {
				return // it has said nothing
			}
			var said struct{ Campaign, Stopped string }
			line, _ := r.stdout.ReadBytes('\n')
			if err := json.Unmarshal(line, &said); err != nil || said.Campaign != "power" || said.Stopped != "interrupted" {
				t.Errorf("%q: %v", line, err)
			}
		})
	}
}

// TestCrashInterrupted: Ctrl-C ends a campaign, with what was done until then,
// and leaves no process and no file. When the command itself is killed its
// children die too.
func TestCrashInterrupted(t *testing.T) {
	for _, name := range []string{"kill", "model", "truncate"} {
		atWork := map[string]func(dir string) bool{
			"kill":     func(dir string) bool { return len(killedIn(t, dir)) > 0 },
			"truncate": func(dir string) bool { return len(killedIn(t, dir)) > 0 },
			"model": func(dir string) bool {
				lives, _ := filepath.Glob(filepath.Join(dir, "seawall-model-*", "life-*"))
				return len(lives) > 0
			},
		}[name]
		for _, c := range []struct {
			signal syscall.Signal
			code   int
		}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -9}} {
			t.Run(fmt.Sprintf("%s, %v", name, c.signal), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				// As many states as there never are: each life is lived by the seed.
				r := start(t, "crash", name, "--states", "1000000000", "--seed", "1", "--json", "--dir", dir)
				eventually(t, "the campaign is at work", func() bool { return atWork(dir) || r.ended() })
				r.signal(c.signal)
				if code := r.wait(); code != c.code {
					t.Fatalf("exit code %d, want %d; stderr: %s", code, c.code, r.stderr.String())
				}
				eventually(t, "no child is left", func() bool { return len(killedIn(t, dir)) == 0 })
				if c.code < 0 {
					return // its files are left
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
				var said struct{ Campaign, Stopped string }
				line, _ := r.stdout.ReadBytes('\n')
				if err := json.Unmarshal(line, &said); err != nil || said.Campaign != name || said.Stopped != "interrupted" {
					t.Errorf("%q: %v", line, err)
				}
			})
		}
	}
}
