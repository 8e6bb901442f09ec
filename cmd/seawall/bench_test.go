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
			r := start(t, "bench", dir, "--json", "--duration", "1h", "--segment-size", "256KiB", "--limit", "64MiB")
			eventually(t, "the measurement is at work", func() bool {
				logs, err := filepath.Glob(filepath.Join(dir, "*", "log", "*.wal"))
				return err == nil && len(logs) > 0
			})
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

// TestBenchDiskFills: where others fill the disk meanwhile, the measurement ends with an
// error that says so, and gives back what it took.
func TestBenchDiskFills(t *testing.T) {
	if err := mayMount(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	r := start(t, "bench", disk, "--runs", "1000", "--duration", "2ms", "--warmup", "0s", "--segment-size", "256KiB")
	eventually(t, "the measurement is at work", func() bool {
		logs, err := filepath.Glob(filepath.Join(disk, "*", "log", "*.wal"))
		return err == nil && len(logs) > 0
	})
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
