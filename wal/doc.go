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
//	0000000000000004.tmp   on its way to become one
//	seawall.lock           locked by the writer; names the log and its last checkpoint
//	lost/0001/…            what a trim or a repair removed
//
// Segments have no gap in their names: a prepared one has its final name from
// birth on, so that a rotation changes no directory and a missing one is seen.
//
// # A segment
//
//	offset    bytes  block
//	     0     4096  header   written once, at birth
//	  4096     4096  stamp    written when the log rotates into the segment
//	  8192     4096  slot 0   witness of a checkpoint or a cut
//	 12288     4096  slot 1   the other one
//	 16384     4096  control  for readers in other processes; recovery never reads it
//	 20480      ...  frames
//
// Package frame draws each of them byte by byte, and numbers the rules by
// which a frame is valid.
//
// # What is durable, and who says so
//
// Mapped pages reach the device in any order, at any time. So a valid frame
// may lie behind a hole, and an end of the log may be torn by a crash, or be
// acknowledged data that was lost since. Watermarks tell them apart. Each
// frame names the LSN that was durable when it was appended; so do stamps; a
// sync whose records name an older one begins with a mark, a frame without a
// record, that names it; and a checkpoint leaves a slot that names all before
// it. None of them ever names what no returned sync had made durable.
//
// Where the chain of frames ends before the highest watermark on the disk,
// acknowledged records are lost: that is damage, a *CorruptError, and nothing
// is changed until a person runs Repair with Force. Where it ends behind, the
// rest is torn, and Open trims it. What no watermark covers is the newest sync
// without a Checkpoint or a Close behind it.
//
// A watermark goes with the segment that it is in: a directory whose newest
// segments were lost is what it was before they were made. So Checkpoint and Close
// leave theirs in the lock file too, once all that it names is durable; it holds
// until a cut at the back, or a reset, begins a higher epoch. Records that came
// behind the last checkpoint can be lost with their segments, and nothing tells.
//
// # Recovery
//
//  1. The directory is locked. Every file that will be judged is synced, and
//     then read from the device, not from the page cache: after a failed
//     writeback the cache holds, as clean pages, what the device never got.
//  2. A pure function over the bytes finds the records, the watermark and the
//     verdict. Open begins at the newest segment before which everything is
//     proved to have been durable; Verify reads everything.
//  3. Where page cache and device differ, the device's bytes are written and
//     synced, before any other store.
//  4. What is behind the tail is cut: an epoch greater by one is made durable
//     in a slot, together with the place where it begins; later segments are
//     removed; what is behind the tail is zeroed, and synced. From the slot on,
//     frames behind that place with a smaller epoch are neither records nor
//     damage, whatever of the other steps a crash undoes.
//
// A crash during recovery, at any point, any number of times, is harmless:
// each step leaves a state that the same steps lead on from. A slot that a crash
// tore is overwritten, durably, with bytes that are part of no slot before the
// next one is stored there: half of that one could complete the old one, whose
// cut was never made.
//
// # Cuts
//
// TruncateBack is step 4 of a recovery on a live log, and crash-safe by the same
// order. A batch may be cut anywhere: recovery takes what is left of it for
// whole where the ruling cut lies there, or where what follows has a greater
// epoch, which within a batch nothing has. Prepared segments behind a cut in the
// last segment stay; a cut over segments removes them with the others.
//
// TruncateFront makes the new first LSN durable in both slots of the last
// segment, and later stamps repeat it. Only then are files removed, and their
// removal need not be durable: what lies wholly before the front is a leftover,
// whatever of it a crash brings back. One of them at a time is kept under its
// name and becomes the next prepared segment: it gets the temporary name of
// that, the directory is synced, and only then is a byte of it changed.
//
// Reset stamps the next prepared segment with the next epoch, a cut in front of
// it, and the front: one sector, before which the log is the old one, and behind
// which all older segments are leftovers.
//
// # Failures
//
// After the first failed msync, fsync or directory fsync the log acknowledges
// nothing more (ErrPoisoned): a sync that is repeated reports success for data
// that is gone. After each sync, before it is acknowledged, the files are
// checked to be the ones that were mapped, whole, and under their names, and so
// are the lock file and the directory; what the sync covered is read back, and
// compared with its checksums. Accesses to the mapping are guarded: a file that
// was truncated, or a page that the disk has no room for, is an error and not
// the end of the process.
//
// What a neighbour can do unseen: harm what was acknowledged before, which is
// found by those who read it, by Verify and by the next Open, and never denied by
// a later acknowledgement of other records; undo its harm between two of these
// checks; put valid bytes of its own making, or old ones, in place; and harm a
// file between the last check and the acknowledgement, which is the same as just
// behind it. Whoever moves the directory of a live log has to close it first.
//
// # Readers
//
// A Reader of Log.Reader, and one of OpenReader in any process, see each record
// once it is whole. They follow the chain of links from frame to frame and from
// the last frame of a segment to the stamp of the next: what they return is one
// run of records of one log, whatever is cut meanwhile. Where a cut takes the
// place that a Reader stands at, also where other records have the same LSNs by
// then, it ends with ErrTruncated and says what is there now; it never returns
// other bytes. A durable-only Reader ends before the first record that power
// loss could take.
//
// A reader in another process learns of appends, syncs and cuts from the control
// block of the segment it reads: the writer stores the epoch of a cut there before
// it changes a byte behind it, and a reader that finds the epoch as it was after it
// has copied a record knows that the record was whole. Open believes nothing that
// the block says.
//
// Record of a Reader in the writer's process is the mapping itself. Its segment
// is pinned until the Reader moves on: a cut at the front takes it from the log at
// once, and its bytes are left alone until then; a cut at the back, which zeroes
// bytes, waits for that before it begins.
//
// # Looking
//
// Verify, Dump and Inspect take no lock, write nothing, and need read permission
// only. Beside a writer they judge what was there at one moment: a record in the
// making is not torn, a segment that goes meanwhile is not missing, and what they
// cannot find out is unknown, not guessed.
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
// header is lost as 4 GiB at most. While a log is judged, 64 of its files are open at
// the most, and a few more: one that is opened again has to be the one that it was.
//
// # Concurrency
//
// A log has one writer, which is one Log in one process; a second one gets
// ErrLocked. All methods of a Log may be called by any number of goroutines at
// once. Appends take turns for the time of a copy; a sync does not hold them
// up, but a page that is being written back may.
package wal
