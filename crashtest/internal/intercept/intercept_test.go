//go:build linux

package intercept_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
)

// watched runs a command of the shell, and returns what it said, and its end.
func watched(t *testing.T, ops []intercept.Op, h intercept.Handler, command string) (said string, err error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it needs root: the kernel lets nobody else listen to system calls")
	}
	cmd := child.Command(context.Background(), "/bin/sh", "-c", command)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	w, err := intercept.Start(cmd, ops, h)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cerr := w.Close(); cerr != nil {
		t.Error(cerr)
	}
	return out.String(), err
}

// TestSeen tells what a program does, also in its children, and lets it be done.
func TestSeen(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var seen []string
	h := func(c *intercept.Call) intercept.Answer {
		var what string
		var err error
		switch c.Op {
		case intercept.Sync:
			what, err = c.OpenPath(c.Descriptor(0))
			what = "sync " + what
		case intercept.Rename:
			at := []int{-1, 0}
			if c.Nr != unix.SYS_RENAMEAT && c.Nr != unix.SYS_RENAMEAT2 {
				what, err = c.Path(-1, 0)
			} else {
				what, err = c.Path(at[1], 1)
			}
			what = "rename " + what
		case intercept.Open:
			what = "truncate"
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			what += err.Error()
		}
		if what != "truncate" || !slices.Contains(seen, what) {
			seen = append(seen, what)
		}
		return intercept.Answer{}
	}
	said, err := watched(t, []intercept.Op{intercept.Sync, intercept.Rename, intercept.Open}, h,
		fmt.Sprintf("cd %s; (echo new >tmp; sync tmp); mv tmp file; sync .; cat file", dir))
	if err != nil || said != "new\n" {
		t.Fatalf("%q, %v", said, err)
	}
	want := []string{"truncate", "sync " + dir + "/tmp", "rename " + dir + "/tmp", "sync " + dir}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q, not %q", seen, want)
	}
}

// TestAnswered answers for the kernel: a call that is not made succeeds or fails as it says.
func TestAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for _, c := range []struct {
		name   string
		answer intercept.Answer
		want   string
	}{
		{"made", intercept.Answer{}, "exit status 0"},
		{"skipped", intercept.Answer{Skip: true}, "exit status 0"},
		{"refused", intercept.Answer{Skip: true, Errno: unix.EIO}, "Input/output error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, err := watched(t, []intercept.Op{intercept.Sync}, func(*intercept.Call) intercept.Answer { return c.answer },
				fmt.Sprintf("echo x >%s; LC_ALL=C sync %[1]s 2>&1; echo exit status $?", file))
			if err != nil || !strings.Contains(said, c.want) {
				t.Errorf("%q, %v; not %q", said, err, c.want)
			}
		})
	}
}

// TestMade makes a call in the program's place, on the very file that it has open.
func TestMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	synced := 0
	_, err := watched(t, []intercept.Op{intercept.Sync}, func(c *intercept.Call) intercept.Answer {
		f, err := c.OpenFile(c.Descriptor(0))
		if err != nil {
			t.Error(err)
			return intercept.Answer{}
		}
		defer f.Close()
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err != nil || st.Size != 2 {
			t.Errorf("a file of %d bytes, %v", st.Size, err)
		}
		if err = f.Sync(); err != nil {
			t.Error(err)
		}
		synced++
		return intercept.Answer{Skip: true}
	}, "echo x >"+file+"; sync "+file)
	if err != nil || synced != 1 {
		t.Errorf("synced %d times, %v", synced, err)
	}
}

// TestKilled ends a program that waits for its answer.
func TestKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root: the kernel lets nobody else listen to system calls")
	}
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", "sync "+dir)
	heard, answer := make(chan struct{}), make(chan struct{})
	w, err := intercept.Start(cmd, []intercept.Op{intercept.Sync}, func(*intercept.Call) intercept.Answer {
		close(heard)
		<-answer
		return intercept.Answer{}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-heard
	if err = cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	close(answer)
	if err = cmd.Wait(); err == nil {
		t.Error("it was killed, and ended well")
	}
	if err = w.Close(); err != nil {
		t.Error(err)
	}
}

// TestNotStarted reports a command that there is not, and leaves nothing behind.
func TestNotStarted(t *testing.T) {
	if _, err := intercept.Start(exec.Command("/nosuch"), []intercept.Op{intercept.Sync}, nil); err == nil {
		t.Error("a command that there is not was started")
	}
}
