package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/seam"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// resume makes a log whose state is known one that can be appended to. A crash
// between any two of its steps is harmless because of their order:
//
//  1. For every file that recovery used, the page cache is made to hold what the
//     device holds, durably. From here on all that recovery found legal is durable.
//  2. A segment that the log reached under its temporary name gets its final
//     one, each durable before the next: what Open returns lies under names
//     that are durable.
//  3. What is intact behind the tail is saved, and the gaps in the files that stay
//     are filled with zeros (fillGaps).
//  4. What lies behind the tail is cut (trim).
//  5. The tail names the log's front and its last cut, durably (nameFront).
//  6. Files that are no part of the log are removed.
//  7. The lock file names the log (writeLock).
//  8. The tail is made ready for appends, and prepared segments are taken over (settle).
//
// After a crash before the cut of step 4 is recorded, the next Open finds the same records;
// after a later one, a log that ends where this one was cut (cutBehind). Of a log that is
// clean, nothing is saved and nothing cut.
//
// A forced repair of a log that has no segment to go on in makes an empty log instead of steps
// 2 to 8 (recreate).
func (op *opening) resume() error {
	l, res := op.l, op.res
	if err := op.reconcile(); err != nil {
		return err
	}
	if unrecoverable(op.res) {
		return op.recreate()
	}
	if err := op.adopt(); err != nil {
		return err
	}
	if err := op.saveBehind(); err != nil {
		return err
	}
	if err := op.fillGaps(); err != nil {
		return err
	}
	tail := op.files[res.Tail.File]
	l.uuid, l.epoch, l.cut = res.UUID, res.Epoch, res.Cut
	if l.wrong.Has(seam.EpochFalls) {
		l.epoch = 1
	}
	l.store.dir, l.store.uuid = l.dir, l.uuid
	// Where the first segments are missing, a forced repair gives their records up: the
	// log then begins with the first record that is left.
	front := res.Front
	if op.mode.force {
		front = max(front, res.First)
	}
	l.front.Store(uint64(front))
	s, err := op.mapFile(tail)
	if err != nil {
		return err
	}
	op.enterTail(s, tail)
	if res.Verdict != recovery.Clean {
		if err := op.trim(s, tail); err != nil {
			return err
		}
	} else if err := op.nameFront(s, tail); err != nil {
		return s.storeError(err)
	}
	if err := op.clear(tail); err != nil {
		return err
	}
	if err := l.owner.writeLock(op.known, l.uuid); err != nil {
		return err
	}
	return op.settle(s)
}

// nameFront makes the log's front and its last cut durable in the tail, unless they
// are there already. There are two reasons why they may not be. A front cut writes
// the front into the segment that is the tail when it begins, while an appender may
// be rotating into the next one and stamp that with the old front: then the only file
// that names the new front may be one that is removed next. And a writer that was
// killed may have stored them without a sync, so that only the page cache has them.
// In both cases the log would, after a power loss, begin before the LSN that Open
// returned or, where segments were removed, seem to have lost its first segments.
//
// A trim has named both already, with the epoch that it began.
func (op *opening) nameFront(s *writableSegment, tail *diskFile) error {
	l := op.l
	if l.slots.valid || l.wrong.Has(seam.FrontUnnamed) {
		return nil
	}
	h := frame.DecodeHead(tail.head.Bytes())
	if h.StampErr == nil && h.Stamp.Epoch == l.epoch && h.Stamp.Front == l.FirstLSN() {
		return nil
	}
	return l.writeSlots(s, l.newCheckpointRecord(l.at, l.at.LSN))
}

// reconcile makes page cache and device the same for every file, and warns of each
// that could not be read from the device itself. All files are reconciled, and not only
// the tail: the readers of any of these segments are served from the page cache.
func (op *opening) reconcile() error {
	for _, d := range op.files {
		n, err := d.reconcile()
		if err != nil {
			return err
		}
		if n > 0 {
			op.rep.Warnings = append(op.rep.Warnings, d.Name+
				": the page cache held what the device never got; the device's bytes were kept")
		}
		if d.loaded && d.reason != "" {
			w := d.Name + ": read through the page cache: " + d.reason
			if d.stays > 0 {
				w += fmt.Sprintf("; %d bytes stayed in it, which another process maps: if a write to the device failed before, these are not what it holds", d.stays)
			}
			op.rep.Warnings = append(op.rep.Warnings, w)
		}
	}
	return nil
}

// adopt gives the segments of the log that have their temporary name their
// final one, in order. Each name is durable before the next is given, and the
// names that the last writer gave, perhaps without a sync, before the first: a
// filesystem may make a later name durable without an earlier one, and a gap in
// the names is a missing segment.
func (op *opening) adopt() error {
	l := op.l
	if err := l.dir.Sync(); err != nil {
		return err
	}
	for i, d := range op.files {
		st := op.res.Segments[i].State
		if !d.Temp || st != recovery.StateFull && st != recovery.StateActive && st != recovery.StateUnread {
			continue
		}
		f, err := d.held.Use()
		if err != nil {
			return err
		}
		// It was synced before its head was read.
		if err := errors.Join(l.dir.Rename(d.Name, logdir.FinalName(d.Ordinal), f), l.dir.Sync()); err != nil {
			return err
		}
		d.Name, d.Temp = logdir.FinalName(d.Ordinal), false
	}
	return nil
}

// mapFile maps a file for writing, with real blocks behind it, and hands it on to the
// segment that it returns: the segment closes it. It serves the tail and the prepared
// segments. What was read of the file stays: a trim still asks it what lies behind the
// tail (diskFile.handed).
func (op *opening) mapFile(d *diskFile) (*writableSegment, error) {
	if err := d.fillHoles(); err != nil {
		return nil, err
	}
	h, err := frame.DecodeHeader(d.head.Bytes())
	if err != nil {
		return nil, err
	}
	f, err := d.held.Use()
	if err != nil {
		return nil, err
	}
	s, err := mapSegment(op.l.dir, f, h, op.l.opts.Align)
	if err != nil {
		return nil, err
	}
	d.held.Forget() // the segment's now
	d.handed, d.gone = f, true
	return s, nil
}

// enterTail makes the segment with the tail the one to append to, and fills
// the list of segments that readers are served from. All that recovery found is durable
// by now (reconcile), so the durable LSN begins at the tail's. No lock is needed: the
// Log is not returned yet.
func (op *opening) enterTail(s *writableSegment, tail *diskFile) {
	l, t := op.l, &op.res.Tail
	for i, d := range op.files {
		switch op.res.Segments[i].State {
		case recovery.StateUnread, recovery.StateFull:
			if d != tail {
				l.store.list = append(l.store.list, &stored{ordinal: d.Ordinal, name: d.Name, begins: op.res.Segments[i].First, bytes: d.size})
			}
		}
	}
	slices.SortFunc(l.store.list, func(a, b *stored) int { return int(a.ordinal) - int(b.ordinal) })
	h := frame.DecodeHead(tail.head.Bytes())
	if h.StampErr == nil {
		s.first, s.previous = h.Stamp.First, h.Stamp.Previous
		s.start = h.Start()
	}
	s.taken = true
	l.tail, l.limit = s, s.size()-markReserve
	l.at = frame.Place{Off: t.Offset, Link: t.Link, LSN: t.LSN, Epoch: t.Epoch}
	base := op.indexTail()
	var slot frame.Slot
	if l.slots, slot = readSlots(s, &h); slot.Counter != 0 {
		l.slots.at = slot.Place(t.Epoch)
		l.slots.valid = slot.Epoch == op.res.Epoch && slot.Front == l.FirstLSN()
	}
	l.appended.Store(uint64(t.LSN))
	l.setDurable(t.LSN)
	l.store.add(s)
	l.store.list[len(l.store.list)-1].base.Store(base)
	if s.start.Off != 0 { // where there is no stamp yet, settle's adds its start
		s.index.Add(l.at)
	}
}

// indexTail finds where the tail's link lies, behind the last frame's header or
// in the stamp, and returns the places that Get starts from, as recovery noted them
// when it followed the tail's frames. Where it followed a newer segment's frames
// later, those places were dropped, and Get scans the segment when it needs them.
func (op *opening) indexTail() *segment.Index {
	l, t := op.l, &op.res.Tail
	l.linkOff = frame.StampLinkOffset
	if t.Frame != 0 {
		l.linkOff = t.Frame + frame.LinkOffset
	}
	if op.places.file != t.File || op.places.index == nil {
		return nil
	}
	op.places.index.Truncate(t.Offset)
	return op.places.index
}

// placesNoted are places of one segment of the log, for Get: of the newest one whose
// frames were followed. Nearly always the log ends in it. Recovery hands them out as it
// follows frames, so that they cost no further read.
type placesNoted struct {
	file  int // index into the files
	index *segment.Index
}

// note notes a place.
func (n *placesNoted) note(p recovery.Place, segmentBytes int64) {
	if n.index == nil || n.file < p.File {
		n.file, n.index = p.File, new(segment.Index)
		n.index.Init(segmentBytes)
	}
	if n.file == p.File {
		n.index.Add(frame.Place{Off: p.Offset, Link: p.Link, LSN: p.LSN, Epoch: p.Epoch})
	}
}

// settle does the rest of resume: the stamp of a log that has none yet, the control
// block, the alignment of the next commit, and the prepared segments; and it brings
// the pages that the first appends store to into memory.
//
// The control block is set here for the first time: until now readers in other processes saw
// what the last writer had left there. One that sees it change knows that a writer is alive,
// and past its recovery. Where there is no stamp yet, stamp sets the block too.
func (op *opening) settle(s *writableSegment) error {
	l := op.l
	l.prepare.next = s.ordinal + 1
	if s.start.Off == 0 {
		if err := l.stamp(s, 0, 0); err != nil {
			return err
		}
		l.at, l.linkOff = s.start, frame.StampLinkOffset
		l.dirty = append(l.dirty, dirtyRange{seg: s, from: 0, begin: s.start})
	} else {
		if err := l.storeControl(s); err != nil {
			return s.storeError(err)
		}
		l.dirty = append(l.dirty, dirtyRange{seg: s, from: l.at.Off, begin: l.at})
	}
	if err := op.keepPrepared(); err != nil {
		return err
	}
	if err := l.alignTail(); err != nil {
		return err
	}
	l.warmFirst()
	return nil
}

// alignTail carries the next commit to its boundary, durably: the records
// before it count as acknowledged from here on, so a later commit must not store to
// their sectors or folios. The caller makes sure that no append runs at the same time.
// Open calls it, and TruncateBack: both end with records that are durable, and an append
// that is still to come.
func (l *Log) alignTail() error {
	l.mu.Lock()
	from, err := l.at.Off, error(nil)
	if from != frame.DataOffset || l.LastLSN() >= l.FirstLSN() {
		if pad := l.padding(); pad != 0 {
			err = l.putMark(pad)
		}
	}
	to := l.at.Off
	l.mu.Unlock()
	if err != nil || to == from {
		return err
	}
	if err := l.tail.mem.Sync(from, to-from); err != nil {
		return err
	}
	l.mu.Lock()
	l.dirty[len(l.dirty)-1].from = to
	l.mu.Unlock()
	return nil
}

// keepPrepared takes over the segments that were prepared before, as long as
// they are of the size that is asked for now, and removes the others: the
// newest first, each durably, since a gap in the names is a missing segment.
//
// That a prepared segment holds nothing but zeros behind its head is known: recovery has read
// all that lies behind the tail. One that is dropped takes those behind it along, which would
// not follow the last one that stays.
func (op *opening) keepPrepared() error {
	l := op.l
	var drop []*diskFile
	for i, d := range op.files {
		if d.gone || op.res.Segments[i].State != recovery.StatePrepared {
			continue
		}
		h, err := frame.DecodeHeader(d.head.Bytes())
		if err != nil || h.SegmentBytes != l.opts.SegmentBytes ||
			len(drop) > 0 || len(l.ready) >= l.opts.SegmentsAhead {
			drop = append(drop, d)
			continue
		}
		s, err := op.mapFile(d)
		if err != nil {
			return err
		}
		l.ready = append(l.ready, s)
		l.prepare.next++
	}
	for i := len(drop) - 1; i >= 0; i-- {
		if err := errors.Join(drop[i].close(), l.dir.Remove(drop[i].Name), l.dir.Sync()); err != nil {
			return err
		}
	}
	return nil
}
