// Package fault is the seam through which tests answer in the kernel's place.
// Package durability consults it around each system call; package
// durabilitytest is the way in. Nothing consults it on a store or a load
// through a mapping.
package fault

import (
	"errors"
	"sync/atomic"
)

// Op is the operation that is about to be asked of the kernel. The values below
// Read are those of durability.Op.
type Op uint8

// The operations that change nothing, which no durability.Tracer hears of.
const (
	Read       Op = 128 + iota // pread(2)
	ReadDirect                 // pread(2) through a descriptor with O_DIRECT
	Statx                      // statx(2)
	Map                        // mmap(2)
	Populate                   // madvise(2), MADV_POPULATE_READ and MADV_POPULATE_WRITE
	Lock                       // fcntl(2), F_OFD_SETLK and F_OFD_GETLK
	Open                       // openat(2) of an existing file
	WriteOut                   // sync_file_range(2)
)

// Phase says whether the kernel has answered. The values are those of
// durability.Phase.
type Phase uint8

// The phases of a call.
const (
	Before Phase = iota + 1
	After
)

// Call is one system call. The fields are those of durability.Event.
type Call struct {
	Op      Op
	Phase   Phase
	Dir     string
	Name    string
	NewName string
	Offset  int64
	Length  int64
	Data    []byte
	Err     error
}

// Hook is asked before and after each call. What it returns is taken for the
// kernel's answer.
type Hook func(*Call) error

// ErrDrop is returned from a Before call: it skips the call and reports success.
var ErrDrop = errors.New("durabilitytest: the call is dropped")

var hook atomic.Pointer[Hook]

// Set installs the hook, or removes it where h is nil.
func Set(h Hook) {
	if h == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&h)
}

// Consult asks the hook, if there is one, about the call in the given phase.
// err is the kernel's answer in the phase After.
func Consult(c *Call, phase Phase, err error) error {
	h := hook.Load()
	if h == nil {
		return nil
	}
	c.Phase, c.Err = phase, err
	return (*h)(c)
}
