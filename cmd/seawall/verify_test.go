//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// bigLog returns a log with many records.
func bigLog(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 500000)))
	if code := seawall.Run(in, out, stderr, "append", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, content(t, stderr))
	}
	return dir
}

// terminateAtLook sends this process a SIGTERM when the log is first read.
func terminateAtLook(t *testing.T, dir string) {
	t.Helper()
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGTERM)
	t.Cleanup(func() { signal.Stop(arrived) })
	looks := 0
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op != durabilitytest.OpPopulate {
			return nil
		}
		if looks++; looks == 3 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-arrived
		}
		for range 100 { // the command's own goroutine has it too, and acts on it
			runtime.Gosched()
		}
		return nil
	})
}

// TestVerifyInterrupted: a signal ends a verify, with the one JSON object.
func TestVerifyInterrupted(t *testing.T) {
	dir := bigLog(t)
	terminateAtLook(t, dir)
	in, out, stderr := files(t, "")
	if code := seawall.Run(in, out, stderr, "verify", dir, "--json"); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
	if got, want := content(t, out), `{"error":"terminated (SIGTERM)"}`+"\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := content(t, stderr), "seawall: terminated (SIGTERM)\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}

// TestVerifyInterruptedBar: a progress bar is taken away before anything else
// is said.
func TestVerifyInterruptedBar(t *testing.T) {
	dir := bigLog(t)
	screen, terminal := openTerminal(t)
	terminateAtLook(t, dir)
	in, out, _ := files(t, "")
	if code := seawall.Run(in, out, terminal, "verify", dir); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
	const last = "seawall: terminated (SIGTERM)\r\n"
	text := ""
	for !strings.HasSuffix(text, last) {
		b := make([]byte, 4096)
		n, err := screen.Read(b)
		if err != nil {
			t.Fatalf("%v behind %q", err, text)
		}
		text += string(b[:n])
	}
	before := strings.TrimSuffix(text, last)
	if !regexp.MustCompile(`verifying.*\r {40,}\r$`).MatchString(before) {
		t.Errorf("the bar is still there: %q", text)
	}
}

// openTerminal returns a pseudo terminal: what is written to it can be read
// from its screen.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return screen, terminal
}

// TestDumpEndsEarly: a dump whose reader has gone reads no further.
func TestDumpEndsEarly(t *testing.T) {
	dir := bigLog(t)
	looks := 0
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpPopulate && c.Phase == durability.Before {
			looks++
		}
		return nil
	})
	in, out, stderr := files(t, "")
	if code := seawall.Run(in, out, stderr, "dump", dir); code != 0 {
		t.Fatal(content(t, stderr))
	}
	all := looks
	looks = 0
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer func() { _ = writer.Close() }()
	if code := seawall.Run(in, writer, stderr, "dump", dir); code != 0 || content(t, stderr) != "" {
		t.Errorf("exit code %d, %s", code, content(t, stderr))
	}
	if looks*2 > all {
		t.Errorf("%d reads, where all of the log takes %d", looks, all)
	}
}

// asNobody runs the command as a user who owns nothing.
func asNobody(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	// Only the program's own permissions count there, and it is not copied: a copy
	// is busy while a child of another test holds the descriptor it came through.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "seawall"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestPermissions: looking needs permission to read and no more; what needs
// more says so.
func TestPermissions(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal("becoming another user needs root")
		}
		t.Skip("becoming another user needs root")
	}
	tmp, err := os.MkdirTemp("", "seawall-permissions")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(tmp, "log")
	in, out, stderr := files(t, "one\n")
	if code := seawall.Run(in, out, stderr, "append", dir, small); code != 0 {
		t.Fatal(content(t, stderr))
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"verify"}, 0, "verdict   clean"},
		{[]string{"verify", "--device"}, 0, "verdict   clean"},
		{[]string{"dump"}, 0, "one\n"},
		{[]string{"dump", "--match", "o.e"}, 0, "one\n"},
		{[]string{"inspect"}, 0, "resident  unknown"},
		{[]string{"append"}, 3, "permission denied"},
		{[]string{"repair"}, 3, "permission denied"},
	} {
		stdout, errs, code := asNobody(t, "two\n", append(c.args, dir)...)
		if code != c.code || !strings.Contains(stdout+errs, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s%s", c.args, code, c.code, c.says, stdout, errs)
		}
	}
	segment := filepath.Join(dir, "0000000000000001.wal")
	if err := os.Chmod(segment, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"verify", "dump", "inspect"} {
		_, errs, code := asNobody(t, "", verb, dir)
		if code != 3 || !strings.Contains(errs, segment) || !strings.Contains(errs, "permission denied") {
			t.Errorf("%s of an unreadable segment: exit code %d: %s", verb, code, errs)
		}
	}
}

// TestDumpStuck: a dump whose reader takes nothing ends at a signal.
func TestDumpStuck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 100000)))
	if code := seawall.Run(in, out, stderr, "append", dir); code != 0 {
		t.Fatal(content(t, stderr))
	}
	r := start(t, "dump", dir)
	if _, err := io.ReadFull(r.stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGINT)
	if code := r.wait(); code != -int(unix.SIGINT) {
		t.Errorf("exit code %d, want death by SIGINT", code)
	}
}
