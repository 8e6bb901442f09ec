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

// resume makes the judged log one that can be appended to. Its order is what
// makes a crash between any two steps harmless:
//
//  1. The page cache is made to hold what the device holds, for every file
//     that was judged, and the device to keep it. All that is judged legal is
//     durable then.
//  2. A segment that the log reached under its temporary name gets its final
//     one, each durable before the next: what Open returns lies under names
//     that are durable.
//  3. What is intact behind the tail is saved, and what is missing of the files
//     that stay is filled up (fillGaps).
//  4. What lies behind the tail is cut (trim).
//  5. The tail names the log's front and its last cut, durably (nameFront).
//  6. Files that are no part of the log are removed.
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
		return s.noRoom(err)
	}
	if err := op.clear(tail); err != nil {
		return err
	}
	if err := l.owner.writeLock(op.known, l.uuid); err != nil {
		return err
	}
	return op.settle(s)
}

// nameFront makes the log's front and its last cut durable in the tail, unless the
// tail has them. They may stand in no other file than the one that is removed
// next: a front cut names the front in the segment that was the tail when it
// began, and an appender that concurrently went on into the next one has stamped
// that with the front before. Or they may stand there in the page cache only, where
// a writer that was killed stored them and did not sync, in a segment that was not
// synced since: after a power loss the log would begin in front of where Open said
// that it begins or, where segments were removed, look like one whose first
// segments are missing.
//
// A trim has named both already, with the epoch that it began.
func (op *opening) nameFront(s *writableSegment, tail *diskFile) error {
	l := op.l
	if l.witness.valid || l.wrong.Has(seam.FrontUnnamed) {
		return nil
	}
	h := frame.DecodeHead(tail.head.Bytes())
	if h.StampErr == nil && h.Stamp.Epoch == l.epoch && h.Stamp.Front == l.FirstLSN() {
		return nil
	}
	return l.writeSlots(s, l.claimNow(l.at, l.at.LSN))
}

// reconcile makes page cache and device the same for every file judged.
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

// mapFile maps a file for writing, with real blocks behind it.
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
// the list of segments that readers are served from.
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
	if l.witness, slot = readWitness(s, &h); slot.Counter != 0 {
		l.witness.at = slot.Place(t.Epoch)
		l.witness.valid = slot.Epoch == op.res.Epoch && slot.Front == l.FirstLSN()
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
// in the stamp, and returns the places that Get starts from, as they were noted when
// the tail's segment was judged. Where another one's were noted since, there are none
// yet, and Get will look for them.
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
// frames were followed. Nearly always the log ends in it.
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

// settle ends the mending: the stamp of a log that has none yet, the readers'
// block, the alignment of the next commit, and the prepared segments; and it brings
// in what the first appends store to.
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
			return s.noRoom(err)
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
// before it count as acknowledged from here on. Nobody appends meanwhile.
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
