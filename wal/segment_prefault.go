package wal

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// warmAhead is how far ahead of the appenders, in bytes, an opened log has its
// segments in the page cache.
var warmAhead int64 = 8 << 20

// warmBuffers receive the bytes that are read only to bring them into the page cache.
var warmBuffers = sync.Pool{New: func() any { return new([segment.PopulateBytes]byte) }}

// warming brings into the page cache what lies ahead of the appenders in the segments
// that Open found. Open read them around the page cache; a store to a page that is not
// there waits for the disk with the log's mutex held, and holds up the garbage
// collector too (kernel fact 7). Segments that are prepared later are in the page cache
// since they were filled.
//
// The first segment.PopulateBytes are brought in before Open returns, the rest after
// it, in chunks of that size, and never more than warmAhead before it is needed: the
// tail of a log that is only opened is not read. They are read, not populated: a page
// that is mapped for reading costs the store a fault of its own, while the fault of a
// page that is not mapped yet maps its whole folio.
type warming struct {
	seg   *writableSegment   // the one that is being brought in, or nil at the end
	from  int64              // offset up to which it was brought in
	later []*writableSegment // those behind it
	wake  int64              // offset of the tail behind which more is wanted; Log.mu guards it
}

// warmFirst begins the warming of a log that was found, and does as much of it as
// the first appends need. Open calls it last. What cannot be read now is no error of
// Open: the append says so.
func (l *Log) warmFirst() {
	w := &l.warming
	w.seg, w.from, w.later, w.wake = l.tail, l.at.Off, slices.Clone(l.ready), math.MaxInt64
	// Each append first checks the link of the frame before.
	_, _ = l.tail.file.ReadAt(make([]byte, 4), l.linkOff)
	for left := int64(segment.PopulateBytes); left > 0 && w.seg != nil; {
		left -= w.step(left)
	}
}

// runWarmer goes on with the warming, ahead of the appenders.
func (l *Log) runWarmer(ctx context.Context) {
	defer l.work.Done()
	w := &l.warming
	for w.seg != nil && l.awaitNear(w) && ctx.Err() == nil {
		w.step(segment.PopulateBytes)
	}
}

// step brings in up to n bytes, and returns how many. Where a page cannot be had,
// the append that needs it says so. The pin keeps the file open where the log is closed,
// or the segment removed, at the same time.
func (w *warming) step(n int64) int64 {
	n = min(n, w.seg.size()-w.from)
	if n > 0 && w.seg.ref.pin() {
		buf := warmBuffers.Get().(*[segment.PopulateBytes]byte) //nolint:forcetypeassert // the pool's own
		_, _ = w.seg.file.ReadAt(buf[:n], w.from)
		warmBuffers.Put(buf)
		w.seg.ref.unpin()
	}
	w.from += n
	if w.from >= w.seg.size() {
		w.next()
	}
	return n
}

// next goes on with the next segment.
func (w *warming) next() {
	w.seg, w.from = nil, 0
	if len(w.later) > 0 {
		w.seg, w.later = w.later[0], w.later[1:]
	}
}

// awaitNear waits until the appenders are within warmAhead of what is to be brought in
// next, and skips what they have passed. It reports false where there is nothing to do
// any more.
func (l *Log) awaitNear(w *warming) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { w.wake = math.MaxInt64 }()
	for l.checkWritable() == nil {
		far, ahead := l.distance(w.seg, w.from)
		switch {
		case !ahead:
			if w.next(); w.seg == nil {
				return false
			}
		case far < warmAhead:
			w.from -= min(far, 0) // what they have passed is there
			return true
		default:
			w.wake = l.at.Off + far - warmAhead // an entered segment wakes too
			l.look = min(l.look, w.wake)
			l.spaceAvailable.Wait()
		}
	}
	return false
}

// distance returns how many bytes behind the tail an offset of a segment lies, and
// whether the tail is still to reach the segment. The caller holds mu.
func (l *Log) distance(s *writableSegment, off int64) (far int64, ahead bool) {
	if s == l.tail {
		return off - l.at.Off, true
	}
	far = l.tail.size() - l.at.Off
	for _, r := range l.ready {
		if r == s {
			return far + off, true
		}
		far += r.size()
	}
	return 0, false
}
