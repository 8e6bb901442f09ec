package segment

import (
	"sync/atomic"

	"github.com/seawall-wal/seawall/wal/frame"
)

// IndexStep is how far apart, in bytes of a segment, the places of an Index lie.
const IndexStep = 16 << 10

// Index holds places of a segment from which its chain can be followed, to find a
// record without following all of it. One goroutine adds, many read without a lock:
// the writer fills a place before it raises n, and never changes a place below n.
//
// A chain can be entered only at a place of which the link is known, so that a place takes
// the link and the epoch beside offset and LSN: 24 bytes. A segment of 64 MiB has up to 4097
// of them, 96 KiB. In one that was not thinned (Merged), Before finds a place from which a
// reader follows frames over little more than IndexStep, or over one append that is longer.
//
// It is in memory only. Append adds to that of the tail, Open to one of the newest segment
// whose frames it follows, and readers to one of a segment that has none yet. A place behind
// a cut leads to other records, so that a cut truncates the index, or has it forgotten.
type Index struct {
	marks []indexMark // allocated at once, so that readers never see it move
	n     atomic.Int32
}

// indexMark is a place behind a frame.
type indexMark struct {
	lsn   frame.LSN // of the last record before the place
	off   uint32
	link  frame.Link
	epoch uint32
}

// Init allocates places for a segment of that size.
func (x *Index) Init(segmentBytes int64) {
	x.marks = make([]indexMark, segmentBytes/IndexStep+1)
}

// Add notes a place if it is far enough from the one before. It never allocates, since
// Append calls it: Init has made all of the memory.
func (x *Index) Add(p frame.Place) {
	n := x.n.Load()
	if n > 0 && p.Off < int64(x.marks[n-1].off)+IndexStep || int(n) == len(x.marks) {
		return
	}
	x.marks[n] = indexMark{lsn: p.LSN, off: uint32(p.Off), link: p.Link, epoch: p.Epoch}
	x.n.Store(n + 1)
}

// Before returns the last place before the record. Where there is none, the caller begins
// at the segment's stamp. A place says nothing of whether the record exists.
func (x *Index) Before(lsn frame.LSN) (frame.Place, bool) {
	lo, hi := 0, int(x.n.Load())
	for lo < hi {
		if mid := (lo + hi) / 2; x.marks[mid].lsn < lsn {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return frame.Place{}, false
	}
	m := &x.marks[lo-1]
	return frame.Place{LSN: m.lsn, Off: int64(m.off), Link: m.link, Epoch: m.epoch}, true
}

// Merged returns an index with the places of the given ones, which follow each
// other, and no more memory than that takes: where they are more than most, only each
// second of them, or each third, and so on. Nil is an index without a place. Of ten places
// and most 4, the first, fourth, seventh and tenth stay. The parts are not changed, and may
// be read at the same time.
func Merged(most int, parts ...*Index) *Index {
	n := 0
	for _, x := range parts {
		if x != nil {
			n += int(x.n.Load())
		}
	}
	step := max(1, (n+most-1)/most)
	out := &Index{marks: make([]indexMark, 0, (n+step-1)/step)}
	i, last := 0, uint32(0)
	for _, x := range parts {
		if x == nil {
			continue
		}
		for _, m := range x.marks[:x.n.Load()] {
			if m.off <= last { // the part before knows it too
				continue
			}
			if last = m.off; i%step == 0 {
				out.marks = append(out.marks, m)
			}
			i++
		}
	}
	out.n.Store(int32(len(out.marks)))
	return out
}

// Len returns how many places there are.
func (x *Index) Len() int { return int(x.n.Load()) }

// Begins reports whether there is a place, and the first one is the segment's start.
func (x *Index) Begins() bool { return x.Len() > 0 && int64(x.marks[0].off) == frame.DataOffset }

// Ready reports whether Init was called.
func (x *Index) Ready() bool { return x.marks != nil }

// Truncate forgets the places behind off. No goroutine may read the index at the same time.
func (x *Index) Truncate(off int64) {
	n := x.n.Load()
	for n > 0 && int64(x.marks[n-1].off) > off {
		n--
	}
	x.n.Store(n)
}

// Clear forgets all places. No goroutine may read the index at the same time.
func (x *Index) Clear() { x.n.Store(0) }
