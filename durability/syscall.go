package durability

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// lastEvent numbers the operations of the process for Event.ID.
var lastEvent atomic.Uint64

// perform runs call, which asks the kernel for the operation that e describes,
// between the two events of the tracer. The After event tells the kernel's own
// answer, also where the fault hook makes the caller hear another.
func perform(t Tracer, e *Event, call func() error) error {
	c := &fault.Call{
		Op: fault.Op(e.Op), Dir: e.Dir, Name: e.Name, NewName: e.NewName,
		Offset: e.Offset, Length: e.Length, Data: e.Data,
	}
	if t == nil {
		_, answer := ask(c, call)
		return answer
	}
	e.Phase, e.ID = Before, lastEvent.Add(1)
	t.Trace(*e)
	kernel, answer := ask(c, call)
	e.Phase, e.Err = After, kernel
	t.Trace(*e)
	return answer
}

// ask consults the fault hook around a call, and repeats the call while it is
// interrupted. It returns the kernel's own answer, where a call that the hook
// kept from the kernel is an error, and the answer that the caller is to act on.
func ask(c *fault.Call, call func() error) (kernel, answer error) {
	for {
		err := fault.Consult(c, fault.Before, nil)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, fault.ErrDrop) && droppable(c.Op):
			return err, nil
		default:
			return err, err
		}
		kernel = call()
		if errors.Is(kernel, unix.EINTR) {
			continue
		}
		if err := fault.Consult(c, fault.After, kernel); err != nil {
			return kernel, err
		}
		return kernel, kernel
	}
}

// droppable reports whether the operation can be skipped and still have an
// answer: one that hands out a descriptor, a mapping or a size cannot.
func droppable(op fault.Op) bool {
	switch op {
	case fault.Op(OpCreate), fault.Open, fault.Map, fault.Statx:
		return false
	}
	return true
}

// handle is a descriptor that is not closed while a call uses it: the kernel
// gives the number of a closed descriptor to the next file that is opened.
type handle struct {
	mu     sync.RWMutex
	fd     int
	closed bool
}

// with runs call with the descriptor, which stays open until call returns.
// Calls of with on the same handle must not nest.
func (h *handle) with(call func(fd int) error) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return ErrClosed
	}
	return call(h.fd)
}

// close closes the descriptor once no call uses it. The kernel releases the
// descriptor even where close(2) returns an error, so it is never repeated.
func (h *handle) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.closed = true
	return unix.Close(h.fd)
}

// syncer lets one sync at a time run on an open file description, and makes its
// first failure final. One at a time, because of two that run at once one takes
// the other's error: the kernel reports a failed writeback once to each open
// file description (errseq_t, Documentation/core-api/errseq.rst). The check for
// an earlier failure and the record of a new one happen under the lock that is
// held during the call, so that no sync slips in between.
type syncer struct {
	mu    sync.Mutex
	first *SyncError
}

// run performs one sync, or returns ErrFailed with the first failure.
func (s *syncer) run(op, path string, sync func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		return &SyncError{Op: op, Path: path, Err: fmt.Errorf("%w: %w", ErrFailed, s.first)}
	}
	err := sync()
	if err == nil {
		return nil
	}
	failure := &SyncError{Op: op, Path: path, Err: classify(err)}
	if !errors.Is(err, ErrClosed) {
		s.first = failure
	}
	return failure
}
