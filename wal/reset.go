package wal

import (
	"errors"
	"fmt"
	"math"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// Reset removes all records and makes the log go on at the given LSN, which
// may be any up to MaxLSN but zero, also one that the log has had: a store that installs
// a snapshot lets its log begin again behind it. FirstLSN is next then, LastLSN
// next-1, durably when it returns nil. It begins with a wait until no Reader holds a
// record by ZeroCopy, as TruncateBack does.
//
// It returns what TruncateBack returns, and ErrNoSpace where there is no space
// for the segment that it needs; the log is then as it was. At any crash the
// log is the old one or the new one.
func (l *Log) Reset(next LSN) error {
	if next == 0 || next > MaxLSN {
		return fmt.Errorf("%w: Reset to LSN %d, which is no record's", ErrOptions, next)
	}
	if err := l.checkWritable(); err != nil {
		return err
	}
	// The order is: readers first, as in TruncateBack; then a sync, and the wait for a segment,
	// during which appends may still go on in the tail; then quiet, and a second sync for what
	// these have appended. Only reset itself changes the log.
	done, err := l.awaitUnheld(0)
	if err != nil {
		return err
	}
	defer done()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.checkWritable(); err != nil {
		return err
	}
	if _, err := l.nextCut(); err != nil {
		return err
	}
	// Appenders enter no segment until this call has one. Segments that wait for a
	// sync could keep it from being prepared, and no other goroutine can sync them
	// while this one holds syncMu.
	l.allowRotation(false)
	defer l.allowRotation(true)
	if _, err := l.syncLocked(); err != nil {
		return err
	}
	if err := l.quiescePrepared(); err != nil {
		return err
	}
	defer l.resume()
	if _, err := l.syncLocked(); err != nil {
		return err
	}
	if err := l.reset(next); err != nil {
		return l.fail(err)
	}
	l.stats.truncations.Add(1)
	return nil
}

// allowRotation says whether appenders may enter prepared segments.
func (l *Log) allowRotation(may bool) {
	l.mu.Lock()
	l.resets = !may
	l.spaceAvailable.Broadcast()
	l.mu.Unlock()
}

// quiescePrepared is quiesce, and makes sure that a prepared segment is at hand. It
// repeats, since the segment that it waited for may be discarded before the log is
// quiet. awaitSegment is asked for more bytes than any segment has, so that space in the
// tail does not end the wait. The caller holds syncMu.
func (l *Log) quiescePrepared() error {
	for {
		if err := l.checkWritable(); err != nil {
			return err
		}
		l.mu.Lock()
		err := l.awaitSegment(math.MaxInt64, true)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if err := l.quiesce(); err != nil {
			return err
		}
		l.mu.Lock()
		n := len(l.ready)
		l.mu.Unlock()
		if n > 0 {
			return nil
		}
		l.resume() // it was discarded before quiesce returned
	}
}

// reset makes the log go on in the next prepared segment, with a chain of its
// own. The segment's stamp, one sector, carries the next epoch, the cut in
// front of the segment, and the front: until it is durable the log is the old
// one, and from then on all older segments are leftovers.
//
// Before the stamp is durable, a crash leaves the old log, whole: its bytes are not touched.
// After it, the slots that are still missing say nothing new, and the files that are still
// there are leftovers, which Open removes. A failure on the way poisons the log, since readers
// were told by then.
func (l *Log) reset(next LSN) (err error) {
	l.mu.Lock()
	epoch, err := l.nextEpoch(l.epoch)
	s, old := l.ready[0], l.tail
	l.mu.Unlock()
	if err != nil {
		return err
	}
	gone, err := l.tellReset(next, epoch)
	if err != nil {
		return err
	}
	l.store.pins.assertUnheld(0)
	// From here on no Reader returns a record. The stamp is stored, but not durable: a
	// crash leaves the old log or the new one.
	l.mu.Lock()
	l.ready = l.ready[1:]
	s.taken = true
	l.beginEpoch(epoch, s.ordinal, frame.Place{Off: frame.DataOffset, LSN: next - 1})
	l.at = frame.Place{LSN: next - 1}
	err = l.stamp(s, 0, frame.StampReset)
	if err == nil {
		l.dirty = l.dirty[:0]
		l.enter(s)
		l.namedWatermark = 0
		l.cutCount.Add(1)
	}
	l.mu.Unlock()
	if err != nil {
		return errors.Join(err, s.close())
	}
	defer func() { err = errors.Join(err, old.close()) }()
	if err = s.mem.Sync(frame.StampOffset, frame.StampBytes); err != nil {
		return err
	}
	// Both slots repeat what the stamp says.
	c := l.newCheckpointRecord(s.start, next-1)
	if err = l.writeSlots(s, c); err != nil {
		return err
	}
	snap := snapshot{lsn: next - 1, at: s.start, tail: s, link: frame.StampLinkOffset, ranges: []dirtyRange{{seg: s}}}
	if err = l.checkSynced(&snap); err != nil {
		return err
	}
	l.mu.Lock()
	l.dirty[0].from = frame.DataOffset
	l.mu.Unlock()
	l.dispose(gone)
	if len(gone) == 1 { // what is kept to be used again lies right before the segment
		if err = l.dropSpare(); err != nil {
			l.opts.Logger.Warn("cannot remove a truncated segment", "dir", l.dirPath, "err", err)
		}
	}
	// The LSNs of what was removed are given out again. Only this cut and the segment's
	// stamp tell those files from the log's own: if a crash brought them back behind the
	// next cut, and the stamp were lost, they would count as the log. So their removal
	// is made durable.
	return l.dir.Sync()
}

// tellReset takes all records from readers, before a byte changes, and returns the
// segments that held them. In this process the epoch tells, in others the control block
// of the old tail, where readers also find that the log goes on in the next segment. The
// list of segments is empty until reset enters the new one: a Reader that looks in
// between finds no segment, and then the other epoch.
func (l *Log) tellReset(next LSN, epoch uint32) ([]*stored, error) {
	t := &l.store
	l.mu.Lock()
	t.mu.Lock()
	t.cut(epoch, 0)
	l.lower(next - 1)
	l.front.Store(uint64(next))
	gone := t.take(0, len(t.list))
	l.mu.Unlock()
	_ = t.unlock() // what was mapped for reading only
	if err := segment.LowerControl(l.tail.mem, &frame.Control{Front: next, Epoch: uint64(epoch)}); err != nil {
		return gone, err
	}
	segment.StoreNext(l.tail.mem, l.tail.ordinal+1)
	return gone, nil
}
