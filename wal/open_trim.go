package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// trim cuts what lies behind the tail, in the order of cutBehind. The epoch and the cut
// are set in memory first, since the checkpoint record is made of them. That the file is
// whole is checked at the end: after a truncation, syncs return success for what is gone.
//
// This file is the part of Open and Repair that removes: trim and its steps, clear for the
// files that are no part of the log, and recreate for a log of which no segment can be
// appended to. TruncateBack has the same steps for a log that is open (truncate_back.go); what
// both share is cut.go. A failure here is an error of Open and no poison: the next Open begins
// again, from whatever step was reached.
func (op *opening) trim(s *writableSegment, tail *diskFile) error {
	l, res := op.l, op.res
	epoch, err := op.nextCut()
	if err != nil {
		return err
	}
	l.opts.Logger.Warn("trimming the log", "dir", l.dirPath, "last", l.LastLSN(), "torn_bytes", res.TornBytes)
	l.beginEpoch(epoch, s.ordinal, l.at)
	err = l.cutBehind(s, l.newCheckpointRecord(l.at, l.at.LSN),
		func() error { return op.removeBehind(tail) },
		func() error { return op.zeroBehind(s, tail) })
	if err != nil {
		return s.storeError(err)
	}
	if err := s.file.Check(s.expect); err != nil {
		return err
	}
	op.rep.Trimmed = true
	op.rep.LastLSN = l.LastLSN()
	op.rep.giveUp(op.res)
	return nil
}

// saveBehind saves what a trim would remove, before a byte of the log is changed. Open
// saves only where intact records lie behind the tail, a repair always. That there is an
// epoch left for the cut is checked first, so that a refused Open leaves no copies. What
// lies behind a torn tail without an intact record, half a frame for instance, is of no
// use to anyone.
func (op *opening) saveBehind() error {
	if op.res.Verdict == recovery.Clean || !op.mode.save && len(op.res.Behind) == 0 {
		return nil
	}
	if _, err := op.nextCut(); err != nil {
		return err
	}
	if err := op.save(); err != nil {
		return fmt.Errorf("wal: save what is behind the tail before it is removed: %w", err)
	}
	return nil
}

// removeBehind removes the segments behind the tail, the newest first, so that a crash
// in between leaves no gap in the names, and then syncs the directory. Files under
// temporary names go as well, whatever their ordinal: no record is in them that stays,
// since adopt has given those their final names. A file that d.gone marks is the tail's
// own.
func (op *opening) removeBehind(tail *diskFile) error {
	for i := len(op.files) - 1; i >= 0; i-- {
		d := op.files[i]
		if d.gone || d.Ordinal <= tail.Ordinal && !d.Temp {
			continue
		}
		if err := errors.Join(d.close(), op.l.dir.Remove(d.Name)); err != nil {
			return err
		}
	}
	return op.l.dir.Sync()
}

// zeroBehind zeroes what is not zero behind the tail. Page cache and device
// hold the same by now, so that what was read from the device tells where.
//
// It goes up to the end of the segment, since what a crash tore may lie anywhere in it: pages
// reach the device in any order.
func (op *opening) zeroBehind(s *writableSegment, tail *diskFile) error {
	// A tail without a valid stamp may hold a torn one. It is zeroed first, and durably:
	// settle stamps the segment, and the two must not mix.
	if s.start.Off == 0 {
		if err := s.mem.Zero(frame.StampOffset, frame.BlockBytes); err != nil {
			return err
		}
		if err := s.mem.Sync(frame.StampOffset, frame.BlockBytes); err != nil {
			return err
		}
	}
	z := zeroing{mem: s.mem}
	err := tail.scan(op.l.at.Off, func(off int64, p []byte) error {
		defer logdir.ReleaseMapped(s.mem, off, off+int64(len(p))) // stored pages stay in the page cache
		return z.blocks(off, p)
	})
	if err != nil {
		return err
	}
	return z.sync()
}

// clear removes the files that are no part of the log: prepared segments
// that no record reached, and leftovers of a front cut. It runs last: only when the
// front and the last cut are durable in the tail (trim, nameFront) is no other file
// needed to tell that these are not the log's.
//
// These files hold no record of the log, so their removal may be undone by a crash: the next
// Open finds them to be the same, and removes them again. They take space, and a temporary
// name may be that of a segment to come.
func (op *opening) clear(tail *diskFile) error {
	removed := false
	for i := range op.files {
		d, state := op.files[i], op.res.Segments[i].State
		if d == tail || d.gone {
			continue
		}
		if state != recovery.StateTemporary && state != recovery.StateLeftover {
			continue
		}
		if err := errors.Join(d.close(), op.l.dir.Remove(d.Name)); err != nil {
			return err
		}
		removed = true
	}
	if removed {
		return op.l.dir.Sync()
	}
	return nil
}

// giveUp notes in the report which acknowledged records a forced cut at the tail
// gives up. Behind keeps only those that were not acknowledged, so that no record is
// listed twice. A dry run asks it too (scan.plan): then nothing is cut, and the report
// says what would be.
func (rep *Report) giveUp(res *recovery.Result) {
	if res.Verdict != recovery.Damaged {
		return
	}
	for _, d := range res.Damage {
		rep.LostUnknown = rep.LostUnknown || d.Unknown
	}
	if unrecoverable(res) {
		last := lastKnown(res)
		if last >= res.Front {
			rep.Lost = append(rep.Lost, Range{res.Front, last})
		}
		rep.FirstLSN, rep.LastLSN = last+1, last
		return
	}
	if res.First > res.Front {
		rep.Lost = append(rep.Lost, Range{res.Front, res.First - 1})
		rep.FirstLSN = res.First
	}
	if res.Watermark > rep.LastLSN {
		rep.Lost = append(rep.Lost, Range{rep.LastLSN + 1, res.Watermark})
	}
	// Records up to the watermark were acknowledged, and are in Lost.
	var behind []Range
	for _, b := range rep.Behind {
		if b.Last > res.Watermark {
			behind = append(behind, Range{max(b.First, res.Watermark+1), b.Last})
		}
	}
	rep.Behind = behind
}

// unrecoverable reports whether no segment is left that the log could go on
// in: a forced repair then makes an empty log (recreate). A segment whose header is lost
// cannot be appended to, and its frames are never part of the chain.
func unrecoverable(res *recovery.Result) bool {
	t := res.Tail.File
	return t < 0 || res.Segments[t].State == recovery.StateDamaged
}

// lastKnown returns the highest LSN that anything on the disk names: a watermark, the
// tail, or an intact record behind it.
func lastKnown(res *recovery.Result) LSN {
	last := max(res.Watermark, res.Tail.LSN)
	for _, r := range res.Behind {
		last = max(last, r.Last)
	}
	return last
}

// recreate makes an empty log with the same identity behind the highest LSN that
// anything on the disk names, so that no LSN is given out twice, and with a greater
// epoch than any. It is reached with force only, and saves all segments first.
//
// A crash during it may leave some of the segments, or none. Where the lock file names the
// log, that is damage to the next Open, and a further forced repair comes here again. The size
// of the segments is taken from a header that is left: a repair has no option for it.
func (op *opening) recreate() error {
	res := op.res
	if err := op.save(); err != nil {
		return fmt.Errorf("wal: save the segments before they are removed: %w", err)
	}
	last := max(lastKnown(res), op.known.Newest.Watermark)
	op.rep.giveUp(res)
	before := max(res.Epoch, op.known.Newest.Epoch)
	op.l.epoch = max(before, before+1) // behind the last one there is no other
	for _, d := range op.files {
		if h, err := frame.DecodeHeader(d.head.Bytes()); err == nil {
			op.l.opts.SegmentBytes = h.SegmentBytes
		}
	}
	id := res.UUID
	if id == (frame.UUID{}) {
		id = op.known.UUID
	}
	if id == (frame.UUID{}) {
		op.l.random(id[:])
	}
	// From the removal of the segments on, only the lock file tells the last LSN, until the
	// new segment's stamp does: a crash in between comes here again by the next repair.
	if err := op.l.owner.writeLock(op.known, id); err != nil {
		return err
	}
	told := frame.Checkpoint{Epoch: op.l.epoch, Ordinal: 1, Watermark: last, Front: last + 1}
	if _, err := op.l.owner.noteCheckpoint(told); err != nil {
		return err
	}
	if err := op.create(id, last+1, frame.StampReset); err != nil {
		return err
	}
	op.rep.Trimmed = true
	op.rep.FirstLSN, op.rep.LastLSN, op.rep.DurableLSN = last+1, last, last
	return nil
}
