package durability_test

import "unsafe"

// addressOf returns the address of the first byte.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// addrOf returns the address of a fault that became a panic, or 0.
func addrOf(r any) uintptr {
	if e, ok := r.(interface{ Addr() uintptr }); ok {
		return e.Addr()
	}
	return 0
}
