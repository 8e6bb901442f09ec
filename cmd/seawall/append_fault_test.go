//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

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
	in := numbers(100000, 199999)
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	written := make(chan int, 1)
	go func() {
		n, _ := writer.Write(in) // until the pipe is closed
		written <- n
	}()
	if _, err = io.ReadFull(acks, make([]byte, len("acked 1\n"))); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	lines, _ := io.ReadAll(acks)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	_ = writer.Close()
	left, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	// What was not read starts in the middle of a line, maybe: its beginning
	// was read, and is not appended.
	read := in[:<-written-len(left)]
	whole := read[:len(read)-len(read)%len("100000\n")]
	mustHold(t, dir, string(whole))
	if n := strings.Count(string(lines), "\n") + 1; n != len(whole)/7 {
		t.Errorf("%d acks for %d records", n, len(whole)/7)
	}
	hurried(t, stderr.String())
}

// hurried checks that a summary tells of far fewer syncs than records.
func hurried(t *testing.T, summary string) {
	t.Helper()
	m := regexp.MustCompile(`(?s)^seawall: (\d+) records appended.* (\d+) syncs?\n`).FindStringSubmatch(strings.ReplaceAll(summary, ",", ""))
	records, syncs := 0, 0
	if m != nil {
		records, _ = strconv.Atoi(m[1])
		syncs, _ = strconv.Atoi(m[2])
	}
	if records == 0 || syncs == 0 || syncs > records/2 {
		t.Errorf("%d syncs for %d records: the end took a sync a record:\n%s", syncs, records, summary)
	}
}

// waits for. Here it is a reader of the acks.
func TestAppendSecondSignal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	r := start(t, "append", dir, "--ack", "--sync", "each", small)
	fillPipe(t, r)
	r.signal(syscall.SIGINT)
	eventually(t, "the log is closed", func() bool {
		_, code := output(t, "append", "--file", "/dev/null", small, dir)
		return code == 0
	})
	r.signal(syscall.SIGINT)
	if code := r.wait(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}

// mainStuck is the program where no sync of a lock file ever ends: it does not come to
// the end of the opening of a log.
func mainStuck() {
	durabilitytest.InjectDir("/", func(c *durabilitytest.Call) error {
		if c.Op == durability.OpSync && c.Name == "seawall.lock" {
			select {}
		}
		return nil
	})
	seawall.Main()
}

// TestAppendInterruptedWhileOpening: a signal ends append at once, and what was in
// the pipe is said to be in no log.
func TestAppendInterruptedWhileOpening(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			r := start(t, "append", dir, small)
			r.write("one\ntwo\n")
			_ = r.in.Close()
			if got := r.wait(); got != 0 {
				t.Fatalf("exit code %d: %s", got, r.stderr.String())
			}
			r = startProgram(t, "seawall-stuck", "append", dir)
			r.write("three\n")
			eventually(t, "the log is being opened", func() bool { return locked(t, dir) || r.ended() })
			r.signal(sig)
			if got := r.wait(); got != code {
				t.Errorf("exit code %d, want %d", got, code)
			}
			r.said("while the log was being opened: nothing was read, and no record appended")
			mustHold(t, dir, "one\ntwo\n")
		})
	}
}

// locked reports whether a log has a writer.
func locked(t *testing.T, dir string) bool {
	t.Helper()
	out, _ := output(t, "verify", "--json", dir)
	return strings.Contains(out, `"live":true`)
}

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

// synced record by record.
func TestAppendAcksClosedEarly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, _, stderr := files(t, string(numbers(10000, 19999)))
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer func() { _ = writer.Close() }()
	if code := seawall.Run(in, writer, stderr, "append", dir, "--ack", "--sync", "each"); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	hurried(t, content(t, stderr))
	mustHold(t, dir, string(numbers(10000, 19999)))
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

// failSyncs lets each sync of a segment that holds a text fail.
func failSyncs(t *testing.T, dir, text string) {
	t.Helper()
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op != durability.OpMsync || c.Phase != durability.Before {
			return nil
		}
		segment, err := os.ReadFile(filepath.Join(dir, c.Name))
		if err == nil && bytes.Contains(segment, []byte(text)) {
			err = unix.EIO
		}
		return err
	})
}

// not, in the summary, the acks and the exit code.
func TestAppendFailedSync(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	failSyncs(t, dir, "three")
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
	if strings.Contains(said, "before: ") || strings.Count(said, "\n") > 5 {
		t.Errorf("stderr says it twice:\n%s", said)
	}
}

// exit code does not say that it was.
func TestAppendFailedSyncAtSignal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	failSyncs(t, dir, "one")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(reader.Close(), writer.Close()) }()
	if _, err = io.WriteString(writer, "one\n"); err != nil {
		t.Fatal(err)
	}
	_, out, stderr := files(t, "")
	code := make(chan int, 1)
	go func() {
		code <- seawall.Run(reader, out, stderr, "append", dir, "--sync", "manual", "--json", small)
	}()
	eventually(t, "the record is appended", func() bool {
		got, _ := output(t, "dump", dir)
		return got == "one\n"
	})
	if err = syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
	for _, want := range []string{"input/output error", "; before: terminated (SIGTERM)"} {
		if got := content(t, stderr); !strings.Contains(got, want) {
			t.Errorf("stderr does not say %q:\n%s", want, got)
		}
	}
	if got := content(t, out); !strings.Contains(got, `"last_lsn":1,"durable_lsn":0,`) {
		t.Errorf("the object does not say that nothing is durable: %s", got)
	}
}
