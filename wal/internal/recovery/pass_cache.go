package recovery

import "github.com/seawall-wal/seawall/wal/frame"

// passCache keeps what one pass over the log found for the next one: where no
// watermark is proved, findStart tries again from an older segment, and what is
// found in a segment does not depend on where a pass began. So each is read once.
//
// In a log of 100 segments in which nothing proves a watermark, the passes begin at index
// 99, 98, 96, 92, 84, 68, 36 and 0. Each follows the frames of the segments that the one
// before did not come to, and takes those of the others from here. Only the last pass, at
// the segment that was chosen, reads them again where a callback wants each record.
//
// Whether one segment continues another is checked in each pass (checkEntry): it depends on
// the one before. What walking and scanning note in the segment itself (validEnd, used,
// spans) stays there, and is not kept a second time. It is kept for one call of Recover.
type passCache struct {
	walks map[int]cachedWalk // by index into analysis.log
	scan  *cachedScan
}

// cachedWalk is what walkSegment found.
type cachedWalk struct {
	next  frame.Place
	chain chain // of this segment alone
	info  Segment
}

// cachedScan is what scanTail found behind a tail, the last one that was searched.
type cachedScan struct {
	end  int
	tail frame.Place
	scan tailScan
	torn []int64 // of the segments from end on
}

// mayUseCache reports whether a pass may take what an earlier one found: not where
// a callback wants each record, or each byte.
func (a *analysis) mayUseCache() bool {
	return a.o.Visit == nil && a.o.Behind == nil && a.o.Progress == nil
}

// walkCached is walkSegment, or what it found before. The segment is walked with an
// empty chain, so that what is kept is about this segment alone; join then adds it to
// the chain of the pass.
func (a *analysis) walkCached(i int) (frame.Place, error) {
	if !a.mayUseCache() {
		return a.walkSegment(i)
	}
	info := &a.infos[a.log[i].index]
	w, ok := a.cache.walks[i]
	if !ok {
		before := a.chain
		a.chain = chain{start: before.start, end: -1}
		next, err := a.walkSegment(i)
		if err != nil {
			return frame.Place{}, err
		}
		w = cachedWalk{next: next, chain: a.chain, info: *info}
		a.chain = before
		if a.cache.walks == nil {
			a.cache.walks = make(map[int]cachedWalk)
		}
		a.cache.walks[i] = w
	}
	*info = w.info
	a.chain.join(&w.chain)
	return w.next, nil
}

// join goes on with a chain that was followed through the next segment.
func (ch *chain) join(next *chain) {
	ch.end, ch.tail, ch.last = next.end, next.tail, next.last
	ch.reason, ch.openBatch = next.reason, next.openBatch
	ch.records += next.records
	ch.watermark = max(ch.watermark, next.watermark)
}

// scanFromCache takes what an earlier pass found behind the same tail, if there was one.
// Passes that begin at different segments mostly end at the same tail, and the search
// behind it is what takes longest. The fields of infos that scanFrom sets are restored
// too, since each pass begins with empty ones.
func (a *analysis) scanFromCache() bool {
	g := a.cache.scan
	if g == nil || !a.mayUseCache() || g.end != a.chain.end || g.tail != a.chain.tail {
		return false
	}
	a.scan = g.scan
	for i, torn := range g.torn {
		s := a.log[g.end+i]
		a.infos[s.index].Torn = torn
		if i > 0 {
			a.infos[s.index].First = s.Stamp.First
		}
	}
	return true
}

// cacheScan notes what was found behind the tail, in the segments from first on.
func (a *analysis) cacheScan(first int) {
	if first != a.chain.end {
		return // there is no segment
	}
	g := &cachedScan{end: first, tail: a.chain.tail, scan: a.scan}
	for _, s := range a.log[first:] {
		g.torn = append(g.torn, a.infos[s.index].Torn)
	}
	a.cache.scan = g
}
