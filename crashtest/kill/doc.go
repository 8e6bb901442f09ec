//go:build linux

// Package kill kills processes with SIGKILL, over and over, and looks at what
// they leave: what was acknowledged has to be there, and nothing that was never
// written. It needs no privileges.
//
// # Lives
//
// A life is one process at work on one directory, from its start to its death.
// The next life goes on in the same directory, with what the dead one left, until
// a seeded chance, the directory's size or a finding begins a fresh one: such a
// row of lives is a chain, and it is what a token lives again.
//
// Starting a process costs several milliseconds, most of a life. A process
// therefore lives several lives at once, each in a directory of its own; they die
// together, and each is verified by itself. (A warmed process that is forked for
// each life is no way for Go: a forked runtime has one thread.)
//
// # Blind and exact
//
// A blind kill comes from outside, at a seeded instant after the first record.
// An exact one comes at a step that the plan names:
//
//   - before or after the n-th operation of a kind (a store, msync, fsync,
//     rename, unlink, allocation, fsync of a directory) in a place: in a sync, a
//     rotation, a cut or a recovery. The process that is under test observes its
//     own operations by durability.Tracer, which any program may set, and sends
//     SIGKILL to itself: the kernel does not return to it.
//   - at an instruction within the copy of one record. The thread waits right
//     before its first store; the lab attaches to it by ptrace and lets it go on
//     instruction by instruction, until a seeded share of the record's bytes is
//     in the file, which the lab looks at after each step. Then it kills.
//
// The log knows nothing of either. Other means were weighed: breakpoints need
// symbols of the binary, and stop at one instruction of the copy, not at any;
// stopping at system calls sees no store, which is what a log in a mapping is made
// of; a write-protected page stops only at the borders of pages. Single steps cost
// a few microseconds each, some hundred a record, and work on amd64 and arm64
// alike. Where ptrace is not permitted, kills within a copy are left to chance,
// and the result says so.
//
// # Knowledge
//
// What the workload has begun, and what it has acknowledged, it keeps in memory
// that it shares with the lab. That costs no system call and survives its death, so
// that what is known at the kill is exact to the instruction. A program in any
// other language acknowledges by lines on its standard output; what is in the
// pipe at its death counts.
//
// # What this cannot see
//
// The death of a process leaves the page cache as it is. What is lost by power
// loss alone (a missing msync, a missing fsync of a directory) is for package
// model to find.
package kill
