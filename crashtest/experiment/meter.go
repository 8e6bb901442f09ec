//go:build linux

package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a piece of work cost the thread that did it.
type Usage struct {
	MinorFaults  int64   `json:"minor_faults"`
	MajorFaults  int64   `json:"major_faults"`
	ReadBytes    int64   `json:"read_bytes"`    // asked of the device
	DirtiedBytes int64   `json:"dirtied_bytes"` // of the page cache: what the device will have to take
	Seconds      float64 `json:"seconds"`

	// ReclaimedPages is what the kernel reclaimed and moved during the measurement, of all
	// processes: where it is not 0, pages of the experiment may be among it.
	ReclaimedPages int64 `json:"reclaimed_pages"`
}

// plus returns the cost of two pieces of work.
func (u Usage) plus(v Usage) Usage {
	return Usage{
		MinorFaults:    u.MinorFaults + v.MinorFaults,
		MajorFaults:    u.MajorFaults + v.MajorFaults,
		ReadBytes:      u.ReadBytes + v.ReadBytes,
		DirtiedBytes:   u.DirtiedBytes + v.DirtiedBytes,
		Seconds:        u.Seconds + v.Seconds,
		ReclaimedPages: u.ReclaimedPages + v.ReclaimedPages,
	}
}

// metered does work and returns what it cost. The counters are the thread's own,
// so that neither the runtime nor other goroutines are in them. The work is done
// in the calling goroutine.
//
// The thread takes no signals during that, neither SIGURG, which the runtime sends
// to preempt a goroutine, nor those for the process, such as SIGCHLD: a signal ends
// the wait of a major fault, and the page is then found by a second, minor one.
func metered(work func() error) (u Usage, err error) {
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
		return Usage{}, os.NewSyscallError("sigmask", err)
	}
	defer func() {
		unmasked := unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
		err = errors.Join(err, os.NewSyscallError("sigmask", unmasked))
	}()
	before, err := threadUsage()
	if err != nil {
		return Usage{}, err
	}
	begin := time.Now()
	if err = work(); err != nil {
		return Usage{}, err
	}
	took := time.Since(begin)
	after, err := threadUsage()
	return Usage{
		MinorFaults:    after.MinorFaults - before.MinorFaults,
		MajorFaults:    after.MajorFaults - before.MajorFaults,
		ReadBytes:      after.ReadBytes - before.ReadBytes,
		DirtiedBytes:   after.DirtiedBytes - before.DirtiedBytes,
		Seconds:        took.Seconds(),
		ReclaimedPages: after.ReclaimedPages - before.ReclaimedPages,
	}, err
}

// reclaimedPages returns how many pages the kernel has reclaimed, read again
// because it had reclaimed them, moved, or dropped because a process told it to, for
// everybody since it started; 0 where it does not tell.
func reclaimedPages() int64 {
	text, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	sum := int64(0)
	for line := range bytes.Lines(text) {
		name, number, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		switch string(name) {
		case "pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive",
			"workingset_refault_file", "pgmigrate_success", "drop_pagecache": // the last one counts calls
			n, _ := strconv.ParseInt(string(number), 10, 64) // 0 where it is no number
			sum += n
		}
	}
	return sum
}

// threadUsage returns the calling thread's counters, and what was reclaimed.
func threadUsage() (Usage, error) {
	text, err := os.ReadFile("/proc/thread-self/io")
	if err != nil {
		return Usage{}, cannot("the kernel does not count the bytes of a thread: %v", err)
	}
	u := Usage{ReclaimedPages: reclaimedPages()}
	for name, field := range map[string]*int64{"read_bytes: ": &u.ReadBytes, "write_bytes: ": &u.DirtiedBytes} {
		_, rest, found := bytes.Cut(text, []byte("\n"+name))
		number, _, _ := bytes.Cut(rest, []byte("\n"))
		if !found {
			return Usage{}, cannot("/proc/thread-self/io has no line %q", name)
		}
		if *field, err = strconv.ParseInt(string(number), 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/thread-self/io: %w", err)
		}
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		return Usage{}, os.NewSyscallError("getrusage", err)
	}
	u.MinorFaults, u.MajorFaults = int64(r.Minflt), int64(r.Majflt) //nolint:unconvert // int32 on some machines
	return u, nil
}

// timeText returns a duration for a table.
func timeText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
