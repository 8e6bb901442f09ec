package durability

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"unsafe"
)

// opAccess is FaultError.Op inside Guard: the runtime does not tell a load from a
// store.
const opAccess = "access"

// Guard runs fn and returns its error. A load or store of fn that faults inside
// a known Mapping, one that File.Map made and that is not unmapped, ends fn and
// is returned as a *FaultError instead of killing the process with SIGBUS. Every
// other panic passes through with the very same value: a nil dereference stays
// a panic, and so does a fault at an address that is not ours.
//
// Guard covers the goroutine that calls it, not those that fn starts
// (runtime/debug.SetPanicOnFault is per goroutine, and Guard restores its
// setting). It works through copy and assembly. Calls of Guard may nest. Locks
// that fn holds at the fault are released only by its deferred functions; an
// Unmap that is deferred there hides from Guard whose address it was.
func Guard(fn func() error) (err error) {
	defer caught(debug.SetPanicOnFault(true), opAccess, &err)
	return fn()
}

// caught is deferred around every access to mapped bytes. It restores the
// goroutine's setting, and turns a fault in a known mapping into *err.
func caught(setting bool, op string, err *error) {
	debug.SetPanicOnFault(setting)
	if r := recover(); r != nil {
		*err = faultOf(r, op)
	}
}

// faultOf returns the error for a recovered panic, or goes on panicking with
// the same value where it is not a fault in a known mapping. The runtime gives a
// fault that SetPanicOnFault made a panic an Addr method, and a nil dereference
// none.
func faultOf(recovered any, op string) error {
	e, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		panic(recovered)
	}
	if m := mappings.find(e.Addr()); m != nil {
		return m.fault(e.Addr(), op)
	}
	panic(recovered)
}

// bufferFault returns the error for a system call that answered EFAULT to the
// buffer p, or nil where p is not mapped by us.
func bufferFault(p []byte, op string) error {
	addr := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	if m := mappings.find(addr); m != nil {
		return m.fault(addr, op)
	}
	return nil
}

// mappings are the known mappings of the process.
var mappings registry

// registry finds the mapping of an address without a lock: a fault may happen
// under any lock of the program. Writers copy the sorted list and replace it.
type registry struct {
	mu   sync.Mutex
	list atomic.Pointer[[]region]
}

// region is the address range of a mapping, with whole pages.
type region struct {
	start, end uintptr
	m          *Mapping
}

// all returns the list, sorted by address, not to be changed.
func (r *registry) all() []region {
	if list := r.list.Load(); list != nil {
		return *list
	}
	return nil
}

// find returns the mapping that holds the address, or nil.
func (r *registry) find(addr uintptr) *Mapping {
	list := r.all()
	i := sort.Search(len(list), func(i int) bool { return list[i].end > addr })
	if i == len(list) || addr < list[i].start {
		return nil
	}
	return list[i].m
}

// add makes a mapping known.
func (r *registry) add(g region) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.all()
	i := sort.Search(len(old), func(i int) bool { return old[i].end > g.start })
	list := slices.Insert(slices.Clone(old), i, g)
	r.list.Store(&list)
}

// remove forgets a mapping.
func (r *registry) remove(m *Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(r.all()), func(g region) bool { return g.m == m })
	r.list.Store(&list)
}
