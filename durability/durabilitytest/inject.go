package durabilitytest

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// The operations of a Call besides those of package durability. They change
// nothing, and no durability.Tracer hears of them.
const (
	OpRead       = durability.Op(fault.Read)       // pread(2): File.ReadAt
	OpReadDirect = durability.Op(fault.ReadDirect) // File.ReadDirect
	OpStatx      = durability.Op(fault.Statx)      // statx(2): File.Size, Stat, Expect, Check
	OpMap        = durability.Op(fault.Map)        // mmap(2): File.Map
	OpPopulate   = durability.Op(fault.Populate)   // madvise(2): Mapping.PopulateRead, PopulateWrite
	OpLock       = durability.Op(fault.Lock)       // fcntl(2): File.Lock, Locked
	OpOpen       = durability.Op(fault.Open)       // openat(2): OpenDir, Dir.Open
	OpWriteOut   = durability.Op(fault.WriteOut)   // sync_file_range(2): File.WriteOut
)

// ErrDrop is what a hook returns in the phase Before to skip the operation and
// report success: so does a disk that lies about its flush, or a program that
// forgot the call. A Tracer is told the truth: its After event carries ErrDrop.
// For operations that hand something out (OpCreate, OpOpen, OpMap, OpStatx) it
// is an error as any other; a read that is dropped leaves its buffer as it is.
var ErrDrop = fault.ErrDrop

// Call is one operation that package durability asks of the kernel, or has
// asked. The fields are those of durability.Event for the operation.
type Call struct {
	Op      durability.Op
	Phase   durability.Phase
	Dir     string
	Name    string
	NewName string
	Offset  int64
	Length  int64

	// Data is what is about to be written (OpWrite), or what was just read
	// (OpRead and OpReadDirect in the phase After), which the hook may alter.
	Data []byte

	// Err is the kernel's answer, in the phase After.
	Err error
}

// Inject has the hook asked before and after each operation on the directory dir
// and what is below it, until the test ends. An error from the hook is taken for
// the kernel's answer: return a syscall.Errno such as unix.EIO or unix.ENOSPC.
// In the phase Before the kernel is not asked at all; in the phase After it has
// done its work. unix.EINTR in the phase Before is an interrupted call, which is
// repeated. Stores and loads through a mapping are not asked about.
//
// The hook is called from whatever goroutine performs the operation, from
// several at once. Hooks of tests that run in parallel are independent; of
// several for one directory, the first error counts.
func Inject(t testing.TB, dir string, hook func(*Call) error) {
	t.Helper()
	t.Cleanup(InjectDir(dir, hook))
}

// InjectDir is Inject without a test: remove ends it.
func InjectDir(dir string, hook func(*Call) error) (remove func()) {
	i := &injection{dir: absolute(dir), hook: hook}
	injections.Lock()
	defer injections.Unlock()
	injections.set(append(slices.Clone(injections.list), i))
	return sync.OnceFunc(func() {
		injections.Lock()
		defer injections.Unlock()
		injections.set(slices.DeleteFunc(slices.Clone(injections.list), func(j *injection) bool { return j == i }))
	})
}

// injection is one hook and the directory that it is for.
type injection struct {
	dir  string
	hook func(*Call) error
}

// injections are the hooks that are in place, in the order of their coming.
var injections injectionList

type injectionList struct {
	sync.Mutex
	list []*injection
}

// set replaces the list, which a hook that is running goes on using.
func (l *injectionList) set(list []*injection) {
	l.list = list
	if len(list) == 0 {
		fault.Set(nil)
		return
	}
	fault.Set(func(c *fault.Call) error { return dispatch(list, c) })
}

// dispatch asks the hooks whose directory the call is in.
func dispatch(list []*injection, c *fault.Call) error {
	dir := absolute(c.Dir)
	for _, i := range list {
		if !below(dir, i.dir) {
			continue
		}
		err := i.hook(&Call{
			Op: durability.Op(c.Op), Phase: durability.Phase(c.Phase),
			Dir: c.Dir, Name: c.Name, NewName: c.NewName,
			Offset: c.Offset, Length: c.Length, Data: c.Data, Err: c.Err,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// below reports whether dir is parent or lies below it.
func below(dir, parent string) bool {
	if dir == parent || parent == string(filepath.Separator) {
		return true
	}
	return strings.HasPrefix(dir, parent+string(filepath.Separator))
}
