package durability

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Blank puts zeros in place of whole pages of a mapping for reading, in this
// mapping only: nothing is stored, and the file stays as it is. A page that cannot
// be read can be looked at then. The offset is a multiple of the page size; the
// last page is blanked whole.
//
// It returns ErrRange, ErrClosed, or, for a mapping that can be stored to,
// ErrRange too: what is stored there would be lost.
func (m *Mapping) Blank(off, n int64) error {
	if !m.holds(m.data, off, n) {
		return m.refuse("blank", m.data, off, n)
	}
	if m.writable || off%pageBytes != 0 {
		return rangeError("blank", m.file.Path(), off, n, ErrRange)
	}
	if n == 0 {
		return nil
	}
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&m.data[off]), uintptr(pageCeil(n)),
		unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED)
	return rangeError("blank", m.file.Path(), off, n, err)
}
