package wal

import (
	"math"
	"time"
)

const (
	// paceLeast is the size of the smallest segments that are prepared late. Smaller ones cost
	// less to make than it takes to think about it.
	paceLeast = 16 << 20
	// paceStep is how many bytes are appended between two looks at the rate.
	paceStep = 1 << 20
	// paceAhead is how long before it is wanted, at the rate of the last paceStep bytes, a segment
	// is begun: several times what a slow disk takes to write one.
	paceAhead = 10 * time.Second
)

// pace says how many segments to keep prepared: as many as appends will want soon. A log that
// takes few records has one segment, and the next one is written beside as few commits as can be:
// zeros for 64 MiB, and an fsync of them, hold up whoever waits for the same disk.
//
// The rate is looked at each paceStep bytes, not with a timer: a log that is not appended to wants
// no segment, and Append asks for the time only there. What comes faster than the rate has said
// waits for one segment, as it does without a segment ahead (awaitSegment). Log.mu guards all of it.
type pace struct {
	seg   *writableSegment // the tail, when it was looked at last
	from  int64            // offset in it then
	since time.Time
	next  int64 // offset behind which it is looked at again
	want  int   // segments to keep prepared
}

// passed is called by the append that passes Log.look: either the warmer waits for that, or the
// rate is to be looked at.
func (l *Log) passed() {
	if l.at.Off > l.warming.wake {
		l.warming.wake = math.MaxInt64
		l.spaceAvailable.Broadcast()
	}
	if p := &l.pace; p.seg != l.tail || l.at.Off > p.next {
		before := p.want
		p.look(l.tail, l.at.Off, time.Now(), l.opts.SegmentsAhead)
		if p.want > before {
			l.spaceAvailable.Broadcast()
		}
	}
	l.look = min(l.warming.wake, l.pace.next)
}

// look is one look, at an offset of the tail.
func (p *pace) look(tail *writableSegment, off int64, now time.Time, most int) {
	size := tail.size()
	rate := 0.0 // bytes a nanosecond
	if p.seg == tail {
		rate = float64(off-p.from) / float64(max(now.Sub(p.since), 1))
	} else {
		p.want = 0
	}
	p.seg, p.from, p.since, p.next = tail, off, now, off+paceStep
	p.want = max(p.want, segmentsWanted(size, size-off, rate))
	if p.want >= most {
		p.want, p.next = most, math.MaxInt64
	}
}

// segmentsWanted returns how many segments of a size will be entered within paceAhead, at a rate in
// bytes a nanosecond and with so many bytes left in the tail. One is wanted for the last quarter of
// the tail in any case, and as many as there may be where they are small.
func segmentsWanted(size, left int64, rate float64) int {
	if size < paceLeast {
		return math.MaxInt
	}
	soon := rate*float64(paceAhead) - float64(left)
	switch {
	case soon > 0:
		return 1 + int(min(soon/float64(size), MaxSegmentsAhead))
	case left <= size/4:
		return 1
	}
	return 0
}
