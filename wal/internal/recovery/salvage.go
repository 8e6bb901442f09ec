package recovery

import (
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// What a segment that has lost its header and its stamp still tells. The links of
// its frames and the checksums of its slots have a seed in them that stood in the
// header. It can be computed from any two frames that follow each other, or from
// a slot: bytes that are no frames give another one each time, frames of one
// segment the same. With the seed they are followed as usual.
//
// That they are the log's no link into them proves. So they are never part of the
// chain, but evidence, and records behind the tail.

// findSeeds finds the seeds of the segments that have neither header nor stamp,
// and decodes their slots.
func (j *judge) findSeeds() error {
	least := frame.LSN(0)
	for _, s := range j.all {
		switch {
		case s.stamped:
			least = s.stamp.First - 1
		case s.lostHead && !s.file.Temp && s.file.Size >= frame.DataOffset:
			c, err := j.open(s, place{off: frame.DataOffset, lsn: least})
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

// checkOthers reports the files that do not count as the log's, although it is not
// sure that they do not: what says so was guessed, or their heads cannot be read.
func (j *judge) checkOthers() {
	for _, s := range j.all {
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
			j.structural = append(j.structural, Damage{File: s.file.Name, Gap: true, Reason: reason})
		}
	}
}

// findSeed finds the seed of the cursor's segment.
func (c *cursor) findSeed() error {
	s := c.seg
	end, err := c.usedEnd()
	if err != nil {
		return err
	}
	head, err := s.readHead()
	if err != nil {
		return err
	}
	s.guessed, s.least = true, c.lsn
	seed, least, ok := c.seedOfSlots(head, end)
	if !ok {
		least = c.lsn
		if seed, ok = c.seedOfFrames(end); !ok {
			return nil
		}
	}
	s.seed, s.least = seed, least
	for i := range s.slots {
		s.slots[i], s.slotErr[i] = frame.DecodeSlot(head[frame.SlotOffset+i*frame.BlockBytes:], s.seed)
	}
	return nil
}

// seedOfSlots returns the seed of a slot that two frames, or the other slot, have
// too, and an LSN that the segment's are not below.
func (c *cursor) seedOfSlots(head []byte, end int64) (frame.Seed, frame.LSN, bool) {
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
		c.eachPair(end, least, func(s frame.Seed) bool {
			agrees = agrees || s == seed
			return !agrees
		})
		if agrees {
			return seed, least, true
		}
		other = seed
	}
	return 0, 0, false
}

// tally counts how often a seed was found.
type tally struct {
	seed  frame.Seed
	count int
}

// seedOfFrames returns the seed that most pairs of frames have. A single pair
// counts if both payloads are intact.
func (c *cursor) seedOfFrames(end int64) (frame.Seed, bool) {
	// Whatever the bytes are, a seed that is that of more than a ninth of all pairs
	// is among these at the end (Misra and Gries).
	var top [8]tally
	c.eachPair(end, c.lsn, func(seed frame.Seed) bool {
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
	return best.seed, best.count > 1 || best.count == 1 && c.bothIntact(end)
}

// eachPair calls fn with the seed of each two headers that could follow each
// other, as long as it returns true. Where two could, the search goes on at the
// second.
func (c *cursor) eachPair(end int64, least frame.LSN, fn func(frame.Seed) bool) {
	for off := int64(frame.DataOffset); off+2*frame.HeaderBytes <= end; {
		if n := c.zeroRun(off, end); n > 0 {
			off += n
			continue
		}
		a, b, next, ok := c.pair(off, end, least)
		if !ok {
			off += frame.Alignment
			continue
		}
		if !fn(c.buf.SeedOf(c.data[next:], &b, a.Link, next)) {
			return
		}
		off = next
	}
}

// pair decodes the header at an offset and the one behind it, and reports whether
// the second could follow the first.
func (c *cursor) pair(off, end int64, least frame.LSN) (a, b frame.Frame, next int64, ok bool) {
	a, err := frame.Decode(c.data[off:], least)
	if err != nil {
		return a, b, 0, false
	}
	if next = off + a.Size(); next+frame.HeaderBytes > end {
		return a, b, next, false
	}
	b, err = frame.Decode(c.data[next:], a.LSN)
	return a, b, next, err == nil && b.LSN == a.LSN+step(&b) && b.Epoch >= a.Epoch
}

// bothIntact reports whether the first two frames that could follow each other
// have the payloads that their checksums say.
func (c *cursor) bothIntact(end int64) bool {
	for off := int64(frame.DataOffset); off+2*frame.HeaderBytes <= end; off += frame.Alignment {
		a, b, next, ok := c.pair(off, end, c.lsn)
		if !ok {
			continue
		}
		_, first := a.Payload(c.data[off:])
		_, second := b.Payload(c.data[next:])
		return first && second && a.Length+b.Length >= loneBytes
	}
	return false
}

// loneBytes is how long a payload has to be for its checksum to say something of
// a frame without neighbours.
const loneBytes = 8

// searchLone looks, in a segment without header and stamp that no two frames were
// found in, for one at the place of the first, by its payload's checksum alone.
func (c *cursor) searchLone() error {
	if !c.seg.guessed || c.judge.evidence.holds(c.seg) {
		return nil
	}
	f, err := frame.Decode(c.data[frame.DataOffset:], c.seg.least)
	if err != nil || f.Kind != frame.KindRecord || !f.First || !f.Last || f.Length < loneBytes {
		return nil //nolint:nilerr // there is none
	}
	if _, ok := f.Payload(c.data[frame.DataOffset:]); !ok {
		return nil
	}
	return c.intact(place{off: frame.DataOffset, lsn: f.LSN - 1}, frame.DataOffset+f.Size(), f.LSN)
}

// holds reports whether records of the segment were found behind the tail.
func (e *evidence) holds(s *segment) bool {
	return slices.ContainsFunc(e.runs, func(r run) bool { return r.seg == s })
}
