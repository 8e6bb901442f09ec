//go:build linux

package intercept

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Op is a kind of system calls.
type Op int

// The kinds. What each is made of stands in calls.
const (
	Sync     Op = iota + 1 // fsync, fdatasync: of what a descriptor is open on
	Msync                  // msync
	SyncAll                // sync, syncfs
	Rename                 // rename, renameat, renameat2
	Link                   // link, linkat
	Unlink                 // unlink, unlinkat, rmdir
	Truncate               // truncate, ftruncate
	Open                   // open, openat, creat, with O_TRUNC
	Write                  // write, pwrite64, writev, pwritev, pwritev2
	Copy                   // fallocate, copy_file_range, sendfile, splice
	Ring                   // io_uring_setup, io_setup
)

// calls are the system calls of each kind.
var calls = func() map[uintptr]Op {
	m := map[uintptr]Op{
		unix.SYS_FSYNC: Sync, unix.SYS_FDATASYNC: Sync, unix.SYS_MSYNC: Msync, unix.SYS_SYNC: SyncAll, unix.SYS_SYNCFS: SyncAll,
		unix.SYS_RENAMEAT: Rename, unix.SYS_RENAMEAT2: Rename, unix.SYS_LINKAT: Link, unix.SYS_UNLINKAT: Unlink,
		unix.SYS_TRUNCATE: Truncate, unix.SYS_FTRUNCATE: Truncate, unix.SYS_OPENAT: Open, unix.SYS_OPENAT2: Open,
		unix.SYS_WRITE: Write, unix.SYS_PWRITE64: Write, unix.SYS_WRITEV: Write, unix.SYS_PWRITEV: Write, unix.SYS_PWRITEV2: Write,
		unix.SYS_FALLOCATE: Copy, unix.SYS_COPY_FILE_RANGE: Copy, unix.SYS_SENDFILE: Copy, unix.SYS_SPLICE: Copy,
		unix.SYS_IO_URING_SETUP: Ring, unix.SYS_IO_SETUP: Ring,
	}
	maps.Copy(m, oldCalls)
	return m
}()

// Offsets in struct seccomp_data (linux/seccomp.h), on little-endian machines.
const (
	dataNr    = 0
	dataArch  = 4
	dataArgs  = 16
	argBytes  = 8
	load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpAbove = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpBits  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	answer    = unix.BPF_RET | unix.BPF_K
)

// openFlags are where the flags of a call that opens lie among its arguments. openat2 has
// them in memory, and creat always truncates.
var openFlags = map[uintptr]int{openNr: 1, unix.SYS_OPENAT: 2} // the number of open is none on some machines

// filter returns a program that notifies of these kinds of calls, and lets all others be made.
func filter(ops []Op) []unix.SockFilter {
	allow := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW}
	notify := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_USER_NOTIF}
	program := []unix.SockFilter{
		{Code: load, K: dataArch},
		{Code: jumpEqual, K: auditArch, Jt: 1},
		allow,
		{Code: load, K: dataNr},
		{Code: jumpAbove, K: x32Bit, Jf: 1},
		allow,
	}
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		if !slices.Contains(ops, calls[nr]) {
			continue
		}
		if arg, ok := openFlags[nr]; ok {
			program = append(program, unix.SockFilter{Code: jumpEqual, K: uint32(nr), Jf: 4},
				unix.SockFilter{Code: load, K: uint32(dataArgs + argBytes*arg)},
				unix.SockFilter{Code: jumpBits, K: unix.O_TRUNC, Jt: 1}, allow, notify)
			continue
		}
		program = append(program, unix.SockFilter{Code: jumpEqual, K: uint32(nr), Jf: 1}, notify)
	}
	return append(program, allow)
}

// listen installs a filter for the calling thread and what it starts, and returns the
// descriptor that hears of the calls.
func listen(program []unix.SockFilter) (fd int, err error) {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Once heard, a call is interrupted by a fatal signal only, or a handler of the program's
	// would make it be heard twice. Linux before 5.19 does not know the second flag.
	var n uintptr
	var errno unix.Errno
	for _, flags := range []uintptr{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER} {
		if n, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&p))); errno != unix.EINVAL {
			break
		}
	}
	if errno != 0 {
		return -1, fmt.Errorf("intercept: no system calls can be watched, which needs root: %w", os.NewSyscallError("seccomp", errno))
	}
	return int(n), nil
}
