package recovery

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

// tailScan is what lies behind the tail: what a crash tore, what a power loss left of
// records that were never acknowledged, or, where the log is damaged, acknowledged records
// behind the place of the damage. The scan does not tell these apart; the watermark does
// (damage in verdict.go). It looks for two things, names of watermarks and intact records,
// and believes only frames that something proves:
//
//   - the chain, from the tail or from a segment's valid stamp on, or
//   - the frame behind it, whose link covers the first one's.
//
// Say that a segment holds, behind the tail: zeros, frames A and B, a hole, frames C and D,
// zeros. The chain ends at once. resync finds A, which B proves, and a run from there has
// both. It ends in the hole; the next one has C and D, and after that nothing is found. If
// C's payload is damaged, C is a break and no record, and D is intact all the same. One
// frame alone between two holes is lost, since nothing proves it.
//
// Memory goes by the number of runs and breaks, not by the number of records.
type tailScan struct {
	watermark frame.LSN    // the highest that a frame names
	runs      []run        // intact records, whole batches only
	breaks    []chainBreak // where runs end and payloads are damaged, in the order of the log
	torn      int64        // bytes behind the tail, up to the last that is not zero, over all segments
	notZero   bool         // something lies behind the tail
}

// run is a run of intact records behind the tail.
type run struct {
	Range
	seg *segment
}

// chainBreak is a place at which the chain breaks. A report names lost records by the break
// that they begin at (breakAt in verdict.go).
type chainBreak struct {
	seg    *segment
	off    int64     // of the frame that is not valid
	after  frame.LSN // the last LSN known before it, or 0
	reason error     // one of those in cursor.go, or errUnreadable
}

// scanTail searches everything behind the tail, in the segment of the tail and
// in all later ones. It has to read all of it: one genuine frame there may name a
// watermark above the tail, and turn what looks torn into damage. Nearly always all of it
// is zero, and the scan costs one comparison of those bytes.
func (a *analysis) scanTail() error {
	if a.scanFromCache() {
		return nil
	}
	a.scan = tailScan{}
	first := a.chain.end
	if first < 0 {
		first = a.chain.start
	}
	for i := first; i < len(a.log); i++ {
		if err := a.scanSegment(i); err != nil {
			return err
		}
	}
	// Remains of a cut that a crash interrupted are no damage, but there is something to
	// trim.
	for _, s := range a.all {
		if s.state == StateRemains {
			a.scan.notZero = true
		}
	}
	a.cacheScan(first)
	return nil
}

// scanSegment searches one segment behind the tail, from the best place that is known:
// the tail itself, the segment's valid stamp, or, where that is lost, the first offset
// at which a frame may begin. A header has the lower half of its LSN only: where nothing
// tells more of a later segment, its records are taken to come after the tail.
func (a *analysis) scanSegment(i int) error {
	s := a.log[i]
	at := frame.Place{Off: frame.DataOffset, Link: s.Link, LSN: a.chain.tail.LSN, Epoch: 0}
	chained := s.stamped
	switch {
	case i == a.chain.end:
		at = a.chain.tail
	case s.stamped:
		at.LSN, at.Epoch = s.Stamp.First-1, s.Stamp.Epoch // analyzeFrom takes the watermarks of all stamps
	case s.guessed:
		at.LSN = max(at.LSN, s.least)
	}
	c, err := a.open(s, at)
	if err != nil {
		return err
	}
	err = a.scanFrom(c, i, chained)
	c.close()
	return err
}

// scanFrom is scanSegment from the cursor's place, which with chained is part
// of the chain. It decides how far the segment is searched: up to its last byte that
// is not zero.
//
// Something may lie behind the tail where no byte behind the cursor shows it: a torn stamp
// lies in front of all frames, and a segment that has a stamp, although the chain does not
// reach it, was entered, even if it has no frame.
func (a *analysis) scanFrom(c *cursor, i int, chained bool) error {
	s := c.seg
	end, err := c.usedEnd()
	if err != nil {
		return err
	}
	s.used = end
	info := &a.infos[s.index]
	info.Torn = max(0, end-c.Off)
	a.scan.torn += info.Torn
	if info.Torn > 0 || errors.Is(s.StampErr, frame.ErrInvalid) || i != a.chain.end && s.stamped {
		a.scan.notZero = true
	}
	if i != a.chain.end {
		info.First = s.Stamp.First
	}
	return c.search(end, chained)
}

// usedEnd returns the offset behind the last byte of the segment that is not
// zero, but not less than the cursor's. Zeros before that are no end: mapped pages reach the
// device in any order, so that frames may lie behind a page that did not.
func (c *cursor) usedEnd() (int64, error) {
	end := c.Off
	for from := c.Off; from < int64(len(c.data)); {
		to := min((from+touchBytes)&^(touchBytes-1), int64(len(c.data)))
		if err := c.need(from, to); err != nil {
			return 0, err
		}
		if n := LastNonzero(c.data[from:to]); n > 0 {
			end = from + int64(n)
		}
		from = to
	}
	return end, nil
}

// search finds the genuine frames between the cursor and end. With chained,
// the cursor's place is part of the chain; otherwise, and behind each break,
// it first finds the next two frames that validate each other. It ends, since resync
// goes on behind the frame that it found last (tried), also where not even that frame
// could be passed.
func (c *cursor) search(end int64, chained bool) error {
	for {
		if chained {
			if err := c.followRun(); err != nil {
				return err
			}
		}
		found, err := c.resync(end)
		if err != nil {
			return err
		}
		if !found {
			return c.searchLone()
		}
		chained = true
	}
}

// followRun follows the chain by its headers and collects watermarks and intact
// records, until no header is valid. A damaged payload does not end the run, since the
// chain covers headers only; but a batch counts only where all of its records are
// intact, or are what a cut left of it.
func (c *cursor) followRun() error {
	a := c.analysis
	// A run may begin within a batch. Its records count from the first one on that begins
	// a batch.
	var begin frame.Place // of the batch at hand, as long as it is whole
	whole := false
	for {
		f, err := c.next()
		if err != nil {
			if !isInvalid(err) {
				return err
			}
			if i := slices.Index(a.log, c.seg); whole && a.endedByCut(c, &f, err, i) {
				if ierr := c.intact(begin, c.Off, c.LSN); ierr != nil {
					return ierr
				}
			}
			c.seg.validEnd = max(c.seg.validEnd, c.Off)
			a.scan.breaks = append(a.scan.breaks, chainBreak{c.seg, c.Off, c.LSN, err})
			return nil
		}
		p, err := c.payload(&f)
		if err != nil && !isInvalid(err) {
			return err
		}
		// An adopted frame's own header is not proved beyond its length and LSN, so the
		// watermark that it names is not believed. That of a record whose payload is
		// damaged is: the record's header names it, and the link proves that.
		if !c.adopted {
			a.scan.watermark = max(a.scan.watermark, watermarkIn(&f, p))
		}
		if err != nil {
			a.scan.breaks = append(a.scan.breaks, chainBreak{c.seg, c.Off, f.LSN - step(&f), err})
			whole = false
		}
		if whole && f.Epoch > c.Epoch { // what a cut left of a batch
			if ierr := c.intact(begin, c.Off, c.LSN); ierr != nil {
				return ierr
			}
			whole = false
		}
		if f.Kind == frame.KindRecord {
			if f.First {
				begin, whole = frame.Place{Off: c.Off, LSN: f.LSN - 1}, err == nil
			}
			if f.Last && whole {
				if err := c.intact(begin, c.Off+f.Size(), f.LSN); err != nil {
					return err
				}
				whole = false
			}
		}
		c.pass(&f)
	}
}

// intact adds the records of a whole batch behind the tail: the batch ends at that
// offset, with that record. Runs that follow each other in one segment are joined, so
// that the list stays short however many records there are. LSNs may come twice, in two
// segments of which one was restored from a backup, say: ranges joins them, and Dump leaves
// the second out (picker in package wal).
func (c *cursor) intact(begin frame.Place, end int64, last frame.LSN) error {
	a := c.analysis
	e := &a.scan
	first := begin.LSN + 1
	if n := len(e.runs); n > 0 && e.runs[n-1].Last+1 == first && e.runs[n-1].seg == c.seg {
		e.runs[n-1].Last = last
	} else {
		e.runs = append(e.runs, run{Range{first, last}, c.seg})
	}
	if a.o.Behind == nil {
		return nil
	}
	return c.records(begin, end, func(r Record) error {
		if r.LSN < a.front { // truncated away
			return nil
		}
		return a.o.Behind(r)
	})
}

// resync moves the cursor to the next frame whose successor is linked to it, and
// reports whether there is one before end. It begins where the run ended, and not at the
// offset that the broken frame's length names: a length that nothing proves may lead past
// frames that are genuine.
func (c *cursor) resync(end int64) (bool, error) {
	off := max((c.Off+frame.Alignment-1)&^(frame.Alignment-1), c.tried+frame.Alignment)
	p, err := c.findPair(off, end, c.LSN, c.proves)
	if err != nil {
		return false, err
	}
	if p == nil {
		c.Off = end
		return false, nil
	}
	c.adopt(&p.a.Frame, p.a.off)
	return true, nil
}

// proves reports whether the second frame of a pair is linked to the first.
func (c *cursor) proves(p *pair) bool {
	return c.Follows(&p.b, &p.a.Frame, p.a.next)
}

// zeroRun returns how many bytes from off on are zero, in whole steps of 4 KiB. Most of
// what lies behind a tail is zero, and comparing it in steps is far faster than decoding
// a header at each multiple of the alignment.
func (c *cursor) zeroRun(off, end int64) (int64, error) {
	const step = 4 << 10
	n := int64(0)
	for ; off+n+step <= end; n += step {
		if err := c.need(off+n, off+n+step); err != nil {
			return 0, err
		}
		if !bytes.Equal(c.data[off+n:off+n+step], zeroPage[:step]) {
			break
		}
	}
	return n, nil
}

// adopt puts the cursor in front of a frame that only its successor proves. Its
// predecessor is lost, so next does not check its link.
func (c *cursor) adopt(a *frame.Frame, off int64) {
	c.Place = frame.Place{Off: off, LSN: a.LSN - step(a), Epoch: a.Epoch}
	c.adopted, c.tried = true, off
}

// ranges returns the intact runs as LSN ranges, sorted and joined: runs of several
// segments may touch, and forged or restored files may overlap.
func (e *tailScan) ranges() []Range {
	var out []Range
	for _, r := range e.runs {
		out = append(out, r.Range)
	}
	slices.SortFunc(out, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	joined := out[:0]
	for _, r := range out {
		if n := len(joined); n > 0 && r.First <= joined[n-1].Last+1 {
			joined[n-1].Last = max(joined[n-1].Last, r.Last)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}
