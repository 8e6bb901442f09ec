// Package wal is a write-ahead log for Linux that appends records in place
// into a shared read-write memory mapping.
//
// Append returned: the record survives the death of the process. Sync
// returned: it survives the death of the machine. Nothing weaker is ever
// called success.
//
//	l, err := wal.Open(dir, wal.Options{})
//	lsn, err := l.Append(record) // survives SIGKILL, without a system call
//	err = l.Commit(ctx, lsn)     // survives power loss; shared with others
//
// # The directory
//
//	0000000000000001.wal   a segment: fixed size, named by its ordinal in hex
//	0000000000000002.wal
//	0000000000000003.wal   prepared: zeros and a header, ready for records
//	0000000000000004.tmp   being prepared, or not durable under its final name yet
//	seawall.lock           locked by the writer; names the log and its last checkpoint
//	lost/0001/…            what a trim or a repair removed
//
// Segments have no gap in their names, so that a missing one is noticed. A prepared
// segment normally has its final name, durably, before the log goes on in it: a
// rotation then changes no directory.
//
// # A segment
//
//	offset    bytes  block
//	     0     4096  header   written once, when the segment is prepared
//	  4096     4096  stamp    written when the log rotates into the segment
//	  8192     4096  slot 0   record of a checkpoint or a cut
//	 12288     4096  slot 1   the same; the older of the two is overwritten
//	 16384     4096  control  for readers in other processes; recovery never reads it
//	 20480      ...  frames
//
// Package frame draws each of them byte by byte, and numbers the rules by
// which a frame is valid.
//
// # What is durable, and who says so
//
// Mapped pages reach the device in any order, at any time. So a valid frame may lie
// behind a hole. And where the frames end, there are two explanations: a crash tore
// records that were never acknowledged, or acknowledged ones were lost later.
// Watermarks tell the two apart. A watermark is an LSN up to which all was durable
// when it was written. Each frame and each stamp names one; a sync whose records
// would name an older one begins with a mark, a frame without a record, that names
// the newest; and a checkpoint writes a record into a slot that names all before it.
// None of them ever names an LSN that no returned sync had made durable.
//
// Where the chain of frames ends before the highest watermark on the disk,
// acknowledged records are lost: that is damage, a *CorruptError, and nothing
// is changed until a person runs Repair with Force. Where it ends at the watermark
// or behind it, what follows is torn, and Open trims it. Only the newest sync is
// covered by no watermark, until a further sync, a Checkpoint or Close.
//
// A watermark is lost together with the segment that it is in: a directory whose
// newest segments were lost looks as it did before they were made. So Checkpoint and
// Close write theirs into the lock file too, once all that it names is durable; it
// holds until a cut at the back, or a reset, begins a higher epoch. Where segments
// with records behind the last checkpoint are lost, nothing reveals that.
//
// # Recovery
//
//  1. The directory is locked. Every file that recovery reads is synced, and
//     then read from the device, not from the page cache: after a failed
//     writeback the cache holds, as clean pages, what the device never got.
//  2. A pure function over the bytes (package recovery) finds the records, the
//     watermark and the verdict. Open begins at the newest segment before which
//     everything is proved to have been durable; Verify reads everything.
//  3. Where page cache and device differ, the device's bytes are written to the
//     file and synced, before any other store.
//  4. What is behind the tail is cut: an epoch greater by one is made durable
//     in a slot, together with the place where it begins; later segments are
//     removed; what is behind the tail is zeroed, and synced. Once the slot is
//     durable, frames behind that place with a smaller epoch are neither records
//     nor damage, whichever of the other steps a crash undoes.
//
// A crash during recovery, at any point, any number of times, is harmless: from the
// state that it leaves, the same steps lead to the same result. A slot that a crash
// tore is first overwritten, durably, with bytes that are part of no valid slot, and
// only then with the next record: half of the new record could otherwise complete
// the old one, whose cut was never made.
//
// # Cuts
//
// TruncateBack is step 4 of a recovery on a live log, and crash-safe by the same
// order. A batch may be cut anywhere: recovery accepts what is left of it as whole
// where the current epoch's cut lies there, or where what follows has a greater
// epoch, since the frames of one batch all have the same. Prepared segments behind a
// cut in the last segment stay; a cut in an earlier one removes them with the others.
//
// TruncateFront makes the new first LSN durable in both slots of the last
// segment, and later stamps repeat it. Only then are files removed, and their
// removal need not be durable: where a crash brings such a file back, the front shows
// that it is a leftover. One file at a time is kept under its name, to become the next
// prepared segment: it gets that segment's temporary name, the directory is synced,
// and only then is a byte of it changed.
//
// Reset stamps the next prepared segment with the next epoch, a cut in front of
// it, and the front. The stamp is one sector: until it is durable the log is the old
// one, and from then on all older segments are leftovers.
//
// # Failures
//
// After the first failed msync, fsync or directory fsync the log acknowledges
// nothing more (ErrPoisoned): a sync that is repeated reports success for data
// that is gone. After each sync, before it is acknowledged, the files are
// checked to be the ones that were mapped, whole, and under their names, and so
// are the lock file and the directory; what the sync covered is read back, and
// compared with its checksums. Accesses to the mapping are guarded: a file that
// was truncated, or a page for which the disk has no space, is an error and not
// the end of the process.
//
// Another process that changes the log's files can do this without being noticed by
// these checks: harm records that were acknowledged before, which readers of them,
// Verify and the next Open find, and which no later acknowledgement of other records
// denies; undo its change between two checks; replace bytes by valid ones that it
// forged or kept; and harm a file between the last check and the acknowledgement,
// which is the same as just after it. Close a log before its directory is moved.
//
// # Readers
//
// A Reader of Log.Reader, and one of OpenReader in any process, see each record
// once it is whole. They follow the chain of links from frame to frame and from
// the last frame of a segment to the stamp of the next: what they return is one
// run of records of one log, whatever is cut at the same time. Where a cut removes the
// record that a Reader returned last, or the one that is next, the Reader ends with
// ErrTruncated, also where other records have these LSNs by then; it never returns
// other bytes. A durable-only Reader ends before the first record that power
// loss could take.
//
// A reader in another process learns of appends, syncs and cuts from the control
// block of the log's last segment: the writer stores the epoch of a cut there before
// it changes a byte behind the cut, and a reader that finds the same epoch before and
// after it copied a record knows that the record was whole. Open believes nothing that
// the block says.
//
// A Reader in the writer's process may hand out records where they are mapped
// (Reader.ZeroCopy). The segment is then pinned until the Reader moves on: a cut at
// the front removes it from the log at once, but leaves its bytes alone until then; a
// cut at the back, which zeroes bytes, waits for the Reader before it begins.
//
// # Verification
//
// Verify, Dump and Inspect take no lock, write nothing, and need read permission
// only. Concurrently with a writer they report the log as it was at one moment: a
// record in progress is not torn, a segment that is removed at the same time is not
// missing, and what they cannot find out is unknown, not guessed.
//
// # Memory
//
// What a log keeps in memory, and what it takes for a time, depends on how many
// segments there are and how large they are, never on what a file says. In bytes of
// the heap, where no other place is named:
//
//	an open log          64 KiB; 24 for each 16 KiB of a segment that is mapped for
//	                     writing: the tail, those not durable yet and those prepared
//	  a segment of it    1 KiB
//	  places for Get     24 for each 16 KiB of the newest segments that are full, up
//	                     to 6 MiB; 6 KiB for each older one
//	  address space      what is mapped for writing, and 64 segments for reading
//	Open                 2 KiB for each file; outside of the heap 32 MiB, and addresses
//	                     for the segment at hand
//	Verify, Dump         2 KiB for each file; one segment mapped, 32 MiB of it at once,
//	                     or the record that is handed out, if that is larger
//	  of the device      the same outside of the heap
//	Inspect              2 KiB for each file, and 2 MiB
//	a Reader             its own record, where it copies
//	a LogReader          24 for each 16 KiB of a segment that it holds mapped
//
// A file that was made longer than its segment counts as the segment; one whose
// header is lost as 4 GiB at most. Recovery has little more than 64 files open at a
// time; a file that it closed and opens again has to be the same inode.
//
// # Concurrency
//
// A log has one writer, which is one Log in one process; a second one gets
// ErrLocked. All methods of a Log may be called by any number of goroutines at
// once. Appends take turns for the time of a copy; a sync does not hold them
// up, but a page that is being written back may.
package wal

// Where things are, for who changes this package. Package frame has the rules of the format,
// internal/recovery the function from bytes to records and verdict, internal/logdir the files
// of a directory, internal/segment a segment's index, cursor and control block.
//
//	log, options, errors, stats, lsn     the type Log, its goroutines and locks
//	lock                                 one writer: the lock file and what is in it
//	append, commit, sync_*               a record is stored; callers wait for a sync; a sync is
//	                                     made (sync), in the background, and read back
//	checkpoint, truncate_*, reset, cut   what is written into a slot; cuts at both ends, and of
//	                                     all; the steps that cuts at the back have in common
//	segment_*                            a segment is prepared, gets its name (publish), is used
//	                                     again (recycle), comes into memory ahead of appends
//	                                     (prefault), stays mapped for reading (cache)
//	reader                               type Reader, in every process
//	reader_*                             its part in the writer's process, and Log.Get
//	logreader_*                          its part in other processes, and type LogReader
//	open_*                               Open and Repair: read around the page cache (source),
//	                                     analyze, make cache and device the same and go on
//	                                     (resume), save and remove what a crash left (salvage,
//	                                     trim), fill gaps, pass over what cannot be read
//	verify_*, report                     Verify and Dump
//	inspect_*                            Inspect: segments, frames, pages
//	wrong                                where the crash lab has a log be wrong
