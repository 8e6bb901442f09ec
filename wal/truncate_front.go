package wal

import (
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/internal/seam"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// TruncateFront makes the record with that LSN the log's first one: those
// before it are gone, durably, when it returns nil. Everything that was
// appended before the call is made durable too. LastLSN+1 removes all records;
// an LSN that is not above FirstLSN changes nothing.
//
// Segments that lie wholly before the first record are removed, or used again
// for records to come. A Reader whose next record was removed ends with
// ErrTruncated.
//
// It returns ErrNotFound for an LSN above LastLSN+1, ErrPoisoned and ErrClosed.
// At any crash the log has its old first record or the new one.
func (l *Log) TruncateFront(lsn LSN) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.checkWritable(); err != nil {
		return err
	}
	if lsn <= l.FirstLSN() {
		return nil
	}
	if last := l.LastLSN(); lsn-1 > last {
		return fmt.Errorf("%w: truncate the front up to LSN %d, the last is %d", ErrNotFound, lsn, last)
	}
	// A log whose first record is behind its last durable one would be damaged
	// by the next crash; and a segment may be removed only when the stamp of the
	// next one, which says where the log goes on, is durable. The sync sees to both.
	snap, err := l.syncLocked()
	if err != nil {
		return err
	}
	c := l.newCheckpointRecord(snap.at, snap.lsn)
	c.front = lsn
	if l.wrong.Has(seam.FrontUnlinksFirst) {
		l.dispose(l.store.takeBelow(lsn, snap.tail.ordinal))
	}
	if err := l.writeSlots(snap.tail, c); err != nil {
		return l.fail(err)
	}
	snap.ranges = []dirtyRange{{seg: snap.tail}}
	if err := l.checkSynced(&snap); err != nil {
		return l.fail(err)
	}
	l.slots.set(&snap)
	l.raiseFront(lsn)
	l.dispose(l.store.takeBelow(lsn, snap.tail.ordinal))
	l.stats.truncations.Add(1)
	return nil
}

// raiseFront tells readers, in this process and in others, of the new front
// before any file is removed: what they find missing from then on was truncated.
// The front is durable before they are told, so that no reader is refused a record
// that a crash could bring back. The block is that of the tail of this moment: an
// appender may have rotated since the slots were written, and then its segment's stamp
// may name the old front. The next Open repairs that (nameFront).
func (l *Log) raiseFront(lsn LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.front.Store(uint64(lsn))
	segment.StoreFront(l.tail.mem, lsn)
}

// takeBelow takes the segments that lie wholly before the front out of the
// list, and returns them, the oldest first. Those from the given ordinal on
// stay: they may not be durable.
func (t *segments) takeBelow(front LSN, from uint64) []*stored {
	t.mu.Lock()
	defer func() { _ = t.unlock() }() // read-only: nothing is lost with a mapping
	keep := 0
	for i, st := range t.list {
		if st.ordinal <= from && st.begins != 0 && st.begins <= front {
			keep = i
		}
	}
	return t.take(0, keep)
}

// take removes the segments [from, to) from the list and returns them. Their mappings
// are unmapped by unlock, which the caller, who holds mu for writing, calls next.
func (t *segments) take(from, to int) []*stored {
	gone := slices.Clone(t.list[from:to])
	t.list = slices.Delete(t.list, from, to)
	for _, st := range gone {
		t.unmap(st)
	}
	return gone
}

// cut notes a cut at the back. The caller holds mu for writing, and lowers the last
// readable LSN after it: a reader that sees the lower LSN then sees the new epoch too.
func (t *segments) cut(epoch uint32, last LSN) {
	t.epoch.Store(epoch)
	t.cuts.add(epoch, last)
	t.notifyAll()
}

// dispose removes the files of segments that lie before the front, the oldest
// first, or keeps one to be used again. The removals need not be durable: what
// a crash brings back is known as a leftover by the front, and that is durable.
// A file that cannot be removed stays until the next Open, for the same reason.
// A reset disposes of all segments so. A segment that a ZeroCopy Reader holds is removed,
// and not kept: its bytes stay with the mapping until the Reader moves on, while those of
// a recycled file would change.
func (l *Log) dispose(gone []*stored) {
	for _, st := range gone {
		if !st.pinned() && l.keepSpare(st.ordinal) {
			continue
		}
		if err := l.removeFile(st.name); err != nil {
			l.opts.Logger.Warn("cannot remove a truncated segment", "dir", l.dirPath, "segment", st.name, "err", err)
		}
	}
}

// quiesce keeps the tail and the files as they are until resume: appenders wait, no
// segment is being prepared, and each that was has its name or was discarded. The
// caller holds syncMu, so no sync runs either. It returns an error, and the log goes
// on, where a segment that holds records cannot get its name.
//
// An append that is being stored is finished first, since it holds mu; others wait in reserve.
// A segment that is being filled is given up (cancelled). The namer may wait for space for a
// name without end (stuck), and so is not waited for: that is the error.
func (l *Log) quiesce() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutting.Store(true)
	for l.prepare.filling || l.prepare.unnamed > 0 && l.prepare.stuck == nil {
		l.spaceAvailable.Wait()
	}
	err := l.checkWritable()
	if err == nil && l.prepare.stuck != nil {
		err = &notDurableError{l.prepare.full}
	}
	if err != nil {
		l.cutting.Store(false)
		l.spaceAvailable.Broadcast()
		return err
	}
	return nil
}

// resume ends what quiesce began, and wakes the appenders and the preparer, which
// wait for it.
func (l *Log) resume() {
	l.mu.Lock()
	l.cutting.Store(false)
	l.spaceAvailable.Broadcast()
	l.mu.Unlock()
}
