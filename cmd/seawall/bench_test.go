//go:build linux

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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
