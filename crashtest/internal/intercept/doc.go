//go:build linux

// Package intercept starts a program whose system calls stop before they are made, so
// that the lab can see, make or leave out some of them.
//
// The kernel does it by a seccomp filter that notifies a listener (seccomp(2),
// SECCOMP_RET_USER_NOTIF). The filter is inherited by every thread and child of the
// program, so it holds for programs that are linked statically, for those in Go, and for
// shell scripts; nothing is preloaded, and a debugger may be attached. It needs root, or
// CAP_SYS_ADMIN. What it does not see: calls of another ABI (32-bit programs), and what a
// program does by io_uring or Linux AIO, which is refused with ENOSYS where the filter is told
// to: most programs go on without.
package intercept
