// Package durability is the way from memory to the platter on Linux: files that
// are written through shared mappings, or not, and what has to be asked of the
// kernel until their bytes survive the death of the process, a power loss, a
// full disk, and a file that is truncated under the writer.
//
// It stands alone: a program that writes through a mapping in Go, and now dies of
// SIGBUS, can use it without the log that it was made for. The smallest use of it
// is Guard around code of one's own.
//
// # The layers, and what each promises
//
//	Mapping   Store: the bytes are in the file, for every process, and survive
//	          this one. Sync: they survive power loss. A fault is an error.
//	File      One open file description. WriteAt as Store, Sync and Datasync as
//	          Mapping.Sync. Allocate: no later store finds the disk full. Check:
//	          nobody took away what was stored.
//	Dir       The names. Create, Rename and Remove are for every process at once;
//	          Sync: they survive power loss. A file whose own sync succeeded is
//	          lost with its name if that was not synced (fsync(2), DESCRIPTION).
//	WriteFile, CreateFile, MkdirAll
//	          All of that in one call, durable when it returns nil.
//
// A sync that succeeds speaks for what happened before it began. One that fails
// is final: see ErrFailed. EINTR is never seen; the calls are repeated.
//
// # What the kernel does
//
// The package rests on these facts. They were measured on Linux 6.18, ext4
// unless said otherwise; the sources say more.
//
//  1. msync(2) with MS_SYNC is an fdatasync of the range: mm/msync.c calls
//     vfs_fsync_range with datasync set. It returns 0 for a mapping whose file
//     was truncated.
//  2. A dirty mapped byte dirties its whole page-cache folio, and writeback takes
//     whole folios. How large they are is decided by the size of the write that
//     first filled them: AllocateOptions.FillBytes.
//  3. fallocate(2) alone leaves unwritten extents: the first sync of each costs
//     a journal commit. Allocate writes zeros behind it.
//  4. After a failed writeback, msync, fdatasync and fsync report EIO once to
//     each open file description (Documentation/core-api/errseq.rst), the pages
//     are clean, and the next call returns 0 for data that the device never got
//     (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX
//     ATC 2020). So the first failure sticks, one sync runs at a time, and
//     ReadDirect reads around the pages that may lie.
//  5. Stores beyond the end of the file raise SIGBUS from the next page on; in
//     the last page they work and are lost (mmap(2), NOTES). After a truncation
//     and an extension, the size is right again, and the data gone: Check asks
//     for the blocks.
//  6. A store into a hole of a file on a full filesystem raises SIGBUS, and so
//     does a load of a page that the device cannot read.
//  7. runtime/debug.SetPanicOnFault makes those a panic of the goroutine that
//     runs, also in copy and in assembly. A system call that is handed mapped
//     bytes returns EFAULT instead, which is made the same *FaultError here. A
//     load that waits for a page keeps its P, and the collector waits for it:
//     PopulateRead first.
//  8. Asking for mtime or ctime between syncs makes the next store journal the
//     inode: 8,192 bytes a commit instead of 4,250. Nothing here asks for them.
//
// # What it cannot see
//
// What another process truncates and fills again between two Checks. What it
// stores into the same file: take the lock (File.Lock), which is advisory. A
// device or a hypervisor that answers a flush without doing it.
//
// # Concurrency
//
// The methods of Dir, File and Mapping may be called from several goroutines at
// once, with three exceptions: stores and loads whose bytes overlap are ordered
// by the caller (StoreUint64 and LoadUint64 are atomic), Mapping.Unmap runs
// alone, and FillHoles not while any store goes into the holes. Close waits for the calls
// that are under way.
//
// # Tests
//
// A Tracer sees every operation that a crash could undo; package durabilitytest
// records them, replays them into every state that a crash could leave, and
// answers in the kernel's place to make single calls fail.
package durability
