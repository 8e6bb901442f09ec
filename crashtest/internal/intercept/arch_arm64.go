package intercept

import "golang.org/x/sys/unix"

// auditArch is the ABI that the filter is for.
const auditArch = unix.AUDIT_ARCH_AARCH64

// oldCalls are those that newer machines do not have.
var oldCalls = map[uintptr]Op{}

// x32Bit is above the number of every call.
const x32Bit = 0x40000000

// openNr is a call that there is not.
const openNr = ^uintptr(0)

// IsRmdir reports whether the call is rmdir, which there is not.
func (c *Call) IsRmdir() bool { return false }
