package intercept

import "golang.org/x/sys/unix"

// auditArch is the ABI that the filter is for.
const auditArch = unix.AUDIT_ARCH_X86_64

// oldCalls are those that newer machines do not have.
var oldCalls = map[uintptr]Op{
	unix.SYS_OPEN: Open, unix.SYS_CREAT: Open,
	unix.SYS_RENAME: Rename, unix.SYS_LINK: Link, unix.SYS_UNLINK: Unlink, unix.SYS_RMDIR: Unlink,
}

// x32Bit marks numbers of calls of the x32 ABI, which has the same audit number.
const x32Bit = 0x40000000

// openNr is the call open.
const openNr = unix.SYS_OPEN

// IsRmdir reports whether the call is rmdir.
func (c *Call) IsRmdir() bool { return c.Nr == unix.SYS_RMDIR }
