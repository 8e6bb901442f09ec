package segment

import (
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// This file loads and stores the words of a control block, in the orders on which a writer
// and readers in other processes rely. What those orders are for, and why they are enough on
// machines that reorder loads and stores, is in logreader_protocol_doc.go of package wal. A
// word that is added to the block needs a place in each order below.

// word is one word of a control block: where it lies, and what it is.
type word struct {
	off int64
	v   uint64
}

// storeWords stores words in their order, each atomically: a reader in another process
// sees a later one only together with those before it.
func storeWords(mem *durability.Mapping, words ...word) error {
	for _, w := range words {
		if err := mem.StoreUint64(frame.ControlOffset+w.off, w.v); err != nil {
			return err
		}
	}
	return nil
}

// LoadControl loads a segment's control block, epoch and next first: a cut stores them
// last, after the lowered LSNs. So a reader that loads the new epoch loads the new LSNs
// too, and one that loads the old epoch finds out when it loads it again after its read.
func LoadControl(mem *durability.Mapping) (c frame.Control, err error) {
	for _, w := range [...]struct {
		off int64
		to  *uint64
	}{
		{frame.ControlEpoch, &c.Epoch},
		{frame.ControlNext, &c.Next},
		{frame.ControlFront, (*uint64)(&c.Front)},
		{frame.ControlAppended, (*uint64)(&c.Appended)},
		{frame.ControlDurable, (*uint64)(&c.Durable)},
	} {
		if *w.to, err = mem.LoadUint64(frame.ControlOffset + w.off); err != nil {
			return frame.Control{}, err
		}
	}
	return c, nil
}

// StoreControl sets the whole control block. A rotation does it before it stamps the segment,
// so that no reader reads the block yet. At the end of an Open, readers may have read the
// tail's block for long: the front is the first to change, and they wait for another word
// before they believe that its writer is alive (bad.check in package wal).
func StoreControl(mem *durability.Mapping, c *frame.Control) error {
	return storeWords(mem,
		word{frame.ControlFront, uint64(c.Front)}, word{frame.ControlAppended, uint64(c.Appended)},
		word{frame.ControlDurable, uint64(c.Durable)}, word{frame.ControlNext, c.Next}, word{frame.ControlEpoch, c.Epoch})
}

// LowerControl tells readers in other processes of a cut, in this order: no record
// behind it, then the epoch. It comes before any byte behind the cut is changed, so
// that a reader that finds the epoch as it was before it copied a record knows that
// the record was whole.
func LowerControl(mem *durability.Mapping, c *frame.Control) error {
	return storeWords(mem,
		word{frame.ControlAppended, uint64(c.Appended)}, word{frame.ControlDurable, uint64(c.Durable)},
		word{frame.ControlFront, uint64(c.Front)}, word{frame.ControlNext, c.Next}, word{frame.ControlEpoch, c.Epoch})
}

// The writer stores single words. Each comes after what it tells of: the frames, the sync
// that made them durable, the slots that name the front, the stamp of the next segment. And
// the front comes before any file is removed. A store that fails is no error here: readers
// only learn of the change later, and the next check of the file, at the next sync at the
// latest, finds what is wrong with it.

// AppendedWord is where the word lies that tells readers of the last record that they may
// read. An append stores it together with the frame (durability.Mapping.StoreBehind).
const AppendedWord = frame.ControlOffset + frame.ControlAppended

// StoreDurable tells readers of the last record that is durable.
func StoreDurable(mem *durability.Mapping, lsn frame.LSN) {
	_ = mem.StoreUint64(frame.ControlOffset+frame.ControlDurable, uint64(lsn))
}

// StoreFront tells readers of the log's first record.
func StoreFront(mem *durability.Mapping, lsn frame.LSN) {
	_ = mem.StoreUint64(frame.ControlOffset+frame.ControlFront, uint64(lsn))
}

// StoreNext tells readers that the log goes on in another segment.
func StoreNext(mem *durability.Mapping, ordinal uint64) {
	_ = mem.StoreUint64(frame.ControlOffset+frame.ControlNext, ordinal)
}

// ReadControl reads a segment's control block from its file. Behind the file's end
// are zeros, as in a mapping.
func ReadControl(f *durability.File) (frame.Control, error) {
	b := make([]byte, frame.ControlBytes)
	if _, err := f.ReadAt(b, frame.ControlOffset); err != nil && !isEOF(err) {
		return frame.Control{}, err
	}
	return frame.DecodeControl(b), nil
}
