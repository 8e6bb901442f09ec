//go:build linux

package blockdev_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// left returns what there is of labs below a directory.
func left(t *testing.T, dir string) (found []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+dir+"/") {
			found = append(found, "mount "+line)
		}
	}
	for _, f := range blockdev.Attached() {
		if strings.HasPrefix(f, dir+"/") {
			found = append(found, "loop device on "+f)
		}
	}
	labs, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, lab := range labs {
		found = append(found, "directory "+lab)
		if pid := blockdev.ServerOf(lab); pid != 0 {
			found = append(found, "server of "+lab)
		}
	}
	return found
}

// startLab starts a process with a mounted disk, and returns its directory.
func startLab(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), labEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		_, cerr := blockdev.Cleanup(dir)
		must(t, cerr)
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	if said != "mounted\n" {
		t.Fatalf("%q, %v", said, err)
	}
	labs, err := filepath.Glob(filepath.Join(dir, blockdev.LabPrefix+"*"))
	if err != nil || len(labs) != 1 {
		t.Fatalf("%q, %v", labs, err)
	}
	return cmd, labs[0]
}

// TestKilled kills a lab with SIGKILL: its server sees to what is left. Killed
// itself, it leaves that to Cleanup.
func TestKilled(t *testing.T) {
	newLab(t) // or skip
	for _, servers := range []bool{false, true} {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		must(t, err)
		cmd, lab := startLab(t, dir)
		if removed, err := blockdev.Cleanup(dir); err != nil || slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, dir) }) {
			t.Fatalf("removed of a lab that lives: %q, %v", removed, err)
		}
		if len(left(t, dir)) < 5 { // two mounts, a loop device, a directory, a server
			t.Fatalf("before: %q", left(t, dir))
		}
		if servers {
			must(t, unix.Kill(blockdev.ServerOf(lab), unix.SIGKILL))
			time.Sleep(10 * time.Millisecond)
		}
		must(t, cmd.Process.Kill())
		_, _ = cmd.Process.Wait()
		if servers {
			removed, err := blockdev.Cleanup(dir)
			if err != nil || len(removed) < 3 {
				t.Errorf("removed %q, %v", removed, err)
			}
		}
		for end := time.Now().Add(30 * time.Second); len(left(t, dir)) > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("left: %q", left(t, dir))
			}
		}
	}
}

// TestForeign: what only looks like a lab is left alone.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, blockdev.LabPrefix+"of-somebody")
	must(t, os.Mkdir(own, 0o700))
	if removed, err := blockdev.Cleanup(dir); err != nil || len(removed) > 0 {
		t.Errorf("%q, %v", removed, err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Error(err)
	}
}
