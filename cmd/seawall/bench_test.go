//go:build linux

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBenchInterrupted: a signal ends a measurement, and nothing of it is left.
func TestBenchInterrupted(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			r, _ := startBench(t, dir, "--json", "--duration", "1h", "--limit", "64MiB")
			r.signal(c.signal)
			if code := r.wait(); code != c.code {
				t.Fatalf("exit code %d, want %d; stderr: %s", code, c.code, r.stderr.String())
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

// aTmpfs mounts one at a directory until the test ends. Without the right to do so the
// test is skipped.
func aTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if err := mayMount(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// startBench starts a measurement that lasts, and waits until it has a log. It returns
// the directory that the measurement made.
func startBench(t *testing.T, dir string, args ...string) (*running, string) {
	t.Helper()
	r := start(t, append([]string{"bench", dir, "--segment-size", "256KiB"}, args...)...)
	var logs []string
	eventually(t, "the measurement is at work", func() bool {
		logs, _ = filepath.Glob(filepath.Join(dir, "*", "log", "*.wal"))
		return len(logs) > 0
	})
	return r, filepath.Dir(filepath.Dir(logs[0]))
}

// TestBenchLeaves: what cannot be removed is told, also behind a signal.
func TestBenchLeaves(t *testing.T) {
	dir := t.TempDir()
	r, scratch := startBench(t, dir, "--duration", "1h", "--limit", "64MiB")
	busy := filepath.Join(scratch, "busy")
	if err := os.Mkdir(busy, 0o700); err != nil {
		t.Fatal(err)
	}
	aTmpfs(t, busy, "64k")
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 143 {
		t.Fatalf("exit code %d, want 143; stderr: %s", code, r.stderr.String())
	}
	r.said("cannot remove the scratch directory " + scratch)
	r.said("terminated (SIGTERM)")
}

// TestBenchDiskFills: where others fill the disk meanwhile, the measurement ends with an
// error that says so, and gives back what it took.
func TestBenchDiskFills(t *testing.T) {
	disk := t.TempDir()
	aTmpfs(t, disk, "16m")
	r, _ := startBench(t, disk, "--runs", "1000", "--duration", "2ms", "--warmup", "0s")
	filler, err := os.Create(filepath.Join(disk, "others"))
	if err != nil {
		t.Fatal(err)
	}
	for !r.ended() { // what a run gives back is taken at once
		if _, err := filler.Write(make([]byte, 4096)); err != nil {
			time.Sleep(100 * time.Microsecond)
		}
	}
	filler.Close()
	if code := r.wait(); code != 3 {
		t.Fatalf("exit code %d, want 3; stderr: %s", code, r.stderr.String())
	}
	r.said("no space")
	r.said("takes less")
	if left, err := os.ReadDir(disk); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
