package wal

import (
	"bytes"
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// checkpointSlots is what is known of the slots of one segment: which of them is
// the older one, to be overwritten next, and what the newer one covers, so that a
// second checkpoint of the same records writes nothing. Log.syncMu guards it.
//
// Three kinds of calls write slots: Checkpoint, to say that all before is durable
// (writeCheckpoint); cuts, to say where an epoch begins (cutBehind), or where the log
// begins (TruncateFront, nameFront); and Reset, to repeat its stamp. Checkpoint itself is
// in sync.go.
type checkpointSlots struct {
	segment uint64            // the ordinal
	at      frame.Place       // the place that the newer slot covers; where valid
	counter uint64            // of the newer slot
	newest  int               // its index
	valid   bool              // the newer slot says what a checkpoint at that place would
	torn    [frame.Slots]bool // which slots hold what a crash left of a store
}

// covers reports whether the newest checkpoint record covers just what the snapshot
// does.
func (w *checkpointSlots) covers(s *snapshot) bool {
	return w.valid && w.segment == s.tail.ordinal && w.at == s.at
}

// set notes that the newest checkpoint record covers the snapshot.
func (w *checkpointSlots) set(s *snapshot) { w.valid, w.segment, w.at = true, s.tail.ordinal, s.at }

// readSlots finds out which slot of a segment is the older one, from the segment's
// head. A slot that does not validate counts as torn. A slot of zeros was never written,
// and does not.
func readSlots(s *writableSegment, h *frame.Head) (w checkpointSlots, newest frame.Slot) {
	w = checkpointSlots{segment: s.ordinal, newest: 1}
	for i, err := range h.SlotErrs {
		w.torn[i] = errors.Is(err, frame.ErrInvalid)
	}
	if i := h.Newest(); i >= 0 {
		w.newest, newest = i, h.Slots[i]
		w.counter = newest.Counter
	}
	return w, newest
}

// checkpointRecord is the content of a slot. Recovery believes it, so what it names
// is durable before it is stored.
type checkpointRecord struct {
	at    frame.Place // behind the last frame
	lsn   LSN         // every record up to it is durable
	front LSN
	epoch uint32
	cut   frame.Cut
}

// newCheckpointRecord returns the record of a checkpoint that covers all before a
// place of the present epoch. The caller holds syncMu, without which a cut could
// begin an epoch between this call and the store.
func (l *Log) newCheckpointRecord(at frame.Place, lsn LSN) checkpointRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return checkpointRecord{at: at, lsn: lsn, front: l.FirstLSN(), epoch: l.epoch, cut: l.cut}
}

// writeSlot writes a checkpoint record into the segment's older slot and makes it
// durable. All that it names has to be durable before the call: the store may reach
// the device before the sync. The newer slot stays as it is until this one is
// durable, so a crash leaves at least one of them whole. The caller holds syncMu.
func (l *Log) writeSlot(s *writableSegment, c checkpointRecord) error {
	w := &l.slots
	if w.segment != s.ordinal {
		*w = checkpointSlots{segment: s.ordinal, newest: 1}
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

// invalidSlot is what a torn slot is overwritten with, durably, before the next
// record is stored there. Where a crash tore the store of a slot, only some of its
// words may be missing, and the next record may happen to contain just those: a
// crash during its store could then complete the old slot, which names a cut that
// was never made. Bytes of 0xff are part of no valid slot, and so complete none.
var invalidSlot = [frame.SlotBytes]byte(bytes.Repeat([]byte{0xff}, frame.SlotBytes))

// storeSynced stores bytes and makes them durable.
func (s *writableSegment) storeSynced(off int64, p []byte) error {
	if err := s.mem.Store(off, p, nil); err != nil {
		return err
	}
	return s.mem.Sync(off, int64(len(p)))
}

// writeSlots writes a checkpoint record into both slots, one after the other: the
// record outlives the loss of either slot, and no older record is left.
func (l *Log) writeSlots(s *writableSegment, c checkpointRecord) error {
	for range frame.Slots {
		if err := l.writeSlot(s, c); err != nil {
			return err
		}
	}
	return nil
}
