//go:build linux

// Package files checks what a crash leaves of a program's files, for people who have no check of
// their own: it watches which of them the program syncs and which it renames into place, and asks
// after a crash for just that.
//
// A file promises something from two moments on. Since it was synced, by fsync, fdatasync, msync,
// syncfs or sync that returned 0, all that it held when the call began is there. Since it was
// renamed or linked into place, synced or not, what the name leads to is the whole of what it held
// then, or of what the name led to before: a file that is replaced is old or new. A name is there
// since its directory was synced.
//
// What a program changes afterwards, without a sync, may be there or not, in part and in any
// order; so bytes that are written again, or are others when the file is next looked at, are no
// longer asked for, until the next sync. Nor is anything that was unlinked. What is asked for is so
// no more than POSIX promises, but for the file that is renamed into place without a sync: there it
// is what programs rely on.
//
// Calls are seen by package intercept, and those that write, sync or change names are made in the
// program's place, so that it is known when they have ended, and how. Some things are not seen: a
// write of more than a megabyte, or with O_DIRECT, counts as written where O_SYNC or O_DSYNC had it
// synced, too; and bytes that a mapping changes and changes back between two syncs are taken for
// unchanged. Of a program without root's rights renames and unlinks that fail are taken for done.
package files
