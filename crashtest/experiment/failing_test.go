//go:build linux

package experiment_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// loopsIn returns the loop devices over files below dir.
func loopsIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, name := range names {
		if file, err := os.ReadFile(name); err == nil && bytes.HasPrefix(file, []byte(dir+"/")) {
			found = append(found, name)
		}
	}
	return found
}

// TestFailingChildKilled kills the child that has disks mounted: that is an error,
// and nothing of it is left.
func TestFailingChildKilled(t *testing.T) {
	t.Parallel()
	if why := blockdev.Ready(); why != nil {
		cannot(t, why)
	}
	for _, name := range []string{"fsyncgate", "stale-cache"} {
		dir := newScratch(t)
		e, _ := experiment.Find(name)
		killed := make(chan bool, 1)
		go func() {
			for t.Context().Err() == nil {
				if killMounted(dir) {
					killed <- true
					return
				}
				time.Sleep(time.Millisecond)
			}
			killed <- false
		}()
		r, err := e.Run(t.Context(), experiment.Env{Dir: dir})
		if err == nil {
			t.Fatalf("%s: the child ended before it was killed: %s", name, r.Verdict)
		}
		if !<-killed {
			t.Errorf("%s: %v", name, err)
		}
		for end := time.Now().Add(2 * time.Minute); len(loopsIn(t, dir)) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: left behind: %v", name, loopsIn(t, dir))
			}
		}
	}
}

// killMounted kills the child below dir, once it has a filesystem mounted.
func killMounted(dir string) bool {
	pids, _ := experiment.Children(dir)
	for _, pid := range pids {
		mounts, err := os.ReadFile("/proc/" + pid + "/mounts")
		env, eerr := os.ReadFile("/proc/" + pid + "/environ")
		n, nerr := strconv.Atoi(pid)
		if err != nil || eerr != nil || nerr != nil || bytes.Contains(env, []byte("SEAWALL_BLOCKDEV=")) {
			continue // the server is to see to the rest
		}
		if bytes.Contains(mounts, []byte(" "+dir+"/")) && bytes.Contains(mounts, []byte("/mnt ext4 ")) {
			return syscall.Kill(n, syscall.SIGKILL) == nil
		}
	}
	return false
}
