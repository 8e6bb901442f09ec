package wal

import (
	"bytes"
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// witness is what the newest slot says, so that a checkpoint of the same again
// writes nothing. Log.syncMu guards it.
type witness struct {
	segment uint64
	at      frame.Place
	counter uint64 // of the newest slot in the segment
	newest  int    // its index
	valid   bool
	torn    [frame.Slots]bool // which slots hold what a crash left of a store
}

// is reports whether the witness names just what the snapshot covers.
func (w *witness) is(s *snapshot) bool {
	return w.valid && w.segment == s.tail.ordinal && w.at == s.at
}

// set notes that the witness names the snapshot.
func (w *witness) set(s *snapshot) { w.valid, w.segment, w.at = true, s.tail.ordinal, s.at }

// readWitness finds out which slot of a segment is the older one, from the segment's
// head.
func readWitness(s *writableSegment, h *frame.Head) (w witness, newest frame.Slot) {
	w = witness{segment: s.ordinal, newest: 1}
	for i, err := range h.SlotErrs {
		w.torn[i] = errors.Is(err, frame.ErrInvalid)
	}
	if i := h.Newest(); i >= 0 {
		w.newest, newest = i, h.Slots[i]
		w.counter = newest.Counter
	}
	return w, newest
}

// claim is what a slot is to say.
type claim struct {
	at    frame.Place // behind the last frame
	lsn   LSN         // every record up to it is durable
	front LSN
	epoch uint32
	cut   frame.Cut
}

// claimNow returns the claim of a checkpoint that covers all before a place of
// the present epoch. The caller holds syncMu.
func (l *Log) claimNow(at frame.Place, lsn LSN) claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return claim{at: at, lsn: lsn, front: l.FirstLSN(), epoch: l.epoch, cut: l.cut}
}

// writeSlot writes a witness into the segment's older slot and makes it
// durable. All that it names is durable before: the store itself may reach the
// device at any time after it. The caller holds syncMu.
func (l *Log) writeSlot(s *writableSegment, c claim) error {
	w := &l.witness
	if w.segment != s.ordinal {
		*w = witness{segment: s.ordinal, newest: 1}
	}
	w.valid = false
	slot := frame.Slot{
		Counter: w.counter + 1, Epoch: c.epoch, Link: c.at.Link, Cut: c.cut,
		Front: c.front, Watermark: c.lsn, Tail: uint64(c.at.Off),
	}
	w.counter++
	if !l.wrong.Has(seam.SlotInPlace) {
		w.newest = 1 - w.newest
	}
	off := int64(frame.SlotOffset + w.newest*frame.BlockBytes)
	if w.torn[w.newest] {
		if err := s.storeSynced(off, invalidSlot[:]); err != nil {
			return err
		}
		w.torn[w.newest] = false
	}
	b := slot.Encode(s.seed)
	return s.storeSynced(off, b[:])
}

// invalidSlot is what a torn slot is overwritten with, durably, before it is
// written. A crash may have left all of a slot but some words that the next one
// happens to have too: the cut that it names was never made, but a crash during
// the store of just these words would complete it. These words complete none.
var invalidSlot = [frame.SlotBytes]byte(bytes.Repeat([]byte{0xff}, frame.SlotBytes))

// storeSynced stores bytes and makes them durable.
func (s *writableSegment) storeSynced(off int64, p []byte) error {
	if err := s.mem.Store(off, p, nil); err != nil {
		return err
	}
	return s.mem.Sync(off, int64(len(p)))
}

// writeSlots writes a witness into both slots, one after the other: what they
// name outlives the loss of either, and no older claim is left.
func (l *Log) writeSlots(s *writableSegment, c claim) error {
	for range frame.Slots {
		if err := l.writeSlot(s, c); err != nil {
			return err
		}
	}
	return nil
}
