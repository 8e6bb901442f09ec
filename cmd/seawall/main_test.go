//go:build linux

package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// files returns an open file with a content, and two empty ones.
func files(t *testing.T, text string) (in, out, stderr *os.File) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	return open("in"), open("out"), open("stderr")
}

// content returns what a file holds.
func content(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPanic: a panic is an internal error: one line, exit code 2, and the JSON
// object if that was asked for.
func TestPanic(t *testing.T) {
	panicking := &cli.Command{
		Name:  "panicking",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}},
		Action: func(*cli.Context) error {
			none := os.Args[:0]
			return errors.New(none[0])
		},
	}
	for _, args := range [][]string{{"panicking"}, {"panicking", "--json"}} {
		in, out, stderr := files(t, "")
		if code := seawall.RunWith(in, out, stderr, panicking, args...); code != 2 {
			t.Errorf("exit code %d, want 2", code)
		}
		said := content(t, stderr)
		if !strings.HasPrefix(said, "seawall: internal error: runtime error: index out of range [0] with length 0 (main_test.go:") ||
			strings.Count(said, "\n") != 1 {
			t.Errorf("stderr: %q", said)
		}
		if got, want := strings.HasPrefix(content(t, out), `{"error":"internal error: `), len(args) > 1; got != want {
			t.Errorf("stdout: %q", content(t, out))
		}
	}
}

// TestAbort: what the runtime ends the process for is an internal error, and does
// not look like damage.
func TestAbort(t *testing.T) {
	r := start(t, "append", filepath.Join(t.TempDir(), "log"), "--ack", "--sync", "each", small)
	r.write("one\n")
	r.ack()
	r.signal(syscall.SIGQUIT)
	if code := r.wait(); code != 2 {
		t.Errorf("exit code %d after SIGQUIT, want 2", code)
	}
}

// TestRuntimeCannotBegin: where there is too little memory for Go's runtime,
// verify of a clean log does not exit as if it were damaged.
func TestRuntimeCannotBegin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, "one\n")
	if code := seawall.Run(in, out, stderr, "append", dir, small); code != 0 {
		t.Fatal(content(t, stderr))
	}
	for _, kib := range []string{"20000", "100000", "200000", "300000", "unlimited"} {
		cmd := exec.Command("sh", "-c", "ulimit -v "+kib+" && exec seawall verify "+dir)
		text, _ := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if code == 1 || code == 4 || kib == "unlimited" && code != 0 {
			t.Errorf("within %s KiB: exit code %d: %s", kib, code, text)
		}
	}
}

// TestClosedStderr: talk that nobody hears changes nothing.
func TestClosedStderr(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, _ := files(t, "one\n")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer func() { _ = writer.Close() }()
	if code := seawall.Run(in, out, writer, "append", dir, small); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	mustHold(t, dir, "one\n")
}

// TestTalk: warnings are said, once each, with what belongs to them.
func TestTalk(t *testing.T) {
	_, _, stderr := files(t, "")
	l := seawall.NewTalk(stderr).With("dir", "d")
	l.Info("not this")
	l.Warn("this", "n", 1)
	l.Warn("this", "n", 1)
	l.Error("that")
	if got, want := content(t, stderr), "seawall: this (dir=d n=1)\nseawall: that (dir=d)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, 0, ""},
		{fmt.Errorf("x: %w", &wal.CorruptError{Dir: "d", File: "f"}), 4, "seawall repair --force"},
		{wal.ErrLocked, 3, "log is locked by another writer; end the process"},
		{fmt.Errorf("%w: d/f: of another", wal.ErrForeign), 3, "segment of another log: d/f: of another; move that file"},
		{wal.ErrVersion, 3, "use a newer seawall"},
		{wal.ErrMissing, 3, "`seawall append` creates a log"},
		{fmt.Errorf("wal: read d/f: %w", syscall.EIO), 3, "read d/f: input/output error; the device failed: `seawall verify` shows"},
		{errors.Join(errors.New("a"), errors.New("b")), 3, "a; b"},
	} {
		if got := seawall.ExitCode(c.err); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
		if c.err != nil && !strings.Contains(seawall.ExplainError(c.err), c.says) {
			t.Errorf("%v is explained as %q, want %q in it", c.err, seawall.ExplainError(c.err), c.says)
		}
	}
}
