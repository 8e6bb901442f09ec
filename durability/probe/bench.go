package probe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// bench is what a measurement works with. What it opens is closed when it ends.
type bench struct {
	ctx    context.Context
	begin  time.Time
	budget time.Duration // after which no more samples are taken than one of each
	bound  time.Duration // after which ctx ends
	dir    *durability.Dir
	probed *durability.Dir
	device *device
	onEnd  []func() error
}

// later has fn called at the end, the last one first.
func (b *bench) later(fn func() error) { b.onEnd = append(b.onEnd, fn) }

// close ends what was opened, and removes the files.
func (b *bench) close() error {
	var errs []error
	for _, fn := range slices.Backward(b.onEnd) {
		errs = append(errs, fn())
	}
	return errors.Join(errs...)
}

// over reports whether there are samples enough: so large a share of the time for them
// is over.
func (b *bench) over(share float64) bool {
	return b.ctx.Err() != nil || time.Since(b.begin) > time.Duration(share*float64(b.budget))
}

// late reports whether so large a share of all the time is over: nothing more is begun.
func (b *bench) late(share float64) bool {
	return b.ctx.Err() != nil || time.Since(b.begin) > time.Duration(share*float64(b.bound))
}

// create creates an empty file that is closed and removed at the end.
func (b *bench) create(name string) (*durability.File, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	f, err := b.dir.Create(name, 0o600)
	if err == nil {
		b.later(func() error { return errors.Join(f.Close(), b.dir.Remove(f.Name())) })
	}
	return f, err
}

// filled creates a file of zeros with blocks behind them, written by fill bytes each
// and synced.
func (b *bench) filled(name string, size, fill int64) (*durability.File, error) {
	f, err := b.create(name)
	if err != nil {
		return nil, err
	}
	err = f.Allocate(size, durability.AllocateOptions{FillBytes: int(fill), Cancel: func() bool { return b.ctx.Err() != nil }})
	if err != nil {
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
		return nil, err
	}
	return f, f.Sync()
}

// mapped maps a file for writing until the end.
func (b *bench) mapped(f *durability.File, size int64) (*durability.Mapping, error) {
	m, err := f.Map(size, true)
	if err == nil {
		b.later(m.Unmap)
	}
	return m, err
}

// usage is what a piece of work cost the thread that did it.
type usage struct {
	minor, major int64
	dirtied      int64 // bytes, Unknown where the kernel does not count them
	seconds      float64
}

// metered does work and returns what it cost. As in the experiments, the thread takes
// no signals meanwhile: one would end the wait of a major fault, and the page is then
// found by a second, minor one.
func metered(work func() error) (u usage, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, was unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	for _, own := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS} {
		all.Val[0] &^= 1 << (own - 1) // what the work itself raises
	}
	if err = unix.PthreadSigmask(unix.SIG_BLOCK, &all, &was); err != nil {
		return usage{}, os.NewSyscallError("sigmask", err)
	}
	defer func() {
		unmasked := unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
		err = errors.Join(err, os.NewSyscallError("sigmask", unmasked))
	}()
	before, err := threadUsage()
	if err != nil {
		return usage{}, err
	}
	begin := time.Now()
	err = work()
	u.seconds = time.Since(begin).Seconds()
	if err != nil {
		return usage{}, err
	}
	after, err := threadUsage()
	u.minor, u.major, u.dirtied = after.minor-before.minor, after.major-before.major, Unknown
	if before.dirtied >= 0 && after.dirtied >= 0 {
		u.dirtied = after.dirtied - before.dirtied
	}
	return u, err
}

// threadUsage returns the calling thread's counters.
func threadUsage() (usage, error) {
	u := usage{dirtied: Unknown}
	if text, err := os.ReadFile("/proc/thread-self/io"); err == nil {
		_, rest, _ := bytes.Cut(text, []byte("\nwrite_bytes: "))
		number, _, _ := bytes.Cut(rest, []byte("\n"))
		if n, err := strconv.ParseInt(string(number), 10, 64); err == nil {
			u.dirtied = n
		}
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		return usage{}, os.NewSyscallError("getrusage", err)
	}
	u.minor, u.major = int64(r.Minflt), int64(r.Majflt) //nolint:unconvert // int32 on some machines
	return u, nil
}

// median returns the middle of the numbers, which it sorts; Unknown where there are
// none, or where the kernel does not tell most of them.
func median(n []int64) int64 {
	if len(n) == 0 {
		return Unknown
	}
	slices.Sort(n)
	return n[len(n)/2]
}

// quantile returns what a share of the numbers is not above; they are sorted.
func quantile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}
