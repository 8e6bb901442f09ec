package recovery

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// This file finds the frames of a segment that has lost its header and its stamp.
// The links of its frames and the checksums of its slots include a seed that was
// derived from the header. The seed can be computed from any two frames that follow
// each other, or from a slot: bytes that are no frames give a different seed each
// time, frames of one segment always the same. With the seed the frames are followed
// as usual.
//
// No link from the segment before proves that they belong to the log. So they are
// never part of the chain; they count as intact records behind the tail.
//
// Recover calls findSeeds before anything else that reads frames. All that it leaves is the
// seed, the slots and a lower bound of the LSNs; the frames are found later, by scanTail.
// The rest of the package tells such a segment by guessed, and Dump says of its records
// that only checksums vouch for them (Record.Guessed). Where the stamp is left, it has the
// salt, and nothing has to be guessed (decodeBlocks).
//
// A segment costs up to four searches of its headers: two for the slots, one for the
// frames, and one for the first pair where only a single one was found.

// findSeeds finds the seeds of the segments that have neither header nor stamp,
// and decodes their slots. The stamp of the segment before gives a lower bound of the
// LSNs, which makes it far less likely that arbitrary bytes pass for a frame header.
func (a *analysis) findSeeds() error {
	least := frame.LSN(0)
	for _, s := range a.all {
		switch {
		case s.stamped:
			least = s.Stamp.First - 1
		case s.lostHead && !s.file.Temp && s.file.Size >= frame.DataOffset:
			c, err := a.open(s, frame.Place{Off: frame.DataOffset, LSN: least})
			if err != nil {
				return err
			}
			err = c.findSeed()
			c.close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOthers reports the files that were left out of the log although that is not
// certain to be right: it rests on a guessed seed, or their heads cannot be read. They
// are damage, so that Open does not remove them without being asked to.
func (a *analysis) checkOthers() {
	for _, s := range a.all {
		switch s.state {
		case StateTemporary, StateRemains, StateLeftover:
		default:
			continue
		}
		reason := s.headerErr
		if len(s.spans) > 0 && reason == "" {
			reason = fmt.Sprintf("unreadable: %d bytes: %v", s.spans[0].To-s.spans[0].From, s.why)
		}
		if s.guessed || len(s.spans) > 0 {
			a.structural = append(a.structural, Damage{File: s.file.Name, Gap: true, Reason: reason})
		}
	}
}

// findSeed finds the seed of the cursor's segment. The slots are tried first: a slot's
// seed counts where one pair of frames, or the other slot, has the same. A slot also tells
// the upper half of the LSNs, where no stamp before it is left to tell.
func (c *cursor) findSeed() error {
	s := c.seg
	end, err := c.usedEnd()
	if err != nil {
		return err
	}
	head, err := s.readHead()
	if err != nil || len(head) < frame.DataOffset {
		return err // the file has become longer since its head was read: decodeBlocks
	}
	s.guessed, s.least = true, c.LSN
	seed, least, ok, err := c.seedOfSlots(head, end)
	if err == nil && !ok {
		least = c.LSN
		seed, ok, err = c.seedOfFrames(end)
	}
	if err != nil || !ok {
		return err
	}
	s.Seed, s.least = seed, least
	s.DecodeSlots(head)
	return nil
}

// seedOfSlots returns the seed of a slot that agrees with the seed of two frames or
// of the other slot, and a lower bound of the segment's LSNs. A slot alone proves
// nothing: a seed can be computed from any bytes. The search for pairs ends at the first
// one that agrees.
func (c *cursor) seedOfSlots(head []byte, end int64) (frame.Seed, frame.LSN, bool, error) {
	var other frame.Seed
	for i := range frame.Slots {
		p := head[frame.SlotOffset+i*frame.BlockBytes:]
		seed, ok := frame.SlotSeed(p)
		if !ok {
			continue
		}
		slot, err := frame.DecodeSlot(p, seed)
		if err != nil {
			continue
		}
		// The slot's LSN has all of its bits, a frame's the lower half.
		least := slot.Watermark - min(slot.Watermark, 1<<31)
		agrees := i > 0 && seed == other
		err = c.eachPair(end, least, func(s frame.Seed) bool {
			agrees = agrees || s == seed
			return !agrees
		})
		if err != nil || agrees {
			return seed, least, agrees, err
		}
		other = seed
	}
	return 0, 0, false, nil
}

// tally counts how often a seed was found.
type tally struct {
	seed  frame.Seed
	count int
}

// seedOfFrames returns the seed that most pairs of frames have. Where no two pairs
// have the same, the first pair counts if both payloads are intact. Bytes that pass for two headers by chance have a
// seed of their own, and hardly ever the same one twice.
func (c *cursor) seedOfFrames(end int64) (frame.Seed, bool, error) {
	// A seed that more than a ninth of all pairs have is certainly among these at
	// the end (the Misra-Gries algorithm): one pass and eight counters, however many
	// pairs there are.
	var top [8]tally
	err := c.eachPair(end, c.LSN, func(seed frame.Seed) bool {
		i := slices.IndexFunc(top[:], func(t tally) bool { return t.count > 0 && t.seed == seed })
		if i < 0 {
			i = slices.IndexFunc(top[:], func(t tally) bool { return t.count == 0 })
		}
		if i < 0 {
			for k := range top {
				top[k].count--
			}
			return true
		}
		top[i] = tally{seed, top[i].count + 1}
		return true
	})
	best := slices.MaxFunc(top[:], func(a, b tally) int { return a.count - b.count })
	if err != nil || best.count > 1 {
		return best.seed, err == nil, err
	}
	return c.seedOfFirst(end)
}

// eachPair calls fn with the seed of each two headers that could follow each
// other, as long as it returns true. Where two could, the search goes on at the
// second, so that n frames of a chain give n-1 pairs, and bytes within a payload that
// look like a header are skipped.
func (c *cursor) eachPair(end int64, least frame.LSN, fn func(frame.Seed) bool) error {
	for off := int64(frame.DataOffset); ; {
		p, err := c.findPair(off, end, least, c.seeds)
		if err != nil || p == nil || !fn(p.seed) {
			return err
		}
		off = p.a.next
	}
}

// seeds computes the seed of a pair. It refuses none: there is a seed for each.
func (c *cursor) seeds(p *pair) bool {
	p.seed = c.SeedOf(&p.b, p.a.Link, p.a.next)
	return true
}

// seedOfFirst returns the seed of the first two frames that could follow each other, and
// whether their payloads match their checksums.
func (c *cursor) seedOfFirst(end int64) (frame.Seed, bool, error) {
	p, err := c.findPair(frame.DataOffset, end, c.LSN, c.seeds)
	if err != nil || p == nil || p.a.Length+p.b.Length < loneBytes {
		return 0, false, err
	}
	ok, err := c.intactAt(&p.a.Frame, p.a.off)
	if err == nil && ok {
		ok, err = c.intactAt(&p.b, p.a.next)
	}
	return p.seed, ok, err
}

// intactAt reports whether the payload of the frame at an offset matches its checksum.
func (c *cursor) intactAt(f *frame.Frame, off int64) (bool, error) {
	_, err := c.payloadAt(f, off)
	if errors.Is(err, errPayload) {
		return false, nil
	}
	return err == nil, err
}

// loneBytes is how long a payload must be for its checksum alone to prove a frame
// that has no neighbours.
const loneBytes = 8

// searchLone handles a segment without header and stamp in which no two frames were
// found: it tries a single frame at the place of the first one, proved by its
// payload's checksum alone. In a segment that holds one record and nothing else, this is
// where it lies.
func (c *cursor) searchLone() error {
	if !c.seg.guessed || c.analysis.scan.holds(c.seg) {
		return nil
	}
	if err := c.need(frame.DataOffset, frame.DataOffset+frame.HeaderBytes); err != nil {
		return err
	}
	f, err := frame.Decode(c.data[frame.DataOffset:], c.seg.least)
	if err != nil || f.Kind != frame.KindRecord || !f.First || !f.Last || f.Length < loneBytes {
		return nil //nolint:nilerr // there is none
	}
	if ok, ierr := c.intactAt(&f, frame.DataOffset); ierr != nil || !ok {
		return ierr
	}
	return c.intact(frame.Place{Off: frame.DataOffset, LSN: f.LSN - 1}, frame.DataOffset+f.Size(), f.LSN)
}

// holds reports whether records of the segment were found behind the tail.
func (e *tailScan) holds(s *segment) bool {
	return slices.ContainsFunc(e.runs, func(r run) bool { return r.seg == s })
}
