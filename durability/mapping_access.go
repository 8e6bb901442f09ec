package durability

import (
	"encoding/binary"
	"hash/crc32"
	"runtime/debug"
	"unsafe"
)

// castagnoli is the polynomial of Mapping.Checksum, which amd64 and arm64
// compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Store copies a, then b, which may be nil, into the mapping at off. It
// allocates nothing and takes no lock. A range outside of the mapping is an
// error and stores nothing; after a *FaultError a part may have been stored.
func (m *Mapping) Store(off int64, a, b []byte) (err error) {
	n := int64(len(a)) + int64(len(b))
	if off < 0 || off > int64(len(m.store))-n {
		return m.refuse("store", m.store, off, n)
	}
	if m.tracer != nil {
		m.traceStore(off, n, a, b)
	}
	defer caught(debug.SetPanicOnFault(true), "store", &err)
	if off&(pageBytes-1)+n <= pageBytes {
		dst := m.store[off : off+n]
		copy(dst, a)
		copy(dst[len(a):], b)
		return nil
	}
	m.copyPages(off, a)
	m.copyPages(off+int64(len(a)), b)
	return nil
}

// Behind says where StoreBehind stores what, and what has to lie before it.
type Behind struct {
	Link int64  // offset of 4 bytes that were stored before, which need not be aligned
	Want uint32 // what they were, little-endian
	Off  int64  // where the bytes go
	Word int64  // offset of 8 aligned bytes that tell of them; 0 for none
	Tell uint64 // what these then are, little-endian
}

// StoreBehind is what an appender does, with one guard: it loads the 4 bytes at at.Link and
// compares them, copies a, then b, which may be nil, to at.Off, and then stores the word, in one
// atomic store. Where the 4 bytes are not what they were, it stores nothing, and returns
// ErrOverwritten.
//
// Otherwise it returns what LoadUint32, Store and StoreUint64 return, each of which is the last
// thing that was tried; the Offset of a *FaultError tells which. A Tracer sees the two stores as
// events of their own.
func (m *Mapping) StoreBehind(at *Behind, a, b []byte) (err error) {
	off, n, size := at.Off, int64(len(a))+int64(len(b)), int64(len(m.store))
	if off < 0 || off > size-n || at.Link < 0 || at.Link > size-4 || at.Word < 0 || at.Word > size-8 || at.Word%8 != 0 {
		return m.refuseBehind(at, n)
	}
	defer caughtBehind(debug.SetPanicOnFault(true), at, &err)
	if binary.LittleEndian.Uint32(m.store[at.Link:]) != at.Want {
		return ErrOverwritten
	}
	if m.tracer != nil {
		m.traceStore(off, n, a, b)
	}
	if off&(pageBytes-1)+n <= pageBytes {
		dst := m.store[off : off+n]
		copy(dst, a)
		copy(dst[len(a):], b)
	} else {
		m.copyPages(off, a)
		m.copyPages(off+int64(len(a)), b)
	}
	if at.Word == 0 {
		return nil
	}
	if m.tracer != nil {
		m.traceUint64(at.Word, at.Tell)
	}
	storeWord((*uint64)(unsafe.Pointer(&m.store[at.Word])), littleEndian(at.Tell))
	return nil
}

// refuseBehind says which of the ranges cannot be had.
func (m *Mapping) refuseBehind(at *Behind, n int64) error {
	switch {
	case m.store == nil, !m.holds(m.store, at.Off, n):
		return m.refuse("store", m.store, at.Off, n)
	case !m.holds(m.store, at.Link, 4):
		return m.refuse("load", m.store, at.Link, 4)
	default:
		return m.refuse("store of 8 aligned bytes", m.store, at.Word, 8)
	}
}

// caughtBehind is caught for StoreBehind, where the first access is a load.
func caughtBehind(setting bool, at *Behind, err *error) {
	debug.SetPanicOnFault(setting)
	if r := recover(); r != nil {
		*err = faultOf(r, "store")
		if fault, ok := (*err).(*FaultError); ok && fault.Op == "store" && at.Link <= fault.Offset && fault.Offset < at.Link+4 { //nolint:errorlint // faultOf has made it
			fault.Op = "load"
		}
	}
}

// copyPages copies p into the mapping, page by page, so that no instruction stores
// into two pages. One that does needs both writable at once, and on a full btrfs the
// fault of each write-protects the other again: the store neither succeeds nor
// fails (measured, Linux 6.18).
func (m *Mapping) copyPages(off int64, p []byte) {
	for len(p) > 0 {
		n := min(int(pageBytes-off&(pageBytes-1)), len(p))
		copy(m.store[off:off+int64(n)], p[:n])
		off, p = off+int64(n), p[n:]
	}
}

// StoreUint64 stores v at off, little-endian, in one atomic store. off must be a
// multiple of 8.
func (m *Mapping) StoreUint64(off int64, v uint64) (err error) {
	if off < 0 || off > int64(len(m.store))-8 || off%8 != 0 {
		return m.refuse("store of 8 aligned bytes", m.store, off, 8)
	}
	if m.tracer != nil {
		m.traceUint64(off, v)
	}
	defer caught(debug.SetPanicOnFault(true), "store", &err)
	storeWord((*uint64)(unsafe.Pointer(&m.store[off])), littleEndian(v))
	return nil
}

// LoadUint64 loads the little-endian number at off in one atomic load. off must
// be a multiple of 8.
func (m *Mapping) LoadUint64(off int64) (v uint64, err error) {
	if off < 0 || off > int64(len(m.data))-8 || off%8 != 0 {
		return 0, m.refuse("load of 8 aligned bytes", m.data, off, 8)
	}
	defer caught(debug.SetPanicOnFault(true), "load", &err)
	return littleEndian(loadWord((*uint64)(unsafe.Pointer(&m.data[off])))), nil
}

// LoadUint32 loads the little-endian number at off, which need not be aligned.
// The load is not atomic.
func (m *Mapping) LoadUint32(off int64) (v uint32, err error) {
	if off < 0 || off > int64(len(m.data))-4 {
		return 0, m.refuse("load", m.data, off, 4)
	}
	defer caught(debug.SetPanicOnFault(true), "load", &err)
	return binary.LittleEndian.Uint32(m.data[off:]), nil
}

// Load copies len(p) bytes at off into p. After a *FaultError a part of p may
// have been overwritten.
func (m *Mapping) Load(off int64, p []byte) (err error) {
	if off < 0 || off > int64(len(m.data))-int64(len(p)) {
		return m.refuse("load", m.data, off, int64(len(p)))
	}
	defer caught(debug.SetPanicOnFault(true), "load", &err)
	copy(p, m.data[off:])
	return nil
}

// Zero stores n zero bytes at off. A Tracer sees an OpStore with Length n and no
// Data.
func (m *Mapping) Zero(off, n int64) (err error) {
	if !m.holds(m.store, off, n) {
		return m.refuse("store zeros", m.store, off, n)
	}
	if m.tracer != nil {
		m.traceStore(off, n, nil, nil)
	}
	defer caught(debug.SetPanicOnFault(true), "store", &err)
	for end := off + n; off < end; { // as copyPages does
		next := min(off&^(pageBytes-1)+pageBytes, end)
		clear(m.store[off:next])
		off = next
	}
	return nil
}

// Checksum returns the CRC-32C (Castagnoli) of the n bytes at off.
func (m *Mapping) Checksum(off, n int64) (sum uint32, err error) {
	if !m.holds(m.data, off, n) {
		return 0, m.refuse("checksum", m.data, off, n)
	}
	defer caught(debug.SetPanicOnFault(true), "checksum", &err)
	return crc32.Update(0, castagnoli, m.data[off:off+n]), nil
}

// traceStore tells the tracer of a store right before its first byte. It is out
// of line so that a store without a tracer stays short.
//
//go:noinline
func (m *Mapping) traceStore(off, n int64, a, b []byte) {
	e := m.file.event(OpStore)
	e.Phase, e.Offset, e.Length, e.Data, e.Data2 = Before, off, n, a, b
	m.tracer.Trace(e)
}

// traceUint64 is traceStore for a number, whose bytes escape to the heap here
// and nowhere else.
//
//go:noinline
func (m *Mapping) traceUint64(off int64, v uint64) {
	m.traceStore(off, 8, binary.LittleEndian.AppendUint64(nil, v), nil)
}

// littleEndian returns the number whose bytes in memory are those of v in
// little-endian order, and the other way round: v itself on amd64 and arm64.
func littleEndian(v uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return binary.NativeEndian.Uint64(b[:])
}
