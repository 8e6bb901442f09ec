//go:build linux

package kill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// errNoTrace reports that this user may not trace processes.
var errNoTrace = errors.New("ptrace is not permitted here: kills within the copy of a record are left to chance")

// mostSteps bounds the single steps: a copy takes a few hundred instructions, and
// where there is no watchpoint the way to it is some hundred, or some thousand
// where the runtime's scheduler comes in between.
const mostSteps = 20_000

// stepIntoCopy attaches to the thread that waits at its aim, and has it go on by
// single instructions until that share of the store, in thousandths, is in the
// file. Where the machine has watchpoints it runs up to its first store. The
// process is dead when it returns, or is killed by the caller.
func stepIntoCopy(p *process, b *board, share int) error {
	// ptrace is the thread's that has attached.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := int(b.at(wordHalt).Load())
	if err := seize(tid); err != nil {
		return err
	}
	defer reap(p, tid)
	view, err := mapStore(p.cmd.Process.Pid, b)
	if errors.Is(err, fs.ErrNotExist) {
		b.at(wordHit).Store(0) // the file was renamed since: a blind kill
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(view.all) }() // read-only
	target := max(1, min(len(view.store)*share/1000, len(view.store)-storeZeros))
	watched := !watchDeaf.Load() && watch(tid, view.address) == nil
	a := newAlarm(p.cmd.Process.Pid, tid)
	defer a.stop()
	b.at(wordGo).Store(1)
	for step := 0; step < mostSteps && a.rung() < mostAlarms; step++ {
		// Signals, as of the runtime's preemption, are not delivered.
		run, rung := watched && present(view.store) == 0, a.rung()
		if run {
			err = unix.PtraceCont(tid, 0)
		} else {
			err = unix.PtraceSingleStep(tid)
		}
		if err != nil {
			return fmt.Errorf("kill: single step: %w", err)
		}
		gone, err := awaitStop(tid)
		if err != nil || gone {
			return err
		}
		a.steps.Add(1)
		stored := present(view.store)
		if run && a.rung() > rung && stored > 0 {
			// It has stored, and was not stopped at it. This kill is not within the
			// copy, and the next ones go by single steps.
			watchDeaf.Store(true)
		}
		if stored >= target {
			return nil
		}
	}
	return nil
}

// watchDeaf is set once a watchpoint was passed without a stop: there are virtual
// machines where debug registers take values, and nothing comes of it.
var watchDeaf atomic.Bool

// alarm stops a thread that makes no step: one that sleeps in the kernel, or that
// has passed a watchpoint which does not work. Most steps take microseconds, and
// the tracer waits for each without an end of its own.
type alarm struct {
	pid, tid    int
	steps, rang atomic.Int64
	quit, ended chan struct{}
}

// alarmEvery is how long a thread may take for a step, at most twice.
const alarmEvery = 20 * time.Millisecond

// mostAlarms bounds the steps that did not end by themselves.
const mostAlarms = 50

// newAlarm begins to watch a traced thread.
func newAlarm(pid, tid int) *alarm {
	a := &alarm{pid: pid, tid: tid, quit: make(chan struct{}), ended: make(chan struct{})}
	go a.run()
	return a
}

// run sends a signal when the thread has made no step since the last tick: the signal
// stops it, so that the tracer gets control again. It is one that the Go runtime takes
// for a hint, should it ever see it. A thread that was about to stop anyway has the
// signal pending, and stops once more.
func (a *alarm) run() {
	defer close(a.ended)
	ticker := time.NewTicker(alarmEvery)
	defer ticker.Stop()
	for last := int64(-1); ; {
		select {
		case <-a.quit:
			return
		case <-ticker.C:
			now := a.steps.Load()
			if now == last {
				a.rang.Add(1)
				_ = unix.Tgkill(a.pid, a.tid, unix.SIGURG) // it may be dead by now
			}
			last = now
		}
	}
}

// rung is how often it has rung.
func (a *alarm) rung() int64 { return a.rang.Load() }

// stop ends it: no signal is sent any more.
func (a *alarm) stop() {
	close(a.quit)
	<-a.ended
}

// storeZeros is how many bytes of a record may be zero: its header's, and those
// of its number.
const storeZeros = 32

// present counts the bytes of a store that are in the file: it was zero before.
func present(b []byte) int { return len(b) - bytes.Count(b, []byte{0}) }

// seize attaches to a thread, and stops it.
func seize(tid int) error {
	err := unix.PtraceSeize(tid)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
		return errNoTrace
	}
	if err == nil {
		err = unix.PtraceInterrupt(tid)
	}
	if err == nil {
		_, err = awaitStop(tid)
	}
	if err != nil {
		return fmt.Errorf("kill: attach to a thread: %w", err)
	}
	return nil
}

// awaitStop waits until a thread has stopped, and reports whether it is gone
// instead.
func awaitStop(tid int) (gone bool, err error) {
	for {
		var status unix.WaitStatus
		_, err = unix.Wait4(tid, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && !status.Stopped(), err
	}
}

// reap kills the process and takes the traced thread's end, without which the
// process's own would not be told. Its first thread is left to cmd.Wait.
func reap(p *process, tid int) {
	_ = killGroup(p.cmd) // the caller kills it again, and says so
	if tid == p.cmd.Process.Pid {
		return
	}
	for {
		if gone, err := awaitStop(tid); gone || err != nil {
			return
		}
	}
}

// storeView is the part of a file that a thread is about to store to, and the
// address that the thread has it at.
type storeView struct {
	all, store []byte
	address    uintptr
}

// mapStore maps it.
func mapStore(pid int, b *board) (*storeView, error) {
	off, n := int64(b.at(wordStore).Load()), int64(b.at(wordBytes).Load())
	file, err := os.Open(b.text())
	if err != nil {
		return nil, fmt.Errorf("kill: find the store: %w", err)
	}
	page := int64(os.Getpagesize())
	from := off &^ (page - 1)
	all, err := unix.Mmap(int(file.Fd()), from, int(off+n-from), unix.PROT_READ, unix.MAP_SHARED)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("kill: find the store: %w", err)
	}
	v := &storeView{all: all, store: all[off-from : off-from+n]}
	if v.address, err = addressOf(pid, b.text(), off); err != nil {
		return nil, errors.Join(err, unix.Munmap(all))
	}
	return v, nil
}

// addressOf returns where a process has mapped that offset of a file, from its
// beginning on, for writing.
func addressOf(pid int, name string, off int64) (uintptr, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, fmt.Errorf("kill: find the store: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[5] != name || !strings.HasPrefix(fields[1], "rw") {
			continue
		}
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err == nil && from+uintptr(off) < to {
			return from + uintptr(off), nil
		}
	}
	return 0, fmt.Errorf("kill: find the store: process %d has not mapped %s: %w", pid, name, fs.ErrNotExist)
}

// MayTrace returns nil if this process may step through its children by ptrace, which
// kills within the copy of a record need. It starts one, and ends it.
func MayTrace() (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := child.Command(context.Background(), "/bin/sh", "-c", "read line")
	in, err := cmd.StdinPipe() // nothing comes of it
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("kill: start a child: %w", err)
	}
	err = seize(cmd.Process.Pid)
	err = errors.Join(err, killGroup(cmd), in.Close())
	_ = cmd.Wait() // it was killed
	return err
}
