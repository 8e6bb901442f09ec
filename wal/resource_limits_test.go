package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// limitedChild is the variable that makes the test binary a process that lowers
// its own limits: what it tries and the directory, separated by a comma.
const limitedChild = "SEAWALL_TEST_LIMITED"

// limitedTrials are what it tries.
var limitedTrials = map[string]func(dir string) error{
	"descriptors":   fewDescriptors,
	"address space": littleAddressSpace,
	"permissions":   takenPermissions,
	"names":         takenWhileNaming,
	"direct reads":  openWithoutADescriptor,
	"map":           mapWhole,
	"memory":        littleMemory,
	"peak writer":   peakWriter,
	"segments":      manySegments,
}

// runLimited tries it, and says what was not as it has to be.
func runLimited(s string) int {
	what, dir, _ := strings.Cut(s, ",")
	// The first timer makes the Go runtime open descriptors for its poller, and it
	// ends the process where it gets none: no package can make an error of that.
	time.Sleep(time.Nanosecond)
	if err := limitedTrials[what](dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// tryLimited tries it in a process of its own, as a user who owns the directory
// and nothing else where the test's own user is root, who may do everything.
func tryLimited(t *testing.T, what string) {
	t.Helper()
	root := fastDir(t)
	dir := filepath.Join(root, "log")
	cmd := exec.Command(thisProgram)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := os.Chown(root, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(os.Environ(), limitedChild+"="+what+","+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.4000s", err, out)
	}
	if rep, err := wal.Verify(dir); err != nil || rep.Verdict != wal.Clean {
		t.Errorf("verify: %+v, %v", rep, err)
	}
}

// thisProgram leads every user to the test binary, wherever it lies: only its
// own permissions count. A copy would at times be busy: a child that is being
// forked for another test holds the descriptor that it was written through.
const thisProgram = "/proc/self/exe"

// TestLimits reaches the limits of descriptors and of address space at every
// step: the error names the file and says what to raise, nothing is lost, and the
// log goes on once the limit is raised. The race detector reserves memory of its
// own as the heap grows, and ends the process where it gets none.
func TestLimits(t *testing.T) {
	t.Parallel()
	trials := []string{"descriptors"}
	if !raceDetector {
		trials = append(trials, "address space")
	}
	for _, what := range trials {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tryLimited(t, what)
		})
	}
}

// limit sets a soft limit, and returns what sets it back.
func limit(resource int, n uint64) (lift func(), err error) {
	var old unix.Rlimit
	if err = unix.Getrlimit(resource, &old); err != nil {
		return nil, err
	}
	low := unix.Rlimit{Cur: n, Max: old.Max}
	return func() { _ = unix.Setrlimit(resource, &old) }, unix.Setrlimit(resource, &low)
}

// wantLimit returns an error unless one is of that kind, and says all words.
func wantLimit(what string, err, errno error, words ...string) error {
	if !errors.Is(err, errno) || errors.Is(err, wal.ErrPoisoned) || errors.Is(err, wal.ErrCorrupt) {
		return fmt.Errorf("%s at the limit: %w", what, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			return fmt.Errorf("%s at the limit: the error does not say %q: %w", what, w, err)
		}
	}
	return nil
}

// limited runs fn with so many descriptors more than now.
func limited(more int, fn func() error) error {
	next, err := unix.Dup(0)
	if err != nil {
		return err
	}
	if err = unix.Close(next); err != nil {
		return err
	}
	lift, err := limit(unix.RLIMIT_NOFILE, uint64(next+more))
	if err != nil {
		return err
	}
	defer lift()
	return fn()
}

// mostDescriptors is more than any step takes.
const mostDescriptors = 100

// untilEnough runs fn with ever more descriptors until it has enough. What it
// returns before has to name where, and what to do.
func untilEnough(what, where string, fn func() error) error {
	for more := range mostDescriptors {
		err := limited(more, fn)
		switch {
		case err == nil && more == 0:
			return fmt.Errorf("%s took no descriptor", what)
		case err == nil:
			return nil
		}
		if err = wantLimit(what, err, unix.EMFILE, where, "ulimit -n"); err != nil {
			return fmt.Errorf("%d descriptors more: %w", more, err)
		}
	}
	return fmt.Errorf("%s: %d descriptors are not enough", what, mostDescriptors)
}

// fewDescriptors reaches the limit of descriptors at birth, at each rotation, and
// in all that reads.
func fewDescriptors(dir string) error {
	var l *wal.Log
	parent := filepath.Dir(dir) // is opened before it
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	err := untilEnough("birth", parent, func() (err error) {
		l, err = wal.Open(dir, small())
		return err
	})
	if err != nil {
		return err
	}
	// Nothing is prepared yet; then some segments are, with the few that are left.
	for more := range 5 {
		if err = limited(more, func() error { return appendToLimit(l, unix.EMFILE, "ulimit -n") }); err != nil {
			return err
		}
		if err = appendSome(l, 100, 500); err != nil {
			return fmt.Errorf("the limit was lifted: %w", err)
		}
	}
	last := l.LastLSN()
	if err = errors.Join(l.Sync(), l.Close()); err != nil {
		return err
	}
	return errors.Join(
		untilEnough("open and get", parent, func() error { return readAllOf(wal.Open(dir, small())) }),
		untilEnough("verify", parent, func() error { return second(wal.Verify(dir)) }),
		untilEnough("dump", parent, func() error {
			return second(wal.Dump(dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil }))
		}),
		untilEnough("open reader", parent, func() error { return followAllOf(dir, last) }),
	)
}

// appendSome appends records of that size.
func appendSome(l *wal.Log, n, size int) error {
	for range n {
		if _, err := l.Append(record(l.LastLSN()+1, size)); err != nil {
			return err
		}
	}
	return nil
}

// appendToLimit appends until no segment can be prepared, syncs and reads what
// there is, and finds that the log is as it was.
func appendToLimit(l *wal.Log, errno error, words ...string) error {
	for n := 0; ; n++ {
		last := l.LastLSN()
		err := appendSome(l, 1, 500)
		if err == nil && n > 10_000 {
			return errors.New("the limit is never reached")
		}
		if err == nil {
			continue
		}
		if err = wantLimit("append", err, errno, append(words, ".tmp")...); err != nil {
			return err
		}
		if l.LastLSN() != last {
			return fmt.Errorf("%d records behind an append that failed, %d before", l.LastLSN(), last)
		}
		if err = l.Sync(); err != nil || l.DurableLSN() != last {
			return fmt.Errorf("sync at the limit: %d of %d, %w", l.DurableLSN(), last, err)
		}
		return nil
	}
}

// readAllOf gets every record of a log that was just opened, and closes it. What
// fails once, for a limit, goes well with more.
func readAllOf(l *wal.Log, err error) error {
	if err != nil {
		return err
	}
	for lsn := l.FirstLSN(); err == nil && lsn <= l.LastLSN(); lsn += 20 {
		var p []byte
		if p, err = l.Get(lsn); err == nil && !bytes.Equal(p, record(lsn, 500)) {
			err = fmt.Errorf("record %d differs", lsn)
		}
	}
	return errors.Join(err, l.Close())
}

// followAllOf follows a log to its end.
func followAllOf(dir string, last wal.LSN) error {
	o, err := wal.OpenReader(dir)
	if err != nil {
		return err
	}
	r := o.Reader(0)
	for r.LSN() < last && r.Follow(context.Background()) {
	}
	return errors.Join(r.Close(), o.Close())
}

// largeSegment and largeRecord are of a log whose segments are larger than the
// address space that is left, which the Go runtime can still live with.
const (
	largeSegment = 32 << 20
	largeRecord  = 1 << 20
	spaceLeft    = 20 << 20
	heapBytes    = 256 << 20 // untouched
)

// littleAddressSpace reaches the limit of address space at Open, at preparation,
// and at Get.
func littleAddressSpace(dir string) error {
	o := wal.Options{SegmentBytes: largeSegment, SegmentsAhead: 1}
	// The Go runtime ends the process where its heap cannot grow: it grows now, and
	// is empty again.
	runtime.KeepAlive(make([]byte, heapBytes))
	runtime.GC()
	starved := func(fn func() error) error {
		var total uint64
		statm, err := os.ReadFile("/proc/self/statm")
		if err == nil {
			_, err = fmt.Sscan(string(statm), &total)
		}
		if err != nil {
			return err
		}
		lift, err := limit(unix.RLIMIT_AS, total*uint64(os.Getpagesize())+spaceLeft)
		if err != nil {
			return err
		}
		defer lift()
		return fn()
	}
	open := func(step string) error {
		l, err := wal.Open(dir, o)
		if err == nil {
			err = errors.Join(errors.New("opened without address space"), l.Close())
		}
		return wantLimit("open", err, unix.ENOMEM, dir, step, "ulimit -v")
	}
	if err := starved(func() error { return open("map") }); err != nil {
		return err
	}
	l, err := wal.Open(dir, o)
	if err != nil {
		return fmt.Errorf("birth when the limit was lifted: %w", err)
	}
	grow := func() (err error) {
		for n := 0; err == nil && n < 4*largeSegment/largeRecord; n++ {
			err = appendSome(l, 1, largeRecord)
		}
		return wantLimit("append", err, unix.ENOMEM, ".tmp", "ulimit -v")
	}
	if err = starved(grow); err != nil {
		return err
	}
	if err = appendSome(l, 2*largeSegment/largeRecord, largeRecord); err != nil {
		return fmt.Errorf("append when the limit was lifted: %w", err)
	}
	if err = l.Sync(); err != nil { // which gives up the mappings of full segments
		return err
	}
	get := func() error { return second(l.Get(1)) }
	if err = starved(func() error { return wantLimit("get", get(), unix.ENOMEM, ".wal", "ulimit -v") }); err != nil {
		return err
	}
	if err = errors.Join(get(), l.Close()); err != nil {
		return fmt.Errorf("get when the limit was lifted: %w", err)
	}
	if err = starved(func() error {
		device := second(wal.VerifyWith(dir, wal.VerifyOptions{Device: true}))
		return errors.Join(
			open("load"),
			wantLimit("verify", second(wal.Verify(dir)), unix.ENOMEM, dir, "ulimit -v"),
			wantLimit("verify of the device", device, unix.ENOMEM, dir, "load", "ulimit -v"),
		)
	}); err != nil {
		return err
	}
	if l, err = wal.Open(dir, o); err != nil {
		return fmt.Errorf("open when the limit was lifted: %w", err)
	}
	return l.Close()
}
