package wal

import (
	"context"
	"errors"
	"time"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// Sync makes everything that was appended before the call durable: an msync
// checkpoint. It shares the sync of others where it can.
//
// Where nothing was appended since the last sync, it checks that the newest segment, the
// lock file and the directory are still whole and in their places.
//
// It returns ErrPoisoned after any failed sync, this one included, ErrClosed,
// and ErrNoSpace where Commit does.
func (l *Log) Sync() error {
	if l.closing.Load() {
		return ErrClosed
	}
	l.mu.Lock()
	last, cuts := l.at.LSN, l.cutCount.Load()
	l.mu.Unlock()
	if last <= l.DurableLSN() {
		return l.recheck()
	}
	return l.commit(context.Background(), last, cuts)
}

// recheck checks the tail where there is nothing to sync, in a round of its
// own or as part of the one in progress.
func (l *Log) recheck() error {
	r, lead := l.commits.join()
	if r == nil {
		return ErrClosed
	}
	if lead {
		l.lead(r)
	}
	<-r.done
	if p := l.poison.Load(); p != nil {
		return p
	}
	return nil // what the round failed for otherwise is newer than the call
}

// snapshot is what one sync is to cover. It is taken under mu and not changed by
// appends after that, which go behind it.
type snapshot struct {
	lsn    LSN         // the last record that is covered
	at     frame.Place // the tail behind the last frame that is covered
	tail   *writableSegment
	ranges []dirtyRange
	link   int64 // where at.link lies in the tail
}

// syncOnce runs one sync over everything that is appended when it begins. At
// most one runs: the lock is held until its result is known, checked and
// acknowledged.
func (l *Log) syncOnce() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	_, err := l.syncLocked()
	return err
}

// syncLocked is syncOnce for a caller that holds syncMu. It returns what it
// covered. Its order:
//
//  1. Under mu, the commit is closed, with a mark if need be, and what is to be synced
//     is noted (snapshot). Appends go on behind that.
//  2. Each segment's name and bytes are made durable, the oldest segment first.
//  3. The files are checked to be those that were mapped, and the lock file to be in its
//     place (checkSynced).
//  4. What was synced is read back (readBack).
//  5. Only now is the durable LSN raised, and are waiting callers told (acknowledge).
//
// A failure in any step poisons the log, with two exceptions, where nothing is
// acknowledged and the next sync tries again: a name that the directory does not take,
// for want of space or of a permission, and a mark for which there is no space.
func (l *Log) syncLocked() (snapshot, error) {
	if p := l.poison.Load(); p != nil {
		return snapshot{}, p
	}
	snap, err := l.snapshot()
	if err != nil {
		return snap, err
	}
	if snap.lsn == l.DurableLSN() && snap.at.Off == snap.syncedTo() {
		// Nothing is new, but the caller is told nil, which says that all of it is
		// durable and still there.
		if err = l.checkSynced(&snap); err != nil {
			err = l.fail(err)
		}
		return snap, err
	}
	begin := time.Now()
	// Older segments first: no record is acknowledged before its predecessors.
	for _, r := range snap.ranges {
		if err := l.syncRange(r); err != nil {
			var full *notDurableError
			if errors.As(err, &full) {
				return snap, err
			}
			if l.wrong.Has(seam.PoisonForgotten) {
				l.forgetFailure()
			}
			return snap, l.fail(err)
		}
	}
	if err := l.checkSynced(&snap); err != nil {
		return snap, l.fail(err)
	}
	if !l.wrong.Has(seam.FilesUnchecked) {
		if err := snap.readBack(); err != nil {
			return snap, l.fail(err)
		}
	}
	if p := l.poison.Load(); p != nil { // the preparer's, or an appender's
		return snap, p
	}
	l.acknowledge(&snap)
	l.stats.synced(time.Since(begin))
	return snap, nil
}

// syncedTo returns the offset up to which the tail was synced before, or -1 where
// more than the tail's frames is not synced yet: older segments, or its head.
func (s *snapshot) syncedTo() int64 {
	if len(s.ranges) != 1 || s.ranges[0].seg != s.tail || s.ranges[0].from == 0 {
		return -1
	}
	return s.ranges[0].from
}

// snapshot closes the commit that is to be synced, with a mark where one is
// needed, and says what to sync.
func (l *Log) snapshot() (snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mark(); err != nil && (l.opts.Align != AlignFrame || !errors.Is(err, ErrNoSpace)) {
		return snapshot{}, err
	}
	snap := snapshot{lsn: l.at.LSN, at: l.at, tail: l.tail, link: l.linkOff}
	for _, r := range l.dirty {
		if r.seg == l.tail {
			r.to = l.at.Off
		}
		snap.ranges = append(snap.ranges, r)
	}
	return snap, nil
}

// mark appends a mark if the records that a sync is about to cover need one:
// where no frame yet names the last durable LSN (so that damage to it is told
// from a torn tail, C5), or to carry the next commit to its boundary. The
// caller holds mu. Frames of records name that LSN too, where it is near enough; under
// steady load most syncs therefore need no mark.
func (l *Log) mark() error {
	durable := l.DurableLSN()
	if l.at.LSN == durable || l.poison.Load() != nil {
		return nil
	}
	pad := l.padding()
	if l.namedWatermark == durable && pad == 0 {
		return nil
	}
	return l.putMark(pad)
}

// putMark appends a mark that names the durable LSN and takes at least so many
// bytes. Where no space for it is left in the segment, the next one's stamp names
// that LSN.
func (l *Log) putMark(pad int64) error {
	durable := l.DurableLSN()
	n := max(pad-frame.HeaderBytes, frame.MarkBytes)
	if l.at.Off+frame.Size(n) > l.tail.size() {
		return nil
	}
	var b [frame.MarkBytes]byte
	p := frame.PutMark(&b, durable)
	f := frame.Frame{Length: uint32(n), PayloadCRC: frame.MarkChecksum(p, n), Kind: frame.KindMark}
	// The zeros behind the watermark are there already.
	if err := l.put(&f, p); err != nil {
		return err
	}
	l.stats.marks++
	return nil
}

// padding returns how many bytes a mark has to take so that the next frame
// begins at the segment's alignment, or at its end; 0 where it does anyway. A gap that
// is too small for a mark is widened to the next boundary.
func (l *Log) padding() int64 {
	align := l.tail.align
	gap := (align - l.at.Off%align) % align
	if gap == 0 {
		return 0
	}
	if gap < markReserve {
		gap += align
	}
	return min(gap, l.tail.size()-l.at.Off)
}

// alignBytes returns where commits may begin in a segment that was filled by
// writes of that size.
func alignBytes(a Align, fill uint32) int64 {
	switch a {
	case AlignSector:
		return 512
	case AlignFolio:
		return max(int64(fill), int64(pageSize))
	default:
		return frame.Alignment
	}
}

// syncRange makes a range of a segment durable, and waits before that until the
// segment has its final name, durably: until then a power loss could take the whole
// file, however well its bytes were synced.
func (l *Log) syncRange(r dirtyRange) error {
	if err := r.seg.awaitName(); err != nil {
		return err
	}
	if r.from >= r.to {
		return nil
	}
	l.stats.syncs.Add(1)
	return r.seg.mem.Sync(r.from, r.to-r.from)
}

// checkSynced checks, after the sync and before the acknowledgement, that the
// files are still those that were mapped: after a truncation msync returns
// success for what is gone (kernel fact 5). It also checks that the lock file and
// the directory are in place, so that there is no second writer.
func (l *Log) checkSynced(snap *snapshot) error {
	if l.wrong.Has(seam.FilesUnchecked) {
		return nil
	}
	for _, r := range snap.ranges {
		if err := r.seg.file.Check(r.seg.expect); err != nil {
			return err
		}
		if err := r.seg.checkHead(); err != nil {
			return err
		}
	}
	if err := l.owner.check(); err != nil {
		return err
	}
	got, err := snap.tail.mem.LoadUint32(snap.link)
	if err != nil {
		return err
	}
	if got != uint32(snap.at.Link) {
		return linkChanged(snap.tail, snap.link)
	}
	return nil
}

// acknowledge publishes what a sync made durable, and closes the segments before
// the one that it ended in. The caller holds syncMu, so the durable LSN rises in order
// and OnDurable is never called twice at once. mu is released before that call: it may
// call Stats, which takes mu, and no append is to wait for it.
func (l *Log) acknowledge(snap *snapshot) {
	l.mu.Lock()
	kept := l.dirty[:0]
	var full []*writableSegment
	for _, r := range l.dirty {
		switch {
		case r.seg == snap.tail:
			// It stays also where the log has rotated since and all of it is durable:
			// the checkpoint or the cut that called for the sync still writes into it.
			// The next sync closes it.
			r.from, r.begin = snap.at.Off, snap.at
		case !r.newer(snap.tail):
			full = append(full, r.seg)
			continue
		}
		kept = append(kept, r)
	}
	l.dirty = kept
	l.spaceAvailable.Broadcast() // the preparer may have waited for fewer of them
	l.durable.Store(uint64(snap.lsn))
	segment.StoreDurable(l.tail.mem, snap.lsn)
	l.store.syncs.broadcast()
	if invariants {
		l.assertTail()
	}
	l.mu.Unlock()
	for _, s := range full {
		l.store.retire(s)
	}
	if l.opts.OnDurable != nil {
		defer l.told.Store(uint64(snap.lsn)) // also where it panics
		l.opts.OnDurable(snap.lsn)
	}
}

// newer reports whether the range's segment comes behind s.
func (r *dirtyRange) newer(s *writableSegment) bool { return r.seg.ordinal > s.ordinal }

// Checkpoint makes everything that was appended before the call durable, data
// and metadata, by fsync, and then writes a checkpoint record into the segment, and
// into the lock file, which the loss of whole segments leaves intact. From then on
// the loss of any of these records is damage, never a torn tail.
//
// It costs three syncs more than Sync, and returns what Sync returns.
func (l *Log) Checkpoint() error { return l.checkpoint(false) }

// checkpoint is Checkpoint; closing lets Close pass. syncMu is held throughout, so that
// no other sync and no cut come between the sync and the records that name it. Where the
// newest record covers the same already, only the lock file may still lack it.
func (l *Log) checkpoint(closing bool) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.closing.Load() && !closing {
		return ErrClosed
	}
	if l.wrong.Has(seam.WatermarkEarly) {
		if err := l.recordEarly(); err != nil {
			return l.fail(err)
		}
	}
	snap, err := l.syncLocked()
	if err != nil {
		return err
	}
	if !l.slots.covers(&snap) {
		if err := l.writeCheckpoint(&snap); err != nil {
			return l.fail(err)
		}
	}
	return l.noteCheckpoint(&snap)
}

// writeCheckpoint makes the tail's metadata durable too, and only then writes into it
// the checkpoint record that covers the snapshot: the record would otherwise call
// damage what a crash may still take. The caller holds syncMu.
func (l *Log) writeCheckpoint(snap *snapshot) error {
	if err := snap.tail.file.Sync(); err != nil {
		return err
	}
	if err := l.writeSlot(snap.tail, l.newCheckpointRecord(snap.at, snap.lsn)); err != nil {
		return err
	}
	// The segments before the tail were checked, and may be closed by now.
	snap.ranges = []dirtyRange{{seg: snap.tail}}
	if err := l.checkSynced(snap); err != nil {
		return err
	}
	l.slots.set(snap)
	l.stats.checkpoints.Add(1)
	return nil
}

// noteCheckpoint writes the checkpoint into the lock file too, which outlives the
// loss of the newest segments. The caller holds syncMu.
func (l *Log) noteCheckpoint(snap *snapshot) error {
	c := l.newCheckpointRecord(snap.at, snap.lsn)
	noted, err := l.owner.noteCheckpoint(frame.Checkpoint{
		Ordinal: snap.tail.ordinal, Watermark: c.lsn, Front: c.front, Epoch: c.epoch,
	})
	if err == nil {
		err = l.owner.check()
	}
	if err != nil {
		return l.fail(err)
	}
	if !noted {
		l.opts.Logger.Warn("no space to note the checkpoint in the lock file: the loss of the newest segments would not be told",
			"dir", l.dirPath, "lsn", uint64(snap.lsn))
	}
	return nil
}
