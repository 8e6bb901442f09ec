//go:build linux

package main_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// next wants the next line of stdout.
func (r *running) next(want string) {
	r.t.Helper()
	if line, err := r.line(); err != nil || line != want {
		r.t.Fatalf("line %q, %v, want %q; stderr: %s", line, err, want, r.stderr.String())
	}
}

// TestTailFollows follows writers that come, die and come again, until it is
// interrupted.
func TestTailFollows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	writer := start(t, "append", dir, small, "--ack", "--sync", "each")
	writer.write("1\n")
	writer.ack()
	tail := start(t, "tail", "-f", dir)
	durable := start(t, "tail", dir, "--durable", "-f", "-n", "100", "--format", "json")
	late := start(t, "tail", "--follow", "-n", "1", dir)
	tail.next("1")
	late.next("1")
	for n := 2; n <= 40; n++ {
		if n%10 == 0 {
			writer.signal(syscall.SIGKILL)
			writer.wait()
			writer = start(t, "append", dir, small, "--ack", "--sync", "each")
		}
		writer.write(fmt.Sprintf("%d\n", n))
		tail.next(fmt.Sprint(n))
		late.next(fmt.Sprint(n))
		writer.ack()
	}
	for n := 1; n <= 40; n++ {
		durable.next(fmt.Sprintf(`{"lsn":%d,"text":"%d"}`, n, n))
	}
	for signal, r := range map[syscall.Signal]*running{syscall.SIGINT: tail, syscall.SIGTERM: durable} {
		r.signal(signal)
		if code := r.wait(); code != 128+int(signal) || r.stderr.String() != "" {
			t.Errorf("%v: exit code %d, stderr: %s", signal, code, r.stderr.String())
		}
	}
	// Nobody reads any more: it does not wait for a record to find out.
	_ = late.closer.Close()
	if code := late.wait(); code != 0 || late.stderr.String() != "" {
		t.Errorf("closed pipe: exit code %d, stderr: %s", code, late.stderr.String())
	}
}

// TestTailGoesOnBehindCuts follows a log that is cut at both ends.
func TestTailGoesOnBehindCuts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	appendLine := func(text string) {
		t.Helper()
		if _, err := l.Append([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"one", "two", "three"} {
		appendLine(s)
	}
	tail := start(t, "tail", "-f", dir)
	for _, s := range []string{"one", "two", "three"} {
		tail.next(s)
	}
	if err := l.TruncateBack(1); err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		for end := time.Now().Add(patience); !strings.Contains(tail.stderr.String(), want); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("stderr: %s", tail.stderr.String())
			}
		}
	}
	says("cut away again; going on with LSN 2")
	appendLine("another two")
	tail.next("another two")
	if err := l.Reset(100); err != nil {
		t.Fatal(err)
	}
	says("the records before LSN 100 were truncated away")
	appendLine("a hundred")
	tail.next("a hundred")
	tail.signal(syscall.SIGINT)
	if code := tail.wait(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

// TestTailBlocked interrupts it while its reader does not read.
func TestTailBlocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := l.Append(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	tail := start(t, "tail", "-f", "-n", "1000", "--split", "len32", dir)
	if _, err := tail.stdout.ReadByte(); err != nil {
		t.Fatal(err)
	}
	tail.signal(syscall.SIGINT)
	if code := tail.wait(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

// TestTailBesideWriter runs tail while a writer appends at each of its steps, and
// truncates at some of them all but the newest records: it gives records that
// were the newest ones at one moment, no fewer and no more.
func TestTailBesideWriter(t *testing.T) {
	for _, truncates := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes})
		if err != nil {
			t.Fatal(err)
		}
		more := func(n int) {
			for range n {
				if _, aerr := l.Append([]byte(fmt.Sprintf("%060d", l.LastLSN()+1))); aerr != nil {
					t.Fatal(aerr)
				}
			}
		}
		more(400)
		awaitNames(t, l, dir) // from here on nothing happens in the background
		steps, within := 0, false
		reader := thisGoroutine()
		remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
			if c.Phase != durability.Before || c.Op != durabilitytest.OpRead && c.Op != durabilitytest.OpPopulate {
				return nil
			}
			// Only those that are the reader's: the log reads what it recycles.
			if thisGoroutine() != reader || within || steps > 60 {
				return nil
			}
			within = true
			more(3)
			if steps++; truncates && steps%4 == 2 {
				if terr := l.TruncateFront(l.LastLSN() - 1); terr != nil {
					t.Fatal(terr)
				}
			}
			within = false
			return nil
		})
		in, out, stderr := files(t, "")
		code := seawall.Run(in, out, stderr, "tail", "-n", "300", dir)
		remove()
		if err = l.Close(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(content(t, out))
		if code != 0 || steps < 5 || len(lines) == 0 || len(lines) > 300 || !truncates && len(lines) != 300 {
			t.Errorf("truncates %v: exit code %d after %d steps, %d records: %s", truncates, code, steps, len(lines), content(t, stderr))
		}
		for i, line := range lines {
			if n, err := strconv.Atoi(line); err != nil || i > 0 && lines[i-1] != fmt.Sprintf("%060d", n-1) {
				t.Errorf("record %q", line)
			}
		}
	}
}

// thisGoroutine returns the number of the goroutine that calls it.
func thisGoroutine() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

// awaitNames waits until the segments that a log prepares have their names.
func awaitNames(t *testing.T, l *wal.Log, dir string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		ready := l.Stats().Ready // before the names are looked at: it is so before it has one
		temps, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		if len(temps) == 0 && ready == wal.DefaultSegmentsAhead {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not prepared: %+v, %q", l.Stats(), temps)
		}
	}
}
