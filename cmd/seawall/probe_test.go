//go:build linux

package main_test

import (
	"os"
	"syscall"
	"testing"
)

// TestProbeInterrupted: a signal ends a probe with its own exit code, and nothing is
// left in the directory. A probe that has ended before the signal came is no test.
func TestProbeInterrupted(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		dir, got := t.TempDir(), 0
		list := func() int {
			names, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(names)
		}
		for range 10 {
			r := start(t, "probe", dir)
			eventually(t, "the probe is at work", func() bool { return list() > 0 || r.ended() })
			_ = r.cmd.Process.Signal(sig) // it may have ended
			if got = r.wait(); got != 0 {
				break
			}
		}
		if got != code {
			t.Errorf("after %v exit code %d, want %d", sig, got, code)
		}
		if n := list(); n > 0 {
			t.Errorf("after %v %d names are left", sig, n)
		}
	}
}
