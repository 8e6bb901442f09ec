//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// inputChunk is how much one read asks for: enough that reads are few
	// beside the records, small enough for the processor's cache.
	inputChunk = 256 << 10
	// stopPatience is how long a read that is in progress at a signal is waited
	// for. A read begins when there is something to read, so that only a hung
	// filesystem, or a second reader of the same pipe, makes it last.
	stopPatience = time.Second
)

// chunk is what one read brought.
type chunk struct {
	data []byte
	// pause says that nothing more could be read right after, where pauses are
	// asked for.
	pause bool
	// err is the read's error: io.EOF at the end.
	err error
}

// input reads a file in a goroutine of its own, so that neither a read that
// waits for more nor a slow log delays the other.
//
// The goroutine waits for input with poll, and not in read: when it is told to
// stop, everything that it has taken out of a pipe has been handed on.
type input struct {
	fd      int
	name    string
	chunks  chan chunk  // closed when there will be no more
	free    chan []byte // buffers that are handed back
	wake    int         // an eventfd that ends the poll
	stopped atomic.Bool
	ready   bool // a regular file: there is always something to read
	pauses  bool // say when nothing more can be read
}

// openInput opens a file for reading. A named pipe that nobody writes to yet
// does not block it.
func openInput(name string) (*input, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	in, err := newInput(fd, name)
	if err != nil {
		_ = unix.Close(fd)
	}
	return in, err
}

// newInput returns an input that reads an open file. Nothing is read before
// start.
func newInput(fd int, name string) (*input, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	in := &input{
		fd: fd, name: name, wake: wake, ready: st.Mode&unix.S_IFMT == unix.S_IFREG,
		chunks: make(chan chunk), free: make(chan []byte, 2),
	}
	for range cap(in.free) {
		in.free <- make([]byte, inputChunk)
	}
	return in, nil
}

// size returns the size of a regular file, in bytes, and -1 where the size is
// not known before the end.
func (in *input) size() int64 {
	var st unix.Stat_t
	if err := unix.Fstat(in.fd, &st); err != nil || !in.ready || st.Size == 0 {
		return -1 // files of /proc have a size of 0 and content
	}
	return st.Size
}

// start begins to read.
func (in *input) start() {
	go func() {
		defer close(in.chunks)
		defer func() {
			if v := recover(); v != nil {
				in.chunks <- chunk{err: newInternalError(v)}
			}
		}()
		for in.read() {
		}
	}()
}

// stop ends the reading. What has been read comes through chunks, which is
// then closed.
func (in *input) stop() {
	in.stopped.Store(true)
	var one [8]byte
	one[0] = 1
	_, _ = unix.Write(in.wake, one[:]) // cannot fail before 2^64 stops
}

// next returns the next chunk that was read, and false where there will be none, or
// none has come when over is closed.
func (in *input) next(over <-chan struct{}) (c chunk, ok bool) {
	select {
	case c, ok = <-in.chunks:
		return c, ok
	case <-over:
	}
	select { // both may have been ready
	case c, ok = <-in.chunks:
	default:
	}
	return c, ok
}

// read hands on one chunk, and reports whether there may be more.
func (in *input) read() bool {
	buf := <-in.free
	if _, err := in.poll(-1); err != nil {
		return in.end(err)
	}
	if in.stopped.Load() {
		return false
	}
	n, err := unix.Read(in.fd, buf[:inputChunk])
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		in.free <- buf
		return true
	case err != nil:
		return in.end(err)
	case n == 0:
		return in.end(io.EOF)
	}
	in.chunks <- chunk{data: buf[:n], pause: in.pauses && !in.more()}
	return true
}

// end hands on the end of the input.
func (in *input) end(err error) bool {
	if !errors.Is(err, io.EOF) {
		err = &elsewhereError{fmt.Errorf("reading %s: %w", in.name, err)}
	}
	in.chunks <- chunk{err: err}
	return false
}

// more reports whether a read would return at once.
func (in *input) more() bool {
	ready, err := in.poll(0)
	return err != nil || ready // the next read tells the error
}

// poll reports whether a read would return within so many milliseconds; -1
// waits without end. It returns early after stop.
func (in *input) poll(timeout int) (bool, error) {
	if in.ready {
		return true, nil
	}
	fds := []unix.PollFd{{Fd: int32(in.fd), Events: unix.POLLIN}, {Fd: int32(in.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, timeout)
		if err == nil {
			return fds[0].Revents != 0, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return false, os.NewSyscallError("poll", err)
		}
	}
}
