//go:build linux

package powerloss

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// brokenState is what a broken disk holds when the power is back.
type brokenState struct {
	kind int
	view blockdev.View
	cut  int             // the request before which the power was cut
	read *blockdev.Fault // that the disk has while it is read; nil is none
	what string          // in words, with the place
}

// manyTries is how often a place is looked for where a disk could break a promise and be noticed.
const manyTries = 40

// lying makes a state in which the flushes from one to another one have lied, all of which the cut
// comes behind, and before the next that holds.
func (l *brokenLife) lying(rng *rand.Rand, i, to int, words string) (*brokenState, error) {
	from, lied := 0, l.flushes[i]
	if i > 0 {
		from = l.flushes[i-1] + 1
	}
	cut := lied + 1 + rng.IntN(to-lied)
	s := &brokenState{view: blockdev.View{Layer: l.rec.ID, Cut: cut}, cut: cut}
	mode, requests := rng.IntN(3), 0
	odds, since := 1+rng.IntN(4), rng.IntN(cut-from)+from
	for n := from; n < cut; n++ {
		if l.rec.Events[n].Length == 0 {
			continue
		}
		requests++
		var lost bool
		switch mode {
		case 0:
			lost = true
		case 1:
			lost = n < lied
		default:
			lost = n >= since || rng.IntN(5) < odds
		}
		if lost {
			s.view.Lost = append(s.view.Lost, blockdev.Lost{Event: n})
		}
	}
	if len(s.view.Lost) == 0 {
		return nil, nil
	}
	s.what = fmt.Sprintf("flush %d %s, and of %s since the flush before it %d are missing", i+1, words, counted(requests, "request"), len(s.view.Lost))
	return s, nil
}

// lyingOnce has one flush lie.
func (l *brokenLife) lyingOnce(rng *rand.Rand) (*brokenState, error) {
	i := rng.IntN(len(l.flushes))
	to := len(l.rec.Events)
	if i+1 < len(l.flushes) {
		to = l.flushes[i+1]
	}
	return l.lying(rng, i, to, "has lied")
}

// lyingAlways has all flushes lie from one on.
func (l *brokenLife) lyingAlways(rng *rand.Rand) (*brokenState, error) {
	return l.lying(rng, rng.IntN(len(l.flushes)), len(l.rec.Events), "has lied, and so have all after it")
}

// aWrite chooses a write to the subject's files.
func (l *brokenLife) aWrite(rng *rand.Rand) int { return l.writes[rng.IntN(len(l.writes))] }

// readBoth returns what two views hold at a place.
func (l *brokenLife) readBoth(a, b blockdev.View, off, length int64) (p, q []byte, err error) {
	if p, err = l.lab.disks.ReadView(a, off, length); err == nil {
		q, err = l.lab.disks.ReadView(b, off, length)
	}
	return p, q, err
}

// torn makes a state in which one sector of the last write to the subject's files is torn. keeps
// says how many bytes are there, of a sector that begins with so many which have been there
// before, and rest makes of the others what is behind them.
func (l *brokenLife) torn(rng *rand.Rand, keeps func(rng *rand.Rand, same int) int, rest func(old []byte)) (*brokenState, error) {
	for range manyTries {
		event := l.aWrite(rng)
		e := &l.rec.Events[event]
		cut := event + 1
		with := blockdev.View{Layer: l.rec.ID, Cut: cut}
		if rng.IntN(2) == 0 { // of what else was written since the flush before, nothing is there
			for n := event - 1; n >= 0 && l.rec.Events[n].Op != blockdev.Flush; n-- {
				if l.rec.Events[n].Length > 0 && l.isData(l.rec.Events[n].Off) {
					with.Lost = append(with.Lost, blockdev.Lost{Event: n})
				}
			}
		}
		without := with
		without.Lost = append([]blockdev.Lost{{Event: event}}, with.Lost...)
		whole, old, err := l.readBoth(with, without, e.Off, e.Length)
		if err != nil {
			return nil, err
		}
		var differ []int
		for n := range e.Sectors() {
			if at := n * blockdev.SectorBytes; !bytes.Equal(whole[at:at+blockdev.SectorBytes], old[at:at+blockdev.SectorBytes]) {
				differ = append(differ, n)
			}
		}
		if len(differ) == 0 {
			continue
		}
		sector := differ[0]
		if rng.IntN(2) == 0 {
			sector = differ[rng.IntN(len(differ))]
		}
		at := sector * blockdev.SectorBytes
		off, was, is := e.Off+int64(at), old[at:at+blockdev.SectorBytes], whole[at:at+blockdev.SectorBytes]
		same := 0 // bytes, which have been there before
		for was[same] == is[same] {
			same++
		}
		keep := keeps(rng, same)
		torn := bytes.Clone(was)
		rest(torn[keep:])
		copy(torn[:keep], is)
		if bytes.Equal(torn, is) || bytes.Equal(torn, was) {
			continue
		}
		s := &brokenState{cut: cut}
		s.what = fmt.Sprintf("the sector at byte %d of the disk (%s) has %d bytes of what was written last", off, l.where(off), keep)
		return s, l.patch(s, with, off, torn)
	}
	return nil, nil
}

// tornOld has the rest of the sector be what it was.
func (l *brokenLife) tornOld(rng *rand.Rand) (*brokenState, error) {
	keeps := func(rng *rand.Rand, same int) int { return same + 1 + rng.IntN(blockdev.SectorBytes-same) }
	return l.torn(rng, keeps, func([]byte) {})
}

// tornGarbage has the rest of the sector be anything: mostly also of what has been there before.
func (l *brokenLife) tornGarbage(rng *rand.Rand) (*brokenState, error) {
	keeps := func(rng *rand.Rand, same int) int {
		if rng.IntN(4) == 0 {
			return 1 + rng.IntN(blockdev.SectorBytes-1)
		}
		return 1 + rng.IntN(max(same, 1))
	}
	return l.torn(rng, keeps, func(p []byte) {
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
	})
}

// patch has a state hold a view, but for some bytes.
func (l *brokenLife) patch(s *brokenState, v blockdev.View, off int64, p []byte) error {
	first := off / blockdev.BlockBytes
	last := (off + int64(len(p)) - 1) / blockdev.BlockBytes
	b, err := l.lab.disks.ReadView(v, first*blockdev.BlockBytes, (last-first+1)*blockdev.BlockBytes)
	if err != nil {
		return err
	}
	copy(b[off-first*blockdev.BlockBytes:], p)
	image := blockdev.Image{}
	for n := first; n <= last; n++ {
		image[n] = b[(n-first)*blockdev.BlockBytes:][:blockdev.BlockBytes]
	}
	s.view, err = l.lab.disks.Overlay(v, image)
	return err
}

// where tells what lies at a byte of the disk.
func (l *brokenLife) where(off int64) string {
	block := off / blockdev.BlockBytes
	return tellRuns([]run{l.atlas.at(block, block)})[0]
}

// atRest returns the end of the life, or in half of the cases what a flush has left.
func (l *brokenLife) atRest(rng *rand.Rand) *brokenState {
	s := &brokenState{cut: len(l.rec.Events)}
	if rng.IntN(2) == 0 {
		s.cut = l.flushes[rng.IntN(len(l.flushes))] + 1
	}
	s.view = blockdev.View{Layer: l.rec.ID, Cut: s.cut}
	return s
}

// flipped flips a bit of the subject's files: mostly between the first and the last byte of a
// block that is not zero.
func (l *brokenLife) flipped(rng *rand.Rand) (*brokenState, error) {
	s := l.atRest(rng)
	for range manyTries {
		block := l.blocks[rng.IntN(len(l.blocks))]
		p, err := l.lab.disks.ReadView(s.view, block*blockdev.BlockBytes, blockdev.BlockBytes)
		if err != nil {
			return nil, err
		}
		first, last, ok := aSpan(p, rng)
		if !ok {
			continue
		}
		at, bit := first+rng.IntN(last-first+1), rng.IntN(8)
		p[at] ^= 1 << bit
		off := block*blockdev.BlockBytes + int64(at)
		s.what = fmt.Sprintf("bit %d of byte %d of the disk (%s, its byte %d) has flipped", bit, off, l.where(off), at)
		return s, l.patch(s, s.view, block*blockdev.BlockBytes, p)
	}
	return nil, nil
}

// aSpan returns the first and the last byte of a block that is not zero, or now and then all of it.
func aSpan(p []byte, rng *rand.Rand) (first, last int, ok bool) {
	if rng.IntN(8) == 0 {
		return 0, len(p) - 1, true
	}
	used := bytes.TrimRight(p, "\x00")
	return len(used) - len(bytes.TrimLeft(used, "\x00")), len(used) - 1, len(used) > 0
}

// flippedRead flips a bit in what is read; which block that is of is chosen when it is known
// which are read.
func (l *brokenLife) flippedRead(rng *rand.Rand) (*brokenState, error) {
	s := l.atRest(rng)
	s.read = &blockdev.Fault{Op: blockdev.Read, Effect: blockdev.Flip, Nth: 1, Seed: rng.Uint64()}
	return s, nil
}

// flushedWrite chooses a write to the subject's files that was flushed, and a moment behind that
// flush at which nothing else is written there yet. In half of the cases there are some flushes
// more in between, so that it is not the newest.
func (l *brokenLife) flushedWrite(rng *rand.Rand) (event, cut int, ok bool) {
	flushes := []int{1, 4}[rng.IntN(2)]
	for try := range manyTries {
		event = l.aWrite(rng)
		e := &l.rec.Events[event]
		flushed, end, left := -1, len(l.rec.Events), flushes
		if try > manyTries/2 {
			left = 1
		}
		for n := event + 1; n < end; n++ {
			o := &l.rec.Events[n]
			if o.Op == blockdev.Flush {
				if left--; left == 0 {
					flushed = n
				}
			}
			if o.Length > 0 && o.Off < e.Off+e.Length && e.Off < o.Off+o.Length {
				end = n
			}
		}
		if flushed < 0 || flushed >= end {
			continue
		}
		cut = flushed + 1 + rng.IntN(end-flushed)
		with := blockdev.View{Layer: l.rec.ID, Cut: cut}
		without := blockdev.View{Layer: l.rec.ID, Cut: cut, Lost: []blockdev.Lost{{Event: event}}}
		p, q, err := l.readBoth(with, without, e.Off, e.Length)
		if err == nil && !bytes.Equal(p, q) {
			return event, cut, true
		}
	}
	return 0, 0, false
}

// lostWrite loses a write that was flushed.
func (l *brokenLife) lostWrite(rng *rand.Rand) (*brokenState, error) {
	event, cut, ok := l.flushedWrite(rng)
	if !ok {
		return nil, nil
	}
	e := &l.rec.Events[event]
	return &brokenState{
		view: blockdev.View{Layer: l.rec.ID, Cut: cut, Lost: []blockdev.Lost{{Event: event}}}, cut: cut,
		what: fmt.Sprintf("a write of %d bytes at byte %d of the disk (from %s on) was flushed and never done", e.Length, e.Off, l.where(e.Off)),
	}, nil
}

// misdirected has a write that was flushed lie at another place of the subject's files.
func (l *brokenLife) misdirected(rng *rand.Rand) (*brokenState, error) {
	event, cut, ok := l.flushedWrite(rng)
	if !ok {
		return nil, nil
	}
	e := &l.rec.Events[event]
	data, err := l.lab.disks.ReadView(blockdev.View{Layer: l.rec.ID, Cut: event + 1}, e.Off, e.Length)
	if err != nil {
		return nil, err
	}
	for range manyTries {
		to := l.blocks[rng.IntN(len(l.blocks))] * blockdev.BlockBytes
		if !l.isData(to+e.Length-1) || to < e.Off+e.Length && e.Off < to+e.Length {
			continue
		}
		whole := true // of the subject's files
		for off := to; off < to+e.Length; off += blockdev.BlockBytes {
			whole = whole && l.isData(off)
		}
		if !whole {
			continue
		}
		s := &brokenState{cut: cut, what: fmt.Sprintf("a write of %d bytes for byte %d of the disk (from %s on) is at byte %d (from %s on)",
			e.Length, e.Off, l.where(e.Off), to, l.where(to))}
		return s, l.patch(s, blockdev.View{Layer: l.rec.ID, Cut: cut, Lost: []blockdev.Lost{{Event: event}}}, to, data)
	}
	return nil, nil
}
