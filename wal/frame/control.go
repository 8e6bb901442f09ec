package frame

import "encoding/binary"

// Control is a segment's control block: how the writer tells readers in other
// processes what they may read. Each field is one aligned 64-bit word, which is
// stored and loaded as one, so that no reader sees half of it:
//
//	offset  bytes  field
//	     0      8  epoch     of the log
//	     8      8  front     the log's first LSN
//	    16      8  appended  the last LSN that readers may read
//	    24      8  durable   the last LSN that power loss cannot take
//	    32      8  next      ordinal of the segment that the log goes on in; 0 while it is this one
//
// Only the block of the segment that the log ends in is kept up to date; next says
// that it is another. Recovery never reads the block, and the writer sets it again
// when it opens the log.
type Control struct {
	Epoch, Next              uint64
	Front, Appended, Durable LSN
}

// Offsets of the control block's words, in bytes from its start.
const (
	ControlEpoch    = 0
	ControlFront    = 8
	ControlAppended = 16
	ControlDurable  = 24
	ControlNext     = 32
	// ControlBytes is the size of the words together.
	ControlBytes = 40
)

// DecodeControl decodes a control block from the first ControlBytes of p, which were
// read from the file: the words may be of different moments.
func DecodeControl(p []byte) Control {
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(p[off:]) }
	return Control{
		Epoch: word(ControlEpoch), Front: LSN(word(ControlFront)),
		Appended: LSN(word(ControlAppended)), Durable: LSN(word(ControlDurable)), Next: word(ControlNext),
	}
}

// Later returns what two blocks of one log say together: of the newer epoch or, within
// one, the greater of each word. Within an epoch the words
// only rise. Next is each segment's own, and 0 here.
func (c Control) Later(o Control) Control {
	c.Next, o.Next = 0, 0
	switch {
	case o.Epoch > c.Epoch:
		return o
	case o.Epoch == c.Epoch:
		c.Front, c.Appended, c.Durable = max(c.Front, o.Front), max(c.Appended, o.Appended), max(c.Durable, o.Durable)
	}
	return c
}

// CutSince reports whether the log was cut at either end since an earlier block was
// read.
func (c Control) CutSince(earlier Control) bool {
	return c.Epoch != earlier.Epoch || c.Front != earlier.Front
}
