package wal

import "github.com/seawall-wal/seawall/wal/frame"

// witness is what the newest slot says, so that a checkpoint of the same again
// writes nothing. Log.syncMu guards it.
type witness struct {
	segment uint64
	at      place
	counter uint64 // of the newest slot in the segment
	newest  int    // its index
	valid   bool
}

// is reports whether the witness names just what the snapshot covers.
func (w *witness) is(s *snapshot) bool {
	return w.valid && w.segment == s.tail.ordinal && w.at == s.at
}

// set notes that the witness names the snapshot.
func (w *witness) set(s *snapshot) { w.valid, w.segment, w.at = true, s.tail.ordinal, s.at }

// readWitness finds out which slot of a segment is the older one. head are the
// segment's first bytes.
func readWitness(s *segment, head []byte) (w witness, newest frame.Slot) {
	w = witness{segment: s.ordinal, newest: 1}
	for i := range frame.Slots {
		slot, err := frame.DecodeSlot(head[frame.SlotOffset+i*frame.BlockBytes:], s.seed)
		if err == nil && slot.Counter > w.counter {
			w.counter, w.newest, newest = slot.Counter, i, slot
		}
	}
	return w, newest
}

// claim is what a slot is to say.
type claim struct {
	at    place // behind the last frame
	lsn   LSN   // every record up to it is durable
	front LSN
	epoch uint32
	cut   frame.Cut
}

// claimNow returns the claim of a checkpoint that covers all before a place of
// the present epoch. The caller holds syncMu.
func (l *Log) claimNow(at place, lsn LSN) claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return claim{at: at, lsn: lsn, front: l.FirstLSN(), epoch: l.epoch, cut: l.cut}
}

// writeSlot writes a witness into the segment's older slot and makes it
// durable. All that it names is durable before: the store itself may reach the
// device at any time after it. The caller holds syncMu.
func (l *Log) writeSlot(s *segment, c claim) error {
	w := &l.witness
	if w.segment != s.ordinal {
		*w = witness{segment: s.ordinal, newest: 1}
	}
	w.valid = false
	slot := frame.Slot{
		Counter: w.counter + 1, Epoch: c.epoch, Link: c.at.link, Cut: c.cut,
		Front: c.front, Watermark: c.lsn, Tail: uint64(c.at.off),
	}
	w.counter++
	w.newest = 1 - w.newest
	off := int64(frame.SlotOffset + w.newest*frame.BlockBytes)
	b := slot.Encode(s.seed)
	if err := s.mem.Store(off, b[:], nil); err != nil {
		return err
	}
	return s.mem.Sync(off, frame.SlotBytes)
}

// writeSlots writes a witness into both slots, one after the other: what they
// name outlives the loss of either, and no older claim is left.
func (l *Log) writeSlots(s *segment, c claim) error {
	for range frame.Slots {
		if err := l.writeSlot(s, c); err != nil {
			return err
		}
	}
	return nil
}
