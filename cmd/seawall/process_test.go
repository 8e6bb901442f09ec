//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of a test. Nothing waits that long unless it is
// broken.
const patience = 3 * time.Minute

// small is the flag for small segments, which are soon prepared.
const small = "--segment-size=64KiB"

// running is a `seawall` process under test.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	stdout *bufio.Reader
	closer io.Closer // of stdout's reading end
	stderr lockedBuffer
	state  chan *os.ProcessState
}

// lockedBuffer is a buffer that one goroutine writes and another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts the command with pipes for stdin and stdout. A process that is
// still there at the test's end is killed.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	return startProgram(t, "seawall", args...)
}

// startProgram is start for one of the programs of TestMain.
func startProgram(t *testing.T, program string, args ...string) *running {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	r := startIn(t, reader, nil, program, args...)
	r.in = writer
	t.Cleanup(func() { _ = writer.Close() })
	return r
}

// startWith is start with a file for stdin.
func startWith(t *testing.T, stdin *os.File, args ...string) *running {
	t.Helper()
	return startIn(t, stdin, nil, "seawall", args...)
}

// startIn is startWith with attributes of the process, or nil.
func startIn(t *testing.T, stdin *os.File, attr *syscall.SysProcAttr, program string, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.Command(program, args...), state: make(chan *os.ProcessState, 1)}
	r.cmd.Stdin, r.cmd.SysProcAttr = stdin, attr
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.closer, r.stdout = outR, bufio.NewReader(outR)
	r.cmd.Stdout, r.cmd.Stderr = outW, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = outW.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.cmd.Wait()
		r.state <- r.cmd.ProcessState
	}()
	t.Cleanup(func() {
		if t.Failed() {
			// Still there, it tells where each of its goroutines is.
			asked := r.cmd.Process.Signal(syscall.SIGQUIT)
			select {
			case <-done:
			case <-time.After(patience):
			}
			t.Logf("seawall %q (asked for its stacks: %v) ended with %v; stderr:\n%s", args, asked, r.cmd.ProcessState, r.stderr.String())
		}
		_ = r.cmd.Process.Kill()
		<-done
		_ = outR.Close()
	})
	return r
}

// write writes to the process's stdin.
func (r *running) write(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r.in, text); err != nil {
		r.t.Fatalf("writing to stdin: %v; stderr: %s", err, r.stderr.String())
	}
}

// ack reads the next line of stdout and returns its LSN.
func (r *running) ack() int {
	r.t.Helper()
	line, err := r.line()
	if err != nil {
		r.t.Fatalf("reading an ack: %v; stderr: %s", err, r.stderr.String())
	}
	n, err := strconv.Atoi(strings.TrimPrefix(line, "acked "))
	if err != nil {
		r.t.Fatalf("%q is no ack", line)
	}
	return n
}

// line reads the next line of stdout.
func (r *running) line() (string, error) {
	type result struct {
		line string
		err  error
	}
	ch := make(chan result, 1)
	go func() {
		line, err := r.stdout.ReadString('\n')
		ch <- result{strings.TrimSuffix(line, "\n"), err}
	}()
	select {
	case res := <-ch:
		return res.line, res.err
	case <-time.After(patience):
		return "", errors.New("no line came")
	}
}

// signal sends a signal.
func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatalf("signal %v: %v", s, err)
	}
}

// ended reports whether the process has ended; wait still returns how.
func (r *running) ended() bool { return len(r.state) > 0 }

// wait waits for the end and returns the exit code, or minus the signal that
// killed the process.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case st := <-r.state:
		status, _ := st.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return -int(status.Signal())
		}
		return status.ExitStatus()
	case <-time.After(patience):
		r.t.Fatalf("the process does not end; stderr: %s", r.stderr.String())
		return 0
	}
}

// said checks that stderr holds a text.
func (r *running) said(text string) {
	r.t.Helper()
	if got := r.stderr.String(); !strings.Contains(got, text) {
		r.t.Errorf("stderr does not say %q:\n%s", text, got)
	}
}

// output runs the command to its end and returns its stdout and exit code.
func output(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("seawall", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("seawall %q: %v", args, err)
	}
	if stderr.Len() > 0 {
		t.Logf("seawall %q: %s", args, stderr.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// verdict verifies a log and returns the verdict and the number of records.
func verdict(t *testing.T, dir string) (string, int) {
	t.Helper()
	out, _ := output(t, "verify", "--json", dir)
	var rep struct {
		Verdict string
		Records int
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("verify printed %q: %v", out, err)
	}
	return rep.Verdict, rep.Records
}

// mustHold checks that a log is not damaged and holds exactly these lines.
func mustHold(t *testing.T, dir, want string) {
	t.Helper()
	if v, _ := verdict(t, dir); v == "damaged" {
		t.Errorf("%s is damaged", dir)
	}
	if got, _ := output(t, "dump", dir); got != want {
		t.Errorf("%s holds %d bytes, want %d:\n%.200q\n%.200q", dir, len(got), len(want), got, want)
	}
}

// eventually waits until something is so, by asking again.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
