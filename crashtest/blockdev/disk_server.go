//go:build linux

package blockdev

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// served is a disk as its server sees it.
type served struct {
	mu      sync.Mutex
	bytes   int64
	top     *layer
	faults  []*armed
	hurry   chan struct{}      // is closed when slow requests are to go on
	read    map[int64]struct{} // blocks, since the last fork
	pipe    *os.File           // of acknowledgements
	partial []byte             // a line without its end
}

// fork lets the disk hold a view from now on, and record what comes, or not.
func (s *served) fork(v *view, record bool, faults []*armed) {
	s.arm(faults)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.top = newLayer(v)
	s.top.plain = !record
	s.read = make(map[int64]struct{})
}

// arm gives the disk faults, in place of those that it has. Requests that are slow by those go on.
func (s *served) arm(faults []*armed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
	if s.hurry != nil {
		close(s.hurry)
	}
	s.hurry = make(chan struct{})
}

// fate asks the faults what becomes of a request, and waits where it is to be slow. The caller
// holds mu, which the wait releases.
func (s *served) fate(op Op, off, length int64, data []byte) fate {
	f := fateOf(s.faults, op, off, length, data)
	if f.slow > 0 {
		hurry := s.hurry
		s.mu.Unlock()
		select {
		case <-time.After(f.slow):
		case <-hurry:
		}
		s.mu.Lock()
	}
	return f
}

// cut returns the layer as it is now, or nil where nothing is recorded; what comes
// goes to another one on top.
func (s *served) cut() *layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain(); s.top.plain {
		return nil
	}
	done := s.top
	s.top = newLayer(&view{layer: done, cut: len(done.events)})
	return done
}

// listen has acknowledgements come from a pipe from now on, and from no other.
func (s *served) listen(pipe *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipe, s.partial = pipe, nil
}

// hear reads acknowledgements from the pipe until its end, when nothing else does, or until there
// is another one.
func (s *served) hear(pipe *os.File) {
	fds := []unix.PollFd{{Fd: int32(pipe.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		s.mu.Lock()
		ended := s.pipe != pipe || s.drain() && fds[0].Revents&unix.POLLHUP != 0
		if ended && s.pipe == pipe {
			s.pipe = nil
		}
		s.mu.Unlock()
		if ended {
			_ = pipe.Close() // nothing was written
			return
		}
	}
}

// drain takes what is in the pipe, and reports whether it is empty. It is called
// with the lock held.
func (s *served) drain() (empty bool) {
	if s.pipe == nil {
		return true
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(int(s.pipe.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return true
		}
		s.partial = append(s.partial, buf[:n]...)
		for {
			line, rest, ok := bytes.Cut(s.partial, []byte("\n"))
			if !ok {
				break
			}
			s.partial = rest
			word, token, ok := strings.Cut(string(line), " ")
			if ok && (word == "ack" || word == "acked") {
				s.top.acks = append(s.top.acks, token)
			}
		}
	}
}

// readAt serves a read.
func (s *served) readAt(p []byte, off int64) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fate(Read, off, int64(len(p)), nil)
	if f.errno != 0 {
		return f.errno
	}
	for n := off / BlockBytes; n*BlockBytes < off+int64(len(p)); n++ {
		s.read[n] = struct{}{}
	}
	s.top.whole().read(p, off)
	for _, a := range f.harm {
		a.harm(p, off, nil)
	}
	return 0
}

// change serves a write, a flush or a discard. The data is copied.
func (s *served) change(op Op, off, length int64, data []byte) syscall.Errno {
	if off%SectorBytes != 0 || length%SectorBytes != 0 || off+length > s.bytes {
		return syscall.EINVAL
	}
	if op == Discard && length > maxDiscardBytes {
		return syscall.EOPNOTSUPP // each sector would be recorded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drain()
	f := s.fate(op, off, length, data)
	e := Event{Op: op, Off: off, Length: length, Failed: f.errno != 0, Lied: f.lie}
	switch {
	case f.errno != 0 || f.lie:
		e.Length = 0 // it changes nothing
		s.top.add(e, nil)
		return f.errno
	case op == Write:
		data = bytes.Clone(data)
		for _, a := range f.harm {
			a.harm(data, off, func(sector int) []byte {
				old := make([]byte, SectorBytes)
				s.top.whole().read(old, off+int64(sector)*SectorBytes)
				return old
			})
		}
	}
	s.top.add(e, data)
	return 0
}

// touched returns the blocks that were read and written since the fork, sorted.
func (s *served) touched() (read, written []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.read)), slices.Sorted(maps.Keys(s.top.blocks))
}
