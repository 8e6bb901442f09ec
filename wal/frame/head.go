package frame

// Head is what the blocks in front of a segment's frames say. Each block is decoded and
// checked by itself, and has an error of its own: a damaged slot takes nothing from the
// others. Everything here is decoded, and nothing is believed yet; whether a stamp continues
// the segment before it, or a slot is of an epoch that counts, is for package recovery.
type Head struct {
	Header    Header
	HeaderErr error // of DecodeHeader

	// Where there is no header, the rest cannot be decoded either.

	Seed     Seed
	Stamp    Stamp
	Link     Link  // that the stamp begins
	StampErr error // of DecodeStamp
	Slots    [Slots]Slot
	SlotErrs [Slots]error // of DecodeSlot
}

// DecodeHead decodes a segment's first bytes, DataOffset or fewer: what lies behind
// their end is invalid.
func DecodeHead(p []byte) Head {
	var h Head
	if h.Header, h.HeaderErr = DecodeHeader(p); h.HeaderErr != nil {
		h.StampErr, h.SlotErrs = h.HeaderErr, [Slots]error{h.HeaderErr, h.HeaderErr}
		return h
	}
	h.DecodeRest(p)
	return h
}

// DecodeRest decodes what lies behind the header, as belonging to h.Header. Recovery calls
// it by itself: where a header is lost, it puts one together from the file's name, the log's
// UUID and the salt in the stamp.
func (h *Head) DecodeRest(p []byte) {
	h.Seed = h.Header.Seed()
	h.Stamp, h.Link, h.StampErr = DecodeStamp(from(p, StampOffset), &h.Header)
	h.DecodeSlots(p)
}

// DecodeSlots decodes the slots, as sealed with h.Seed. Recovery calls it by itself where
// header and stamp are lost, and the seed was found from the frames or a slot.
func (h *Head) DecodeSlots(p []byte) {
	for i := range h.Slots {
		h.Slots[i], h.SlotErrs[i] = DecodeSlot(from(p, SlotOffset+i*BlockBytes), h.Seed)
	}
}

// from returns the bytes from an offset on, or none.
func from(p []byte, off int) []byte { return p[min(off, len(p)):] }

// Start returns the place of the segment's first frame.
func (h *Head) Start() Place { return Start(&h.Stamp, h.Link) }

// Newest returns the index of the valid slot with the greatest counter, or -1 where
// none is valid.
func (h *Head) Newest() int {
	newest := -1
	for i := range h.Slots {
		if h.SlotErrs[i] == nil && (newest < 0 || h.Slots[i].Counter > h.Slots[newest].Counter) {
			newest = i
		}
	}
	return newest
}
