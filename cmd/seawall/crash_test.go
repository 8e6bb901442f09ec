//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// killedIn returns the processes that a campaign has started below dir.
func killedIn(t *testing.T, dir string) (pids []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && bytes.Contains(env, []byte("SEAWALL_KILL_CHILD=")) && bytes.Contains(env, []byte(dir+"/")) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// TestCrashKillInterrupted: Ctrl-C ends a campaign, with what was done until then,
// and leaves no process and no file. When the command itself is killed its
// children die too.
func TestCrashKillInterrupted(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -9}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := start(t, "crash", "kill", "--budget", "1h", "--json", "--dir", dir)
			eventually(t, "a child is at work", func() bool { return len(killedIn(t, dir)) > 0 })
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
			if err := json.Unmarshal(line, &said); err != nil || said.Campaign != "kill" || said.Stopped != "interrupted" {
				t.Errorf("%q: %v", line, err)
			}
		})
	}
}
