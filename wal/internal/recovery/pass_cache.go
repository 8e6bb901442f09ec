package recovery

import "github.com/seawall-wal/seawall/wal/frame"

// memo is what one pass over the log found, for the next one: where nothing is
// proved, the judgement begins anew from an older segment, again and again, and what
// it finds in a segment does not depend on where it began. So each is read once.
type memo struct {
	walks  map[int]walkNote // by index into judge.log
	gather *gatherNote
}

// walkNote is what walkSegment found.
type walkNote struct {
	next  frame.Place
	chain chain // of this segment alone
	info  Segment
}

// gatherNote is what gather found behind a tail.
type gatherNote struct {
	end      int
	tail     frame.Place
	evidence evidence
	torn     []int64 // of the segments from end on
}

// remembers reports whether a pass may take what an earlier one found: not where
// somebody is to be called for each record, or for each byte.
func (j *judge) remembers() bool {
	return j.o.Visit == nil && j.o.Behind == nil && j.o.Progress == nil
}

// walked is walkSegment, or what it found before.
func (j *judge) walked(i int) (frame.Place, error) {
	if !j.remembers() {
		return j.walkSegment(i)
	}
	info := &j.infos[j.log[i].index]
	w, ok := j.memo.walks[i]
	if !ok {
		before := j.chain
		j.chain = chain{start: before.start, end: -1}
		next, err := j.walkSegment(i)
		if err != nil {
			return frame.Place{}, err
		}
		w = walkNote{next: next, chain: j.chain, info: *info}
		j.chain = before
		if j.memo.walks == nil {
			j.memo.walks = make(map[int]walkNote)
		}
		j.memo.walks[i] = w
	}
	*info = w.info
	j.chain.join(&w.chain)
	return w.next, nil
}

// join goes on with a chain that was followed through the next segment.
func (ch *chain) join(next *chain) {
	ch.end, ch.tail, ch.last = next.end, next.tail, next.last
	ch.reason, ch.openBatch = next.reason, next.openBatch
	ch.records += next.records
	ch.watermark = max(ch.watermark, next.watermark)
}

// gathered takes what an earlier pass found behind the same tail, if there was one.
func (j *judge) gathered() bool {
	g := j.memo.gather
	if g == nil || !j.remembers() || g.end != j.chain.end || g.tail != j.chain.tail {
		return false
	}
	j.evidence = g.evidence
	for i, torn := range g.torn {
		s := j.log[g.end+i]
		j.infos[s.index].Torn = torn
		if i > 0 {
			j.infos[s.index].First = s.Stamp.First
		}
	}
	return true
}

// keepGathered notes what was found behind the tail, in the segments from first on.
func (j *judge) keepGathered(first int) {
	if first != j.chain.end {
		return // there is no segment
	}
	g := &gatherNote{end: first, tail: j.chain.tail, evidence: j.evidence}
	for _, s := range j.log[first:] {
		g.torn = append(g.torn, j.infos[s.index].Torn)
	}
	j.memo.gather = g
}
