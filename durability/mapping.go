package durability

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// pageBytes is the size of a VM page: 4, 16 or 64 KiB, by machine.
var pageBytes = int64(os.Getpagesize())

// Mapping is a shared mapping of the first bytes of a File. What is stored in it
// is in the file at once, for every process, and survives the death of this one;
// it survives power loss when Sync, or a sync of the File, has returned nil.
//
// Loads and stores through its methods return a *FaultError where the kernel
// would kill the process. All methods may be called at once from several
// goroutines as far as their bytes do not overlap; LoadUint64 and StoreUint64 are
// atomic. Unmap must not run while another method does.
type Mapping struct {
	// data is all of it, store the same where the mapping is writable. Both are
	// nil after Unmap, so that the range check refuses every access at no cost.
	data  []byte
	store []byte

	tracer Tracer
	file   *File
	size   int64
	base   uintptr

	writable bool

	unmap sync.Mutex
}

// Map maps the bytes [0, size) of the file, shared, for reading, or for reading
// and writing. The file must be that long already: stores beyond the end of the
// file raise SIGBUS, or are lost in silence within the last page (mmap(2),
// NOTES). The mapping stays usable after File.Close, but for File.Check.
func (f *File) Map(size int64, writable bool) (*Mapping, error) {
	if size <= 0 || size > math.MaxInt {
		return nil, pathError("map", f.Path(), fmt.Errorf("%d bytes cannot be mapped: the size must be above zero and fit an int", size))
	}
	have, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > have {
		return nil, pathError("map", f.Path(), fmt.Errorf("%d bytes of a file of %d: the rest would fault, allocate it first", size, have))
	}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	m := &Mapping{file: f, tracer: f.dir.tracer, size: size, writable: writable}
	call := f.call(fault.Map)
	call.Length = size
	_, err = ask(call, func() error {
		return f.with(func(fd int) (err error) {
			m.data, err = unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
			return err
		})
	})
	if err != nil {
		if m.data != nil {
			err = errors.Join(err, unix.Munmap(m.data))
		}
		if errors.Is(err, unix.ENOMEM) {
			err = fmt.Errorf("no address space left (see vm.max_map_count and ulimit -v): %w", err)
		}
		return nil, rangeError("map", f.Path(), 0, size, err)
	}
	if writable {
		m.store = m.data
	}
	m.base = uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
	mappings.add(region{start: m.base, end: m.base + uintptr(pageCeil(size)), m: m})
	return m, nil
}

// Bytes returns the mapped bytes themselves. Touch them inside Guard, and never
// after Unmap. Stores through them are not seen by the Tracer.
func (m *Mapping) Bytes() []byte { return m.data }

// Len returns the size of the mapping in bytes, also after Unmap.
func (m *Mapping) Len() int64 { return m.size }

// File returns the file that is mapped.
func (m *Mapping) File() *File { return m.file }

// Sync makes durable what was stored or written in the range before the call,
// with the file's size: msync(2) with MS_SYNC, which is an fdatasync of the
// range (mm/msync.c calls vfs_fsync_range with datasync set), rounded outwards to
// pages. It says nothing about the file's name (Dir.Sync), and nothing about a
// file that was truncated since, for which msync returns 0: see File.Check.
//
// One sync at a time runs on the File and all of its mappings. The first
// failure, a *SyncError, is final: see ErrFailed. An empty range asks nothing of
// the kernel.
func (m *Mapping) Sync(off, n int64) error {
	if !m.holds(m.data, off, n) {
		return m.refuse("msync", m.data, off, n)
	}
	from, to := off&^(pageBytes-1), pageCeil(off+n)
	return m.file.syncs.run(OpMsync.String(), m.file.Path(), func() error {
		if n == 0 {
			return nil
		}
		e := m.file.event(OpMsync)
		e.Offset, e.Length = from, to-from
		return perform(m.tracer, &e, func() error {
			_, _, errno := unix.Syscall(unix.SYS_MSYNC, m.base+uintptr(from), uintptr(to-from), unix.MS_SYNC)
			return answer(errno)
		})
	})
}

// Unmap ends the mapping. It syncs nothing, and loses nothing that was stored.
// Methods that touch bytes return ErrClosed afterwards. A second Unmap does
// nothing.
func (m *Mapping) Unmap() error {
	m.unmap.Lock()
	defer m.unmap.Unlock()
	if m.data == nil {
		return nil
	}
	data := m.data
	m.data, m.store = nil, nil
	mappings.remove(m)
	return pathError("unmap", m.file.Path(), unix.Munmap(data))
}

// fault returns the error for a fault at an address of the mapping.
func (m *Mapping) fault(addr uintptr, op string) error {
	if op == opAccess && !m.writable {
		op = opAccess + " (the mapping is read-only: a store into it always faults)"
	}
	if op == "store" && !m.writable {
		op = "load" // of what was to be stored elsewhere
	}
	return &FaultError{File: m.file.Path(), Offset: int64(addr - m.base), Op: op, mapping: m}
}

// Faulted reports whether err holds a *FaultError about this mapping: a call that
// copies from one mapping into another may fault in either. It goes on being true when
// the file is renamed.
func (m *Mapping) Faulted(err error) bool {
	var fault *FaultError
	return errors.As(err, &fault) && fault.mapping == m
}

// holds reports whether the n bytes at off lie within b.
func (m *Mapping) holds(b []byte, off, n int64) bool {
	return off >= 0 && n >= 0 && off <= int64(len(b))-n && b != nil
}

// refuse says why the n bytes at off of b cannot be had.
func (m *Mapping) refuse(op string, b []byte, off, n int64) error {
	var why error
	switch {
	case m.data == nil:
		why = ErrClosed
	case b == nil:
		why = ErrReadOnly
	default:
		why = fmt.Errorf("the mapping has %d bytes: %w", m.size, ErrRange)
	}
	return rangeError(op, m.file.Path(), off, n, why)
}

// pageCeil rounds up to whole pages.
func pageCeil(n int64) int64 { return (n + pageBytes - 1) &^ (pageBytes - 1) }

// answer makes an error of a raw system call's errno.
func answer(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
