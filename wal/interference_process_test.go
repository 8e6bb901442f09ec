package wal_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// harmedChild is the environment variable that makes the test binary a process
// with a neighbour: "write" or "follow", a seed and the directory, separated by
// commas. It ends when its standard input does, and by no signal.
const harmedChild = "SEAWALL_TEST_HARMED"

// runHarmedChild runs such a process.
func runHarmedChild(s string) int {
	parts := strings.SplitN(s, ",", 3)
	seed, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if parts[0] == "write" {
		err = writeHarmed(ctx, parts[2], newRand(seed))
	} else {
		err = followHarmed(ctx, parts[2], func(lsn wal.LSN) { fmt.Println("other", lsn) })
	}
	if err != nil {
		fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return 0
}

// harmedRecord is the record with that LSN, in every process that appends it.
func harmedRecord(lsn wal.LSN) []byte { return record(lsn, 16+int(lsn*7919%9000)) }

// clock is the time that all processes of the machine share.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// writeHarmed does all that a writer does, and says what it holds durable: the
// records behind one LSN up to another, and when the call began that says so.
func writeHarmed(ctx context.Context, dir string, rng *rand.Rand) error {
	policies := []wal.SyncPolicy{wal.SyncManual, wal.SyncEach, wal.SyncEvery(time.Millisecond)}
	l, err := wal.Open(dir, wal.Options{
		SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1 + rng.IntN(2),
		Align: wal.Align(rng.IntN(3)), Sync: policies[rng.IntN(len(policies))],
	})
	if err != nil {
		return err
	}
	for n := 1; err == nil && ctx.Err() == nil; n++ {
		began, before := clock(), l.DurableLSN()
		switch last := l.LastLSN(); {
		case n%90 == 0:
			err = l.Checkpoint()
		case n%53 == 0 && last > l.FirstLSN()+30:
			fmt.Println("front", last-25)
			err = l.TruncateFront(last - 25)
		case n%71 == 0 && last > l.FirstLSN()+5:
			before = min(before, last-3)
			fmt.Println("back", last-3)
			err = l.TruncateBack(last - 3)
		case n%7 == 0:
			err = l.Sync()
		default:
			_, err = l.Append(harmedRecord(last + 1))
		}
		if now := l.DurableLSN(); err == nil && now > before {
			fmt.Println("durable", began, before, now)
		}
		if n == 30 {
			fmt.Println("ready")
		}
	}
	began, before := clock(), l.DurableLSN()
	cerr := l.Close()
	if cerr == nil {
		fmt.Println("durable", began, before, l.LastLSN())
	}
	return errors.Join(err, cerr)
}

// followHarmed follows a log until it ends, gets records of it and borrows them.
// It tells of those that are not what was appended.
func followHarmed(ctx context.Context, dir string, other func(wal.LSN)) error {
	o, err := wal.OpenReader(dir)
	if err != nil {
		return err
	}
	defer o.Close()
	for {
		r := o.Reader(0)
		for err == nil && r.Follow(ctx) {
			lsn := r.LSN()
			if !bytes.Equal(r.Record(), harmedRecord(lsn)) {
				other(lsn)
			}
			if lsn%8 != 0 {
				continue
			}
			p, gerr := o.Get(lsn)
			if gerr == nil && !bytes.Equal(p, harmedRecord(lsn)) {
				other(lsn)
			}
			err = lookWithoutCopy(o, lsn)
		}
		err = errors.Join(err, r.Err())
		_ = r.Close()
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, wal.ErrTruncated) {
			return err
		}
		err = nil
	}
}

// lookWithoutCopy reads a record where it lies, which may be taken away at the same
// time: that is an error, and does not kill the process.
func lookWithoutCopy(o *wal.LogReader, lsn wal.LSN) error {
	r := o.Reader(lsn).ZeroCopy()
	defer r.Close()
	if !r.Next() {
		return nil // what it says is what the copying one says, too
	}
	var fault *durability.FaultError
	err := durability.Guard(func() error { _ = bytes.Count(r.Record(), []byte{1}); return nil })
	if errors.As(err, &fault) {
		return nil
	}
	return err
}

// harmedProcess is a process with a neighbour, as its parent sees it.
type harmedProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	said  []string
	talk  bytes.Buffer // its standard error
}

// startHarmed starts one.
func startHarmed(t tester, what string, seed uint64, dir string) *harmedProcess {
	t.Helper()
	p := &harmedProcess{cmd: exec.Command(os.Args[0]), lines: make(chan string, 1<<16)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%d,%s", harmedChild, what, seed, dir))
	p.cmd.Stderr = &p.talk
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { // it has ended, unless the test failed before
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// until reads what the process says up to a word, or its end.
func (p *harmedProcess) until(word string) bool {
	for line := range p.lines {
		p.said = append(p.said, line)
		if line == word {
			return true
		}
	}
	return false
}

// end waits for its end, and returns its error where that is not a plain one.
func (p *harmedProcess) end() error {
	_ = p.in.Close()
	p.until("")
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, p.talk.String())
	}
	return nil
}

// word returns what it said behind a word.
func (p *harmedProcess) word(word string) (rest []string) {
	for _, line := range p.said {
		if s, ok := strings.CutPrefix(line, word+" "); ok {
			rest = append(rest, s)
		}
	}
	return rest
}
