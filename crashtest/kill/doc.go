//go:build linux

// Package kill kills processes with SIGKILL, over and over, and checks what
// they leave: what was acknowledged has to be there, and nothing that was never
// written. It needs no privileges.
//
// # Lives
//
// A life is one process at work on one directory, from its start to its death.
// The next life goes on in the same directory, with what the dead one left, until
// a seeded chance, the directory's size or a finding begins a fresh one: such a
// sequence of lives is a chain, and it is what a token replays.
//
// Starting a process costs several milliseconds, most of a life. A process
// therefore runs several lives at once, each in a directory of its own; they die
// together, and each is verified by itself. (Forking a warmed process for each life
// does not work in Go: a forked runtime has only one thread.)
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
//     in the file, which the lab reads after each step. Then it kills.
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
// # Programs
//
// A Program is killed as commands of /bin/sh, run in the current directory, without
// input. In each, {dir} and {acks} are replaced by a path.
//
//   - The workload works in {dir} until it is killed, with its process group. For each
//     thing that it holds durable it prints a line `ack TOKEN` (or `acked TOKEN`) to
//     its standard output, and flushes it at once: what is in a buffer at the kill was
//     never said. TOKEN is the rest of the line. Other lines mean nothing; the last
//     one, of standard error if there is any, is told where the workload fails.
//   - Lives follow one another in {dir}, which is empty at first: each goes on with
//     what the kill and the checks have left, up to twelve in a row. A life that ends
//     by itself with exit code 0 does not count; another code ends the campaign.
//   - {acks} is a file with the tokens of all lives in {dir}, one a line, oldest first.
//     What was written and not yet acknowledged before a kill may be there, and is not
//     acknowledged later: a check compares with the last token, not with their number.
//   - Check is asked after each kill, when the process group is dead, unless nothing
//     was acknowledged in {dir} yet: what has an empty list has nothing to lose. It
//     exits with 0 if all that was acknowledged is there.
//   - Legal is the other oracle, asked after each kill, also with an empty {dir} and an
//     empty list. It exits with 0 if nothing is there that may not be.
//   - Both may change {dir}. The exit codes 126 and 127, and the death by a signal that
//     others send (SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGXCPU; in a
//     shell 128 and more) are ErrCheck: it could not be run. Any other code but 0, and
//     the death by SIGSEGV, SIGABRT and the like, is a finding, with the last line of
//     the output. The rest of the output is dropped.
//   - Timeout is what each life may take to its first acknowledgement, and each check
//     to its end. A life without one does not count, three in a row end the campaign;
//     a check that does not end is ErrCheck.
//
// Before the campaign everything is tried once. The workload runs until it has
// acknowledged two things, and is ended by SIGTERM; if it ends by itself before, or
// acknowledges nothing, nothing is verified, and the result says why. A check must
// accept what is there then; or an empty {dir} with an empty list; or what is there
// with fewer acknowledgements, which is right for a program that loses the newest.
// One that accepts none of these after three runs would accept nothing: ErrCheck.
//
// # What this cannot see
//
// The death of a process leaves the page cache as it is. What is lost by power
// loss alone (a missing msync, a missing fsync of a directory) is for packages
// model and powerloss to find.
package kill
