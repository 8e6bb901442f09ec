package durability

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// Advice is a hint for madvise(2). None of these changes what the bytes are.
type Advice int

// The hints.
const (
	AdviceNormal     Advice = unix.MADV_NORMAL     // the default readahead
	AdviceRandom     Advice = unix.MADV_RANDOM     // no readahead
	AdviceSequential Advice = unix.MADV_SEQUENTIAL // much readahead
	AdviceWillNeed   Advice = unix.MADV_WILLNEED   // read ahead now
	AdviceDontNeed   Advice = unix.MADV_DONTNEED   // take these pages out of the process's memory: they stay in the page cache
	AdviceCold       Advice = unix.MADV_COLD       // reclaim these pages before others (Linux 5.4)
)

// Advise gives the kernel a hint for the range, rounded outwards to pages.
func (m *Mapping) Advise(a Advice, off, n int64) error {
	if !m.holds(m.data, off, n) {
		return m.refuse("madvise", m.data, off, n)
	}
	return rangeError("madvise", m.file.Path(), off, n, m.madvise(int(a), off, n))
}

// PopulateRead brings the pages of the range into memory and maps them, so that
// loads neither wait nor fault: a goroutine that waits in a page fault keeps its
// P, and the collector waits for it. Where a page cannot be had, the error is a
// *FaultError. Before Linux 5.14, which has no MADV_POPULATE_READ, it loads a
// byte of every page.
func (m *Mapping) PopulateRead(off, n int64) error {
	err := m.populate("load", unix.MADV_POPULATE_READ, m.data, off, n)
	if errors.Is(err, unix.EINVAL) {
		return m.touch(off, n)
	}
	return err
}

// PopulateWrite is PopulateRead for pages that are about to be stored to: it
// takes the faults of the stores, without a change of the bytes. The pages count
// as dirty. Before Linux 5.14 it adds zero to a word of every page, atomically.
func (m *Mapping) PopulateWrite(off, n int64) error {
	err := m.populate("store", unix.MADV_POPULATE_WRITE, m.store, off, n)
	if errors.Is(err, unix.EINVAL) {
		return m.touchWrite(off, n)
	}
	return err
}

// populate is madvise with the errors that stand for SIGBUS: EFAULT, and
// EHWPOISON for a page with a memory error.
func (m *Mapping) populate(op string, advice int, b []byte, off, n int64) error {
	if !m.holds(b, off, n) {
		return m.refuse("populate", b, off, n)
	}
	call := m.file.call(fault.Populate)
	call.Offset, call.Length = off, n
	_, err := ask(call, func() error { return m.madvise(advice, off, n) })
	if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EHWPOISON) {
		return &FaultError{File: m.file.Path(), Offset: m.unpopulated(advice, off, n), Op: op, mapping: m}
	}
	return rangeError("populate", m.file.Path(), off, n, err)
}

// unpopulated returns where in the range the first page lies that cannot be
// populated: the kernel does not say for many. Where all can be by now, it is
// the first.
func (m *Mapping) unpopulated(advice int, off, n int64) int64 {
	for at := off; at < off+n; at = pageCeil(at + 1) {
		if m.madvise(advice, at, 1) != nil {
			return at
		}
	}
	return off
}

// madvise gives advice for a range that was checked, rounded outwards to pages.
// It returns the bare errno.
func (m *Mapping) madvise(advice int, off, n int64) error {
	from, to := off&^(pageBytes-1), pageCeil(off+n)
	for {
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.base+uintptr(from), uintptr(to-from), uintptr(advice))
		if errno != unix.EINTR {
			return answer(errno)
		}
	}
}

// touched keeps the loads of touch from being optimised away.
var touched atomic.Uint32

// touch loads a byte of every page of the range.
func (m *Mapping) touch(off, n int64) (err error) {
	defer caught(debug.SetPanicOnFault(true), "load", &err)
	sum := byte(0)
	for at := off; at < off+n; at = pageCeil(at + 1) {
		sum ^= m.data[at]
	}
	touched.Store(uint32(sum))
	return nil
}

// touchWrite adds zero to a word of every page of the range, atomically, so that
// a store by another process is not undone.
func (m *Mapping) touchWrite(off, n int64) (err error) {
	defer caught(debug.SetPanicOnFault(true), "store", &err)
	for at := off; at < off+n; at = pageCeil(at + 1) {
		storeNothing((*uint32)(unsafe.Pointer(&m.store[at&^3])))
	}
	return nil
}

// Resident reports for each page of the range, rounded outwards to pages,
// whether the page cache holds it (mincore(2)). Without ownership of the file
// or permission to write it, the kernel calls every page resident (mincore(2),
// NOTES: since Linux 5.2).
func (m *Mapping) Resident(off, n int64) ([]bool, error) {
	if !m.holds(m.data, off, n) {
		return nil, m.refuse("mincore", m.data, off, n)
	}
	if n == 0 {
		return nil, nil
	}
	from, to := off&^(pageBytes-1), pageCeil(off+n)
	flags := make([]byte, (to-from)/pageBytes)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, m.base+uintptr(from), uintptr(to-from),
		uintptr(unsafe.Pointer(unsafe.SliceData(flags))))
	if errno != 0 {
		return nil, rangeError("mincore", m.file.Path(), off, n, errno)
	}
	resident := make([]bool, len(flags))
	for i, f := range flags {
		resident[i] = f&1 != 0
	}
	return resident, nil
}
