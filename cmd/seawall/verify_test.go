//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestVerifyInterrupted: a signal ends a verify, with the one JSON object.
func TestVerifyInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 300000)))
	if code := seawall.Run(in, out, stderr, "append", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, content(t, stderr))
	}
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGTERM)
	defer signal.Stop(arrived)
	looks := 0
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op != durabilitytest.OpPopulate {
			return nil
		}
		if looks++; looks == 1 {
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
	in, out, stderr = files(t, "")
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

// asNobody runs the command as a user who owns nothing.
func asNobody(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	program := filepath.Join(filepath.Dir(args[len(args)-1]), "bin", "seawall")
	if _, err := os.Stat(program); err != nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(self)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(program), 0o755), os.WriteFile(program, data, 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, args...)
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
		{[]string{"dump"}, 0, "one\n"},
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
	for _, verb := range []string{"verify", "dump"} {
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
