//go:build linux

package intercept

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Answer is what becomes of a call.
type Answer struct {
	Skip  bool       // it is not made: the program gets what follows
	Value int64      // what it returns
	Errno unix.Errno // what it fails with
}

// Handler decides what becomes of a call. It is called by a goroutine for each call, while the
// thread that makes it waits.
type Handler func(*Call) Answer

// Watch hears of the calls of a program.
type Watch struct {
	fd      int
	handler Handler
	release chan struct{} // closed when the thread that has started the program may end
	over    *os.File      // closed at the end: the listener is asked no more
	done    chan struct{} // closed when nothing is heard any more
	calls   sync.WaitGroup

	mu  sync.Mutex
	err error
}

// Start starts a command, and has the handler answer its calls of these kinds. Close ends it, when
// the command has ended.
func Start(cmd *exec.Cmd, ops []Op, h Handler) (*Watch, error) {
	w := &Watch{fd: -1, handler: h, release: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The filter stays with the thread: it is never unlocked, and so ends with the
		// goroutine. It lives as long as the program, which is killed when its parent,
		// the thread, ends.
		runtime.LockOSThread()
		started <- w.start(cmd, ops)
		<-w.release
	}()
	if err := <-started; err != nil {
		close(w.release)
		return nil, errors.Join(err, w.end())
	}
	return w, nil
}

// start installs the filter and starts the command.
func (w *Watch) start(cmd *exec.Cmd, ops []Op) error {
	out, over, err := os.Pipe()
	if err != nil {
		return err
	}
	w.over = over
	if w.fd, err = listen(filter(ops)); err != nil {
		close(w.done)
		return errors.Join(err, out.Close())
	}
	go w.hear(out)
	return cmd.Start()
}

// Close ends the watch. Calls that are made later, by what the command has left behind, fail
// with ENOSYS.
func (w *Watch) Close() error {
	close(w.release)
	return w.end()
}

// end stops hearing.
func (w *Watch) end() error {
	if w.over == nil {
		return nil
	}
	err := w.over.Close()
	<-w.done
	w.calls.Wait()
	if w.fd >= 0 {
		err = errors.Join(err, unix.Close(w.fd))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(err, w.err)
}

// notification is struct seccomp_notif, response struct seccomp_notif_resp (linux/seccomp.h).
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// hear has each call answered, until the end.
func (w *Watch) hear(out *os.File) {
	defer close(w.done)
	defer func() { _ = out.Close() }() // nothing was written
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(out.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			w.failed(os.NewSyscallError("poll", err))
			return
		}
		if fds[1].Revents != 0 || fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return // over, or nobody is left who has the filter
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notification
		switch err := ioctl(w.fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR): // the thread was killed meanwhile
			continue
		case err != nil:
			w.failed(os.NewSyscallError("seccomp notification", err))
			return
		}
		w.calls.Go(func() { w.answer(&n) })
	}
}

// answer asks the handler, and tells the kernel.
func (w *Watch) answer(n *notification) {
	a := w.handler(&Call{Op: calls[uintptr(n.nr)], Nr: uintptr(n.nr), Args: n.args, Thread: int(n.pid)})
	r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if a.Skip {
		r = response{id: n.id, value: a.Value, errno: -int32(a.Errno)}
		if a.Errno != 0 {
			r.value = 0
		}
	}
	if err := ioctl(w.fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != nil && !errors.Is(err, unix.ENOENT) {
		w.failed(os.NewSyscallError("seccomp answer", err))
	}
}

// failed notes an error of the watch itself.
func (w *Watch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, fmt.Errorf("intercept: %w", err))
}

// ioctl is ioctl(2) with a pointer, again after a signal's interruption.
func ioctl(fd int, request uintptr, p unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}
