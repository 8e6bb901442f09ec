//go:build linux

package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// TestAppendPause: input that pauses leaves nothing with the command but an
// unfinished record, in a batch neither.
func TestAppendPause(t *testing.T) {
	for _, args := range [][]string{
		{"--sync", "each"},
		{"--sync", "1ms"},
		{"--sync", "each", "--batch", "100"},
		{"--sync", "1ms", "--batch", "100"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			r := start(t, append(args, "append", "--ack", small, dir)...)
			r.write("one\n")
			if got := r.ack(); got != 1 {
				t.Fatalf("acked %d, want 1", got)
			}
			r.write("two\nthree\nunfinished")
			for r.ack() != 3 {
			}
			mustHold(t, dir, "one\ntwo\nthree\n")
			r.write(" business\n")
			if got := r.ack(); got != 4 {
				t.Fatalf("acked %d, want 4", got)
			}
			_ = r.in.Close()
			if code := r.wait(); code != 0 {
				t.Errorf("exit code %d: %s", code, r.stderr.String())
			}
			mustHold(t, dir, "one\ntwo\nthree\nunfinished business\n")
		})
	}
}

// TestAppendLargest: the limit that errors name is the limit, in batches too.
func TestAppendLargest(t *testing.T) {
	for _, batch := range []string{"1", "5"} {
		dir := filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dir, wal.Options{SegmentBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		largest := strings.Repeat("x", int(l.MaxRecordBytes()))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text := "a\n" + largest + "\nb\n" + largest + "\n"
		in, out, stderr := files(t, text+"b\n"+largest+"x\n")
		if code := seawall.Run(in, out, stderr, "append", dir, small, "--batch", batch); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		want := fmt.Sprintf("line 6 has %s bytes, the limit is %s;", seawall.Count(int64(len(largest)+1)), seawall.Count(int64(len(largest))))
		if got := content(t, stderr); !strings.Contains(got, want) {
			t.Errorf("stderr does not say %q:\n%s", want, got)
		}
		mustHold(t, dir, text+"b\n")
	}
}

// TestAppendEndlessRecord: a record that never ends keeps no batch waiting.
func TestAppendEndlessRecord(t *testing.T) {
	tmp := t.TempDir()
	in, err := os.Create(filepath.Join(tmp, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	// The file ends in theory, and there is always something to read.
	if _, err = in.WriteAt([]byte("one\n"), 0); err == nil {
		err = in.Truncate(1 << 43)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := startWith(t, in, "append", filepath.Join(tmp, "log"), "--ack", "--sync", "each", "--batch", "9", small)
	if got := r.ack(); got != 1 {
		t.Errorf("acked %d, want 1", got)
	}
	r.signal(syscall.SIGINT)
	if code := r.wait(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	r = startWith(t, nil, "append", "--file", in.Name(), filepath.Join(tmp, "log"), small)
	if code := r.wait(); code != 3 {
		t.Errorf("--file: exit code %d, want 3", code)
	}
	r.said("in has 8,796,093,022,208 bytes, the limit is ")
}

// TestAppendKilled kills the command in mid-append, again and again on one
// log: all that was acknowledged is there, and nothing that was not appended.
func TestAppendKilled(t *testing.T) {
	const seed = 20240817
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), "log")
	have := 0
	for round := range 8 {
		sync := []string{"each", "1ms"}[round%2]
		r := start(t, "append", dir, "--ack", "--sync", sync, small)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := have + 1; ; i += 50 {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.in.Write(numbers(i, i+49)); err != nil {
					return
				}
			}
		}()
		acked := 0
		for until := have + 1 + rng.IntN(400); acked < until; {
			acked = r.ack()
		}
		r.signal(syscall.SIGKILL)
		if code := r.wait(); code != -int(syscall.SIGKILL) {
			t.Fatalf("exit code %d: %s", code, r.stderr.String())
		}
		close(stop)
		<-stopped
		for { // acks that were on their way
			line, err := r.line()
			if err != nil {
				break
			}
			_, _ = fmt.Sscanf(line, "acked %d", &acked)
		}
		v, n := verdict(t, dir)
		if v == "damaged" || n < acked {
			t.Fatalf("round %d: %s with %d records, %d were acknowledged", round, v, n, acked)
		}
		mustHold(t, dir, string(numbers(1, n)))
		have = n
	}
}

// TestAppendKilledUnsynced: what was appended survives the death of the
// process without any sync.
func TestAppendKilledUnsynced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--sync", "manual", small)
	want := string(numbers(1, 2000))
	r.write(want)
	eventually(t, "all records are appended", func() bool {
		got, _ := output(t, "dump", dir)
		return got == want
	})
	r.signal(syscall.SIGKILL)
	r.wait()
	mustHold(t, dir, want)
}

// TestAppendSignals: a signal makes durable what was read, also while stdin
// gives nothing, and says up to where.
func TestAppendSignals(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
		words  string
	}{
		{syscall.SIGINT, 130, "seawall: interrupted (SIGINT)\n"},
		{syscall.SIGTERM, 143, "seawall: terminated (SIGTERM)\n"},
	} {
		for _, args := range [][]string{{"--sync", "manual"}, {"--sync", "each"}, {"--sync", "1h", "--batch", "10"}} {
			t.Run(fmt.Sprint(c.signal, args), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "log")
				r := start(t, append(args, "append", dir, small)...)
				r.write("one\ntwo\nthree\nfo")
				eventually(t, "three records are there", func() bool {
					got, _ := output(t, "dump", dir)
					return got == "one\ntwo\nthree\n"
				})
				r.signal(c.signal)
				if code := r.wait(); code != c.code {
					t.Errorf("exit code %d, want %d", code, c.code)
				}
				r.said("3 records appended: LSN 1 to 3, durable\n")
				r.said("2 bytes of an unfinished record were read and not appended\n")
				r.said(c.words)
				mustHold(t, dir, "one\ntwo\nthree\n")
			})
		}
	}
}

// TestAppendSignalTakesAllThatWasRead: what has left the pipe at a signal is in
// TestAppendSecondSignal: a second signal ends the command at once, whatever it
// fillPipe writes records until the acks, which nobody reads, fill their pipe,
// TestAppendAcksNotRead: acks that nobody reads hold up neither the log nor the
// TestAppendAcksClosed: when nobody can read the acks any more, what was read
// TestAppendAcksClosedEarly: what was read when nobody reads the acks is not
// TestAppendNohup: a signal that the parent ignores is ignored.
func TestAppendNohup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("sh", "-c", `trap "" INT; exec seawall append "$0" --ack --sync each --segment-size 64KiB`, dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := io.WriteString(in, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("acked 1\n"))); err != nil {
			t.Fatalf("ack %d: %v", i+1, err)
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	mustHold(t, dir, "x\nx\n")
}

// TestAppendFromNamedPipe: a named pipe that nobody has opened yet blocks
// nothing, a signal neither.
func TestAppendFromNamedPipe(t *testing.T) {
	tmp := t.TempDir()
	fifo, dir := filepath.Join(tmp, "fifo"), filepath.Join(tmp, "log")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "append", "--file", fifo, small, dir)
	if err := os.WriteFile(fifo, []byte("a\nb"), 0); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, r.stderr.String())
	}
	mustHold(t, dir, "a\nb\n")

	r = start(t, "append", "--file", fifo, small, dir)
	eventually(t, "the log is open", func() bool {
		out, _ := output(t, "verify", "--json", dir)
		return strings.Contains(out, `"live":true`)
	})
	r.signal(syscall.SIGINT)
	if code := r.wait(); code != 130 {
		t.Errorf("exit code %d, want 130: %s", code, r.stderr.String())
	}
}

// TestAppendFailedSync: after a failed sync nothing is called durable that is
// TestAppendFailedSyncAtSignal: when what was read cannot be made durable, the
