//go:build linux

package main_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

// pipeInput returns an input that reads a named pipe, and its writing end.
func pipeInput(t *testing.T, pauses bool) (seawall.Input, *os.File) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := seawall.OpenInput(name, pauses)
	if err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return in, w
}

// next returns the next chunk, and whether there was one.
func next(t *testing.T, ch chan seawall.Chunk) (seawall.Chunk, bool) {
	t.Helper()
	select {
	case c, ok := <-ch:
		return c, ok
	case <-time.After(patience):
		t.Fatal("the input neither brings a chunk nor ends")
		return seawall.Chunk{}, false
	}
}

// TestInput: what is written comes at once, and then the end.
func TestInput(t *testing.T) {
	for _, pauses := range []bool{false, true} {
		in, w := pipeInput(t, pauses)
		ch := in.Chunks()
		for _, text := range []string{"a\n", "bc"} {
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
			c, _ := next(t, ch)
			if diff := cmp.Diff(seawall.Chunk{Data: text, Pause: pauses}, c); diff != "" {
				t.Errorf("pauses %v (-want +got):\n%s", pauses, diff)
			}
		}
		_ = w.Close()
		if c, _ := next(t, ch); c.Err != io.EOF { //nolint:errorlint // EOF is handed on as it is
			t.Errorf("%+v, want the end", c)
		}
		if c, ok := next(t, ch); ok {
			t.Errorf("%+v behind the end", c)
		}
	}
}

// TestInputStop: an input that waits ends when it is told to, and takes nothing
// more out of the pipe.
func TestInputStop(t *testing.T) {
	in, w := pipeInput(t, false)
	ch := in.Chunks()
	if _, err := io.WriteString(w, "a"); err != nil {
		t.Fatal(err)
	}
	next(t, ch)
	in.Stop()
	if c, ok := next(t, ch); ok {
		t.Errorf("%+v after stop", c)
	}
}

// TestInputStopFile: a file that has more ends too.
func TestInputStopFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 20*seawall.InputChunk), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := seawall.OpenInput(name, true)
	if err != nil {
		t.Fatal(err)
	}
	in.Stop()
	ch, n := in.Chunks(), 0
	for c, ok := next(t, ch); ok; c, ok = next(t, ch) {
		n++
		if c.Err != nil || c.Pause {
			t.Errorf("pause %v, error %v", c.Pause, c.Err)
		}
	}
	if n > 3 {
		t.Errorf("%d chunks after stop", n)
	}
}

// TestInputPanic: a panic of the reading goroutine is an internal error.
func TestInputPanic(t *testing.T) {
	in, err := seawall.OpenBrokenInput("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	ch := in.Chunks()
	c, _ := next(t, ch)
	if got := seawall.ExitCode(c.Err); got != 2 {
		t.Errorf("%v: exit code %d, want 2", c.Err, got)
	}
	if c, ok := next(t, ch); ok {
		t.Errorf("%+v behind the end", c)
	}
}
