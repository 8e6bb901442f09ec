//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

// verbs are the commands that take a log, and whether they only look at it.
var verbs = []struct {
	args  []string
	looks bool
}{
	{[]string{"verify"}, true},
	{[]string{"verify", "--device"}, true},
	{[]string{"dump"}, true},
	{[]string{"tail"}, true},
	{[]string{"inspect"}, true},
	{[]string{"append", small}, false},
	{[]string{"truncate", "--front", "2"}, false},
	{[]string{"truncate", "--back", "2"}, false},
}

// wantLine checks that a command could not do its work, and said so in one line
// with these words.
func wantLine(t *testing.T, what string, code int, stdout, stderr string, words ...string) {
	t.Helper()
	if code != 3 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "seawall: ") {
		t.Errorf("%s: exit code %d, stdout %q, stderr: %s", what, code, stdout, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("%s: stderr does not say %q: %s", what, w, stderr)
		}
	}
}

// TestPermissionsMissing takes each permission from a user, who owns the log, and
// runs every command.
func TestPermissionsMissing(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "becoming another user needs root")
	}
	root, err := os.MkdirTemp("", "seawall-permissions")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err = errors.Join(os.Chmod(root, 0o755), os.Chown(root, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "log")
	if _, stderr, code := asNobody(t, "one\ntwo\nthree\n", "append", small, dir); code != 0 {
		t.Fatal(stderr)
	}
	lock, segment := filepath.Join(dir, "seawall.lock"), filepath.Join(dir, "0000000000000001.wal")
	for _, c := range []struct {
		path  string
		perm  fs.FileMode
		looks bool // whether one may
	}{
		{dir, 0o555, true},
		{dir, 0o444, false},
		{dir, 0o333, false},
		{dir, 0, false},
		{lock, 0o444, true},
		{segment, 0o444, true},
		{segment, 0, false},
	} {
		st, err := os.Stat(c.path)
		if err == nil {
			err = os.Chmod(c.path, c.perm)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verbs {
			what := fmt.Sprintf("%s has mode %v: %v", c.path, c.perm, v.args)
			stdout, stderr, code := asNobody(t, "", append(v.args[:len(v.args):len(v.args)], dir)...)
			if v.looks && c.looks {
				if code != 0 || stderr != "" || stdout == "" {
					t.Errorf("%s: exit code %d, stdout %q, stderr: %s", what, code, stdout, stderr)
				}
				continue
			}
			wantLine(t, what, code, stdout, stderr, c.path, "permission denied")
		}
		if err = os.Chmod(c.path, st.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	mustHold(t, dir, "one\ntwo\nthree\n")
}

// TestFewDescriptors runs every command with ever more descriptors until it has
// enough: before, it says in one line what to raise, and nothing is lost.
func TestFewDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	run := func(limit int, stdin string, args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec seawall "$@"`, limit), "sh"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return out.String(), withoutWarnings(errs.String()), cmd.ProcessState.ExitCode()
	}
	least := 4 // one more than it has takes a dynamic loader
	for {      // a package that serves FUSE makes a pipe before main begins
		if _, _, code := run(least, "", "--version"); code == 0 {
			break
		}
		if least++; least > 10 {
			t.Fatal("the command does not start with 10 descriptors")
		}
	}
	for _, v := range append(verbs[5:6:6], verbs...) {
		for limit := least; ; limit++ {
			stdout, stderr, code := run(limit, "one\ntwo\nthree\n", append(v.args[:len(v.args):len(v.args)], dir)...)
			if code == 0 {
				break
			}
			wantLine(t, fmt.Sprintf("%v with %d descriptors", v.args, limit), code, stdout, stderr, "too many open files", "ulimit -n")
			if limit > 40 || t.Failed() {
				t.Fatalf("%v: %d descriptors are not enough", v.args, limit)
			}
		}
	}
	mustHold(t, dir, "two\n")
}

// withoutWarnings leaves out what is said of a filesystem in memory.
func withoutWarnings(stderr string) string {
	var kept strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, "do not survive power loss") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// cannotRun skips a test that this machine lacks something for. In CI nothing
// may be lacking.
func cannotRun(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatalf("cannot run here, and SEAWALL_CI is set: %s", why)
	}
	t.Skipf("cannot run here: %s", why)
}

// TestAppendFilesystemEnds makes the filesystem read-only under the command, as
// the kernel does after an error of the device: what was acknowledged is there
// after the next mount.
func TestAppendFilesystemEnds(t *testing.T) {
	root := t.TempDir()
	image, at := filepath.Join(root, "image"), filepath.Join(root, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			cannotRun(t, fmt.Sprintf("%v: %v: %s", args, err, out))
		}
	}
	run("mkfs.ext4", "-q", "-F", image)
	run("mount", "-o", "loop", image, at)
	t.Cleanup(func() {
		// A child that is being forked for another test holds descriptors for a moment.
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(at, "log")
	r := start(t, "append", dir, small, "--ack", "--sync", "each")
	r.write("one\ntwo\n")
	for r.ack() != 2 {
	}
	// The segments that are made in the background would be what fails.
	eventually(t, "two segments are prepared", func() bool {
		names, err := filepath.Glob(filepath.Join(dir, "000000000000000[1-3].wal"))
		return err == nil && len(names) == 3
	})
	run("sync", "-f", at) // which takes longer than the sync of the last name
	if err := unix.Mount("", at, "", unix.MS_REMOUNT, "abort"); err != nil {
		cannotRun(t, err.Error())
	}
	r.write("three\n")
	if code := r.wait(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if line, err := r.line(); err == nil {
		t.Errorf("%q behind the end of the filesystem", line)
	}
	r.said("durable up to LSN 2 only\n")
	r.said("read-only file system")
	r.said(filepath.Join(dir, "0000000000000001.wal"))
	if out, code := output(t, "dump", dir); code != 0 || !strings.HasPrefix(out, "one\ntwo\n") {
		t.Errorf("dump of what is read-only: exit code %d: %q", code, out)
	}
	in, out, stderr := files(t, "four\n")
	if code := seawall.Run(in, out, stderr, "append", dir); code != 3 || !strings.Contains(content(t, stderr), "read-only file system") {
		t.Errorf("append to what is read-only: exit code %d: %s", code, content(t, stderr))
	}
	// A child that is being forked holds copies of descriptors for a moment.
	eventually(t, "it is unmounted", func() bool { return unix.Unmount(at, 0) == nil })
	run("mount", "-o", "loop", image, at)
	if got, _ := output(t, "dump", dir); !strings.HasPrefix(got, "one\ntwo\n") {
		t.Errorf("the log holds %q", got)
	}
}

// TestAppendTerminal types records at a terminal, and then Ctrl-C, or nothing
// while a signal comes.
func TestAppendTerminal(t *testing.T) {
	for _, c := range []struct {
		name  string
		typed string
		sig   syscall.Signal
		code  int
	}{
		{"Ctrl-C", "\x03", 0, 130},
		{"SIGINT", "", syscall.SIGINT, 130},
		{"SIGTERM", "", syscall.SIGTERM, 143},
		{"Ctrl-D", "\x04", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			keyboard, terminal := openTerminal(t)
			r := startIn(t, terminal, &syscall.SysProcAttr{Setsid: true, Setctty: true}, "seawall", "append", dir, small, "--ack", "--sync", "each")
			if _, err := keyboard.WriteString("one\ntwo\n"); err != nil {
				t.Fatal(err)
			}
			for r.ack() != 2 {
			}
			if _, err := keyboard.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
			if c.sig != 0 {
				r.signal(c.sig)
			}
			if code := r.wait(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			r.said("2 records appended: LSN 1 to 2, durable\n")
			mustHold(t, dir, "one\ntwo\n")
		})
	}
}

// TestClosedPipes: a reader that wants no more is no failure of a command that
// writes records, also when it goes before the first one; reports that nobody
// takes are.
func TestClosedPipes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 100_000)))
	if code := seawall.Run(in, out, stderr, "append", dir); code != 0 {
		t.Fatal(content(t, stderr))
	}
	for _, read := range []bool{true, false} {
		for _, args := range [][]string{
			{"dump"},
			{"dump", "--format", "json"},
			{"dump", "--match", "7"},
			{"tail", "-n", "100000"},
			{"tail", "-n", "100000", "-f"},
		} {
			r := start(t, append(args, dir)...)
			if read {
				if line, err := r.line(); err != nil {
					t.Errorf("%v: %q, %v", args, line, err)
				}
			}
			_ = r.closer.Close()
			if code := r.wait(); code != 0 || r.stderr.String() != "" {
				t.Errorf("%v, read a line %v: exit code %d, stderr: %s", args, read, code, r.stderr.String())
			}
		}
	}
}

// TestSignalsWhileLooking: what only looks ends where it stands.
func TestSignalsWhileLooking(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 100_000)))
	if code := seawall.Run(in, out, stderr, "append", dir); code != 0 {
		t.Fatal(content(t, stderr))
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, args := range [][]string{{"dump"}, {"tail", "-n", "100000"}} {
			r := start(t, append(args, dir)...)
			if _, err := r.stdout.ReadByte(); err != nil { // the pipe is full soon
				t.Fatal(err)
			}
			r.signal(sig)
			if code := r.wait(); code != -int(sig) || r.stderr.String() != "" {
				t.Errorf("%v, %v: exit code %d, stderr: %s", args, sig, code, r.stderr.String())
			}
		}
		// A follower of a log that nobody writes to waits for ever.
		r := start(t, "tail", "-f", "-n", "1", dir)
		r.next("100000")
		r.signal(sig)
		if code := r.wait(); code != 128+int(sig) || r.stderr.String() != "" {
			t.Errorf("tail -f, %v: exit code %d, stderr: %s", sig, code, r.stderr.String())
		}
	}
}
