package wal

import (
	"sync/atomic"

	"github.com/seawall-wal/seawall/wal/frame"
)

// indexStep is how far apart, in bytes of a segment, the places lie that Get
// starts from.
const indexStep = 16 << 10

// The indexes of segments that are full are bounded: so many places are kept of all
// of them as they were noted, 6 MiB in memory. Of older segments than those no more
// than so many are kept each, 6 KiB, so that Get reads up to 256 KiB of a segment of
// 64 MiB from where it starts. Tests make them smaller.
var (
	maxIndexMarks  = 1 << 18
	thinIndexMarks = 256
)

// index holds places of a segment from which Get can follow the chain. One
// goroutine adds, many read.
type index struct {
	marks []indexMark
	n     atomic.Int32
}

// indexMark is a place behind a frame.
type indexMark struct {
	lsn   LSN // of the last record before the place
	off   uint32
	link  frame.Link
	epoch uint32
}

// init makes room for a segment of that size.
func (x *index) init(segmentBytes int64) {
	x.marks = make([]indexMark, segmentBytes/indexStep+1)
}

// add notes a place if it is far enough from the one before.
func (x *index) add(p frame.Place) {
	n := x.n.Load()
	if n > 0 && p.Off < int64(x.marks[n-1].off)+indexStep || int(n) == len(x.marks) {
		return
	}
	x.marks[n] = indexMark{lsn: p.LSN, off: uint32(p.Off), link: p.Link, epoch: p.Epoch}
	x.n.Store(n + 1)
}

// before returns the last place before the record.
func (x *index) before(lsn LSN) (frame.Place, bool) {
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

// merged returns an index with the places of the given ones, which follow each
// other, and no more room than that takes: where they are more than most, only each
// second of them, or each third, and so on. Nil is an index without a place.
func merged(most int, parts ...*index) *index {
	n := 0
	for _, x := range parts {
		if x != nil {
			n += int(x.n.Load())
		}
	}
	step := max(1, (n+most-1)/most)
	out := &index{marks: make([]indexMark, 0, (n+step-1)/step)}
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

// settleIndex takes the index out of a segment that nobody appends to any more. The
// caller holds mu for writing.
func (st *stored) settleIndex() {
	if st.live != nil {
		// Of what was cut back into nothing is known before the cut: then baseIndex
		// makes the whole when it is needed.
		base := st.base.Load()
		if base != nil || st.live.n.Load() > 0 && int64(st.live.marks[0].off) == frame.DataOffset {
			st.base.Store(merged(maxIndexMarks, base, st.live))
		}
		st.live = nil
	}
}

// boundIndexes thins the indexes of the oldest segments out where there are too
// many places in all. The caller holds mu for writing.
func (t *segments) boundIndexes() {
	room := maxIndexMarks
	for i := len(t.list) - 1; i >= 0; i-- {
		st := t.list[i]
		base := st.base.Load()
		if base == nil || st.seg != nil {
			continue
		}
		n := int(base.n.Load())
		if room -= n; room < 0 && n > thinIndexMarks {
			st.base.Store(merged(thinIndexMarks, base))
		}
	}
}
