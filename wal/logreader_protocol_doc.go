package wal

// How the writer and readers in other processes use a segment's control block.
//
// # The writer
//
// Only the block of the segment that the log ends in is updated.
//
//   - An append stores the frame, then appended.
//   - A sync stores durable when it has returned.
//   - A rotation fills the next segment's block, stores its stamp, then next in
//     the old block, and only then appends: a reader that finds next zero has the
//     block that is updated.
//   - A cut at the back stores the lowered appended and durable, and then the
//     next epoch, into the blocks of the old and the new tail, before any byte
//     behind the cut is changed and any file removed. Reset does that to the old
//     tail; it raises the front there, and sets next, since a segment with a chain
//     of its own follows.
//   - A cut at the front stores front before any file is removed or used again.
//
// # The reader
//
//  1. It loads epoch and next, then appended: a record up to that is whole.
//  2. It copies header and payload, and checks them against the seed of the salt
//     that it first read for the segment, and the link of the frame before.
//  3. It loads epoch, next and front again. As long as they have not changed, no
//     byte that it copied has either. Otherwise it finds out again where the log is,
//     and whether the place that it had is still one of it.
//
// # Why that is enough
//
// The words are stored and loaded by sync/atomic, which is sequentially
// consistent on either side; the mappings are of the same pages, so that the
// processes are to the machine what threads are. What is loaded between two
// atomic loads is not atomic. It is good if it saw what was stored before
// appended was, and nothing that was stored after the next epoch was.
//
// The first holds since the store of appended is a release and its load an
// acquire: on amd64 every store and load is, on arm64 Go emits STLR and LDAR.
//
// The second is that of a sequence lock. The writer's part: between the store of
// the epoch and the first byte that is changed lie locks (assertUnheld, newCheckpointRecord),
// and system calls. On arm64, the STLR of the epoch is ordered before the
// load-acquire by which a lock is taken, as STLR and LDAR are among themselves,
// and that before what follows it. The reader's part: its plain loads must be
// done when it loads the epoch again. On amd64 loads are not reordered. On
// arm64 an LDAR does not hold back loads before it; so the reader first stores a
// word of its own (fence): an STLR comes behind all loads before it, and an LDAR
// behind it not before it. A reader that saw a changed byte therefore sees the
// changed epoch. The compiler does not move loads over atomic ones either.
//
// A file that was removed and is used again is written by system calls, after the
// store of front; the same argument holds for that. What is copied in a case that the
// argument does not cover, say after a writer died in a cut, is still checked against
// the chain: bytes that were not appended at that very place behind that very record
// do not pass.
//
// A Reader in the writer's process does the same with the epoch and the front of
// its Log (Log.fetch); the release of its pin, an atomic addition, is its fence.
