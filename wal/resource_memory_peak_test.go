package wal_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

const (
	// peakSegment is the size of a segment that does not fit into peakLimit, which
	// is what reading a log may take in memory.
	peakSegment = 96 << 20
	peakLimit   = 64 << 20
	// peakRecord is the size of one record in it, peakRecords the number of others.
	peakRecord  = 80 << 20
	peakRecords = 3000
	peakBytes   = 60 << 10
)

// TestMemoryPeak reads, opens, cuts and repairs a log of large segments of which no
// byte is known to be durable: what that takes in memory does not depend on their
// size.
func TestMemoryPeak(t *testing.T) { tryLimited(t, "memory") }

// peakWriter is the child of littleMemory. It appends and is killed.
func peakWriter(dir string) error {
	l, err := wal.Open(dir, wal.Options{SegmentBytes: peakSegment, SegmentsAhead: 1})
	if err != nil {
		return err
	}
	if err = moreOf(l, peakRecords/2, peakBytes); err != nil {
		return err
	}
	if _, err = l.Append(make([]byte, peakRecord)); err != nil {
		return err
	}
	if err = moreOf(l, peakRecords/2, peakBytes); err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}

// statusBytes returns a number of bytes of /proc/self/status.
func statusBytes(key string) (n int64, err error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			_, err = fmt.Sscanf(rest, "%d kB", &n)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/self/status", key)
}

// peakOf returns how much more memory the process had during do than before.
func peakOf(do func() error) (peak int64, err error) {
	if err = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, err
	}
	before, err := statusBytes("VmRSS")
	if err == nil {
		err = do()
	}
	if err != nil {
		return 0, err
	}
	peak, err = statusBytes("VmHWM")
	return peak - before, err
}

// littleMemory is the child of TestMemoryPeak.
func littleMemory(dir string) error {
	cmd := exec.Command(thisProgram)
	cmd.Env = append(os.Environ(), limitedChild+"=peak writer,"+dir)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL { //nolint:forcetypeassert // on Linux it is one
		return fmt.Errorf("the writer: %w, %s", err, out)
	}
	var errs []error
	for _, step := range []struct {
		what  string
		limit int64
		do    func() error
	}{
		{"verify", peakLimit, func() error { return second(wal.Verify(dir)) }},
		{"verify of the device", peakLimit, func() error { return second(wal.VerifyWith(dir, wal.VerifyOptions{Device: true})) }},
		{"dump, which hands out mapped records", peakLimit + peakRecord, func() error {
			return second(wal.Dump(dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil }))
		}},
		{"open for reading", peakLimit, func() error { return openForReading(dir) }},
		{"open", peakLimit, func() error { return openAndClose(dir, nil) }},
		{"truncate", peakLimit, func() error { return openAndClose(dir, func(l *wal.Log) error { return l.TruncateFront(10) }) }},
		{"repair by force", peakLimit, func() error { return repairDamage(dir) }},
	} {
		peak, err := peakOf(step.do)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", step.what, err))
		case peak > step.limit:
			errs = append(errs, fmt.Errorf("%s: took %d bytes, more than %d", step.what, peak, step.limit))
		}
		if os.Getenv("SEAWALL_TEST_PEAKS") != "" {
			fmt.Fprintf(os.Stderr, "%s: %d KiB\n", step.what, peak>>10)
		}
	}
	return errors.Join(errs...)
}

// openForReading opens the log for reading, and looks where it ends.
func openForReading(dir string) error {
	r, err := wal.OpenReader(dir)
	if err != nil {
		return err
	}
	if last := r.LastLSN(); last != peakRecords+1 {
		err = fmt.Errorf("the log ends at LSN %d", last)
	}
	return errors.Join(err, r.Close())
}

// openAndClose opens the log for writing, and closes it.
func openAndClose(dir string, do func(*wal.Log) error) error {
	l, err := wal.Open(dir, wal.Options{SegmentBytes: peakSegment, SegmentsAhead: 1, MustExist: true})
	if err != nil {
		return err
	}
	if last := l.LastLSN(); last != peakRecords+1 {
		err = fmt.Errorf("the log ends at LSN %d", last)
	}
	if do != nil {
		err = errors.Join(err, do(l))
	}
	return errors.Join(err, l.Close())
}

// repairDamage flips a byte in the middle of the first segment that is left, and cuts
// the log there.
func repairDamage(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], 3<<20)
	b[0]++
	if err == nil {
		_, err = f.WriteAt(b[:], 3<<20)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	rep, err := wal.Repair(dir, wal.RepairOptions{Force: true})
	if err == nil && (!rep.Trimmed || len(rep.Saved) == 0) {
		err = fmt.Errorf("repaired: %+v", rep)
	}
	return err
}
