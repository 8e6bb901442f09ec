//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
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
// the log, whole, though each record takes a sync.
func TestAppendSignalTakesAllThatWasRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("seawall", "append", dir, "--sync", "each", "--ack", small)
	var stderr lockedBuffer
	cmd.Stdin, cmd.Stderr = reader, &stderr
	acks, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in := numbers(10000, 19999)
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = writer.Write(in) }()
	if _, err = io.ReadFull(acks, make([]byte, len("acked 1\n"))); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	begin := time.Now()
	lines, _ := io.ReadAll(acks)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	t.Logf("it took %v", time.Since(begin))
	_ = writer.Close()
	left, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	// What was not read starts in the middle of a line, maybe: its beginning
	// was read, and is not appended.
	read := in[:len(in)-len(left)]
	whole := read[:len(read)-len(read)%len("10000\n")]
	mustHold(t, dir, string(whole))
	if n := strings.Count(string(lines), "\n") + 1; n != len(whole)/6 {
		t.Errorf("%d acks for %d records", n, len(whole)/6)
	}
}

// TestAppendSecondSignal: a second signal ends the command at once, whatever it
// waits for. Here it is somebody who reads the acks.
func TestAppendSecondSignal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--ack", "--sync", "each", small)
	fillPipe(t, r)
	r.signal(syscall.SIGINT)
	eventually(t, "the log is closed", func() bool {
		_, code := output(t, "append", "--file", "/dev/null", small, dir)
		return code == 0
	})
	begin := time.Now()
	r.signal(syscall.SIGINT)
	if code := r.wait(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// fillPipe writes records until the acks, which nobody reads, fill their pipe,
// and then more: they are appended all the same.
func fillPipe(t *testing.T, r *running) {
	t.Helper()
	if f, ok := r.closer.(*os.File); ok {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
			t.Fatal(err)
		}
	}
	r.write(string(numbers(1, 2000)))
	dir := r.cmd.Args[2]
	eventually(t, "all records are appended, though nobody reads the acks", func() bool {
		_, n := verdict(t, dir)
		return n == 2000
	})
}

// TestAppendAcksNotRead: acks that nobody reads hold up neither the log nor the
// end after a signal.
func TestAppendAcksNotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--ack", "--sync", "each", small)
	fillPipe(t, r)
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
	r.said("2,000 records appended: LSN 1 to 2000, durable\n")
	r.said("were not read")
	mustHold(t, dir, string(numbers(1, 2000)))
}

// TestAppendAcksClosed: when nobody can read the acks any more, what was read
// is made durable, and the exit code says that it was not all.
func TestAppendAcksClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--ack", "--sync", "each", small)
	r.write("one\n")
	if got := r.ack(); got != 1 {
		t.Fatalf("acked %d, want 1", got)
	}
	_ = r.closer.Close()
	r.write("two\nthree\n")
	if code := r.wait(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	r.said("durable\n")
	r.said("seawall: nobody reads the acks any more; the last one was for LSN 1\n")
	_, n := verdict(t, dir)
	mustHold(t, dir, []string{"", "one\n", "one\ntwo\n", "one\ntwo\nthree\n"}[n])
	if n < 2 {
		t.Errorf("%d records, want what was read", n)
	}
}

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

// TestAppendLocked: a second writer is refused, and told why.
func TestAppendLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--ack", "--sync", "each", small)
	r.write("one\n")
	r.ack()
	for _, args := range [][]string{{"append", "--file", "/dev/null", small, dir}, {"repair", dir}} {
		second := start(t, args...)
		if code := second.wait(); code != 3 {
			t.Errorf("%v: exit code %d, want 3", args, code)
		}
		second.said("locked by another writer")
	}
	out, code := output(t, "verify", dir)
	if code != 0 || !strings.Contains(out, "\nwriter    a process has the log open") {
		t.Errorf("verify of a live log: exit code %d\n%s", code, out)
	}
}

// TestAppendFailedSync: after a failed sync nothing is called durable that is
// not, in the summary, the acks and the exit code.
func TestAppendFailedSync(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op != durability.OpMsync || c.Phase != durability.Before {
			return nil
		}
		segment, err := os.ReadFile(filepath.Join(dir, c.Name))
		if err == nil && bytes.Contains(segment, []byte("three")) {
			err = unix.EIO
		}
		return err
	})
	in, out, stderr := files(t, "one\ntwo\nthree\nfour\n")
	code := seawall.Run(in, out, stderr, "append", dir, "--sync", "each", "--ack", small)
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	said, acks := content(t, stderr), content(t, out)
	if want := "acked 1\nacked 2\n"; acks != want {
		t.Errorf("acks %q, want %q", acks, want)
	}
	for _, want := range []string{"durable up to LSN 2 only", "line 3 of the input: ", "input/output error"} {
		if !strings.Contains(said, want) {
			t.Errorf("stderr does not say %q:\n%s", want, said)
		}
	}
}
