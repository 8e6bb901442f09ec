package frame

// Place is a place in a segment's chain: behind a frame, or where the first one goes.
type Place struct {
	Off   int64  // in bytes from the segment's start
	Link  Link   // of the frame before it, or of the stamp
	LSN   LSN    // of the last record before it
	Epoch uint32 // of the frame before it, or of the stamp
}

// Start returns the place of the first frame behind a stamp with that link.
func Start(s *Stamp, link Link) Place {
	return Place{Off: DataOffset, Link: link, LSN: s.First - 1, Epoch: s.Epoch}
}

// Behind returns the place behind a frame that lies at this one.
func (p Place) Behind(f *Frame) Place {
	return Place{Off: p.Off + f.Size(), Link: f.Link, LSN: f.LSN, Epoch: f.Epoch}
}

// Continues checks a frame against its predecessor by rules 4 and 5: LSN and epoch.
// Without rule 3 that proves nothing.
func (p *Place) Continues(f *Frame) bool {
	want := p.LSN
	if f.Kind == KindRecord {
		want++
	}
	return f.LSN == want && f.Epoch >= p.Epoch
}

// Chain follows the frames of one segment. It is not safe for concurrent use. Next checks
// the frame at the place, and does not move, so that the caller can check the payload, and
// what else it knows, before it lets Pass move on. The cursors of recovery and of package
// segment are made of it.
type Chain struct {
	Place
	buf  Buffer // so that nothing is allocated for a frame; aligned to 8 bytes here
	Seed Seed   // of the segment
}

// Next decodes the header of the frame at the place into f and checks it by rules 1 to 5,
// all but the payload. b are the segment's bytes from the place on, of which only the
// header is read. It returns ErrZero where the header is zeros, and ErrInvalid; f is then
// no frame.
func (c *Chain) Next(b []byte, f *Frame) error {
	err := f.decode(b, c.LSN)
	if err == nil && (!c.Continues(f) || !c.buf.Linked(f, c.Seed, c.Link, c.Off)) {
		err = ErrInvalid
	}
	return err
}

// Follows checks a decoded frame against another one before it, by rules 3 to 5, given
// its offset. The other one's link is taken as it is, and so Follows needs no place: behind
// a break it finds two frames that go together.
func (c *Chain) Follows(f, before *Frame, off int64) bool {
	p := Place{LSN: before.LSN, Epoch: before.Epoch}
	return p.Continues(f) && c.buf.Linked(f, c.Seed, before.Link, off)
}

// SeedOf is Buffer.SeedOf.
func (c *Chain) SeedOf(f *Frame, prev Link, off int64) Seed { return c.buf.SeedOf(f, prev, off) }

// Pass moves behind the frame at the place.
func (c *Chain) Pass(f *Frame) { c.Place = c.Behind(f) }
