package recovery

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// findStart goes back from the newest stamped segment until a watermark proves that
// everything before the segment at hand was durable: only what lies behind a
// watermark can be torn, so nothing before it has to be read.
//
// Say that the segments 7, 8 and 9 begin at the LSNs 701, 801 and 901. Where a frame from 9
// on, or any stamp or slot that counts, names 900 or more, recovery begins at 9. After a
// crash right behind the rotation into 9, the highest watermark may be 850. Then what 8
// holds may be torn, and 9 follows it; everything before 8 is proved, and recovery begins
// at 8. Where records before that are damaged, Open does not see it: Verify reads all.
//
// It looks without callbacks, so that passes may take from the cache what was found before.
func (a *analysis) findStart() (int, error) {
	a.o.Visit, a.o.Behind, a.o.Progress = nil, nil, nil
	// Each step back is twice as wide as the one before: where nothing is
	// proved, the whole search costs no more than some passes over the log.
	for start, back := a.stampedBefore(len(a.log), 0), 1; start > 0; start, back = a.stampedBefore(max(1, start-back+1), 0), 2*back {
		if err := a.analyzeFrom(start); err != nil {
			return 0, err
		}
		if a.watermark < a.log[start].Stamp.First-1 {
			continue
		}
		return a.stampedBefore(start+1, a.o.From), nil
	}
	return 0, nil
}

// beforeDamage returns the segment from which recovery has to begin so that it tells
// what is lost with a missing or unreadable segment, or start, if that comes first.
// In every state that a crash leaves, the segments before start have stamps. Which records
// are lost shows in the last one before the damaged place and in what follows it: so the
// chain is followed into that place, from the stamped segment before it.
func (a *analysis) beforeDamage(start int) int {
	for i, s := range a.log {
		if s.headerErr != "" || s.short != "" || len(s.spans) > 0 || i < start && !s.stamped || i > 0 && s.file.Ordinal != a.log[i-1].file.Ordinal+1 {
			return min(start, a.stampedBefore(i, 0))
		}
	}
	return start
}

// stampedBefore returns the index of the last segment before i that has a
// valid header and stamp, and begins no later than at the LSN, unless that is
// zero; or 0.
func (a *analysis) stampedBefore(i int, at frame.LSN) int {
	for i--; i > 0; i-- {
		s := a.log[i]
		if s.stamped && s.headerErr == "" && (at == 0 || s.Stamp.First <= at) {
			return i
		}
	}
	return 0
}

// analyzeFrom follows the chain from the segment at index start, searches what
// lies behind its tail, and settles the watermark. That is the highest LSN that any source
// names: none of them ever named one before it was durable, so each is a lower bound of
// what was. What a cut has made outdated does not count, which is why epochs are compared.
// What lies before the front needs no proof any more.
func (a *analysis) analyzeFrom(start int) error {
	a.infos = make([]Segment, len(a.all))
	if err := a.walk(start); err != nil {
		return err
	}
	if err := a.scanTail(); err != nil {
		return err
	}
	w := max(a.front-1, a.chain.watermark, a.scan.watermark)
	if a.epoch > 1 {
		w = max(w, a.cut.LSN)
	}
	for _, s := range a.log {
		// A stamp names less than its segment's first LSN and so, where its epoch is
		// an older one, no more than the cut. A slot of an older epoch may name
		// records that the cut removed, since it lies in front of all frames.
		if s.stamped {
			w = max(w, s.Stamp.Watermark)
		}
		for i, slot := range s.Slots {
			if s.SlotErrs[i] == nil && slot.Epoch >= a.epoch {
				w = max(w, slot.Watermark)
			}
		}
	}
	// The lock file's checkpoint outlives the loss of the newest segments, whose own
	// watermarks are gone with them.
	if a.checkpointApplies() {
		w = max(w, a.o.Newest.Watermark)
	}
	if a.o.Wrong.Has(seam.WatermarkUnchecked) {
		w = min(w, a.chain.tail.LSN)
	}
	a.watermark = w
	return nil
}

// finish returns the result. Damage comes before torn: a torn tail loses nothing that
// was acknowledged, and Open may trim it, while damage is for a person to decide on.
func (a *analysis) finish() *Result {
	r := &Result{
		UUID: a.uuid, Warnings: a.warnings, Front: a.front, First: a.firstHeld(),
		Watermark: a.watermark, Epoch: a.epoch, Cut: a.cut,
		Records: a.chain.records, TornBytes: a.scan.torn, Behind: a.scan.ranges(),
		Tail: Tail{
			File: -1, Offset: a.chain.tail.Off, LSN: a.chain.tail.LSN,
			Link: a.chain.tail.Link, Epoch: a.chain.tail.Epoch, Frame: a.chain.last,
		},
	}
	if a.chain.end >= 0 {
		r.Tail.File = a.log[a.chain.end].index
	}
	r.UsedTemp = slices.ContainsFunc(a.all, (*segment).usedBefore)
	r.Segments = a.states()
	r.Damage = a.damage(r.Behind)
	switch {
	case len(r.Damage) > 0:
		r.Verdict = Damaged
	case a.scan.notZero:
		r.Verdict = Torn
	}
	return r
}

// firstHeld returns the first LSN that a segment of the log holds.
func (a *analysis) firstHeld() frame.LSN {
	if len(a.log) > 0 && a.log[0].stamped {
		return max(a.front, a.log[0].Stamp.First)
	}
	return a.front
}

// states completes what is known of each file. A file behind the tail is torn where
// anything in it is not zero, a damaged stamp included; otherwise it is prepared. Those
// before the start stay StateUnread.
func (a *analysis) states() []Segment {
	for i, s := range a.log {
		info := &a.infos[s.index]
		switch {
		case s.state == StateDamaged:
		case i < a.chain.start:
		case i < a.chain.end:
			s.state = StateFull
		case i == a.chain.end:
			s.state = StateActive
		case s.stamped || info.Torn > 0 || errors.Is(s.StampErr, frame.ErrInvalid):
			s.state = StateTorn
		default:
			s.state = StatePrepared
		}
	}
	for i, s := range a.all {
		info := &a.infos[i]
		info.Name, info.Ordinal, info.State = s.file.Name, s.file.Ordinal, s.state
		if s.stamped && info.First == 0 {
			info.First = s.Stamp.First
		}
	}
	return a.infos
}

// damage lists what is lost: the LSNs between the tail and the watermark that
// no intact record behind the tail has, each gap at the place where the chain
// breaks, and what the names and heads have shown. Where the chain ends before
// the watermark, that is damage even if all records are intact behind the
// break: a trim would remove them.
//
// With the tail at LSN 100, the watermark 110, and 103 to 104 and 108 to 120 intact behind
// the tail, 101 to 102 and 105 to 107 are lost. What is missing above the watermark was
// never acknowledged, as far as anything tells, and is no damage.
func (a *analysis) damage(behind []Range) []Damage {
	l := newLosses(a)
	next := a.chain.tail.LSN + 1
	if next <= a.watermark && len(behind) > 0 && behind[0].First <= next {
		if b := l.breakAt(next); l.explainedBy(b) == nil && !errors.Is(b.reason, errUnreadable) {
			l.add(Damage{File: b.seg.file.Name, Offset: b.off, Reason: b.reason.Error()})
		}
	}
	// The range behind the watermark ends the last gap.
	for _, r := range append(behind, Range{First: a.watermark + 1, Last: a.watermark + 1}) {
		if next > a.watermark {
			break
		}
		if r.First > next {
			l.lose(Range{next, min(r.First-1, a.watermark)})
		}
		next = max(next, r.Last+1)
	}
	for i := range l.out {
		l.out[i].Unknown = a.unknown(&l.out[i])
	}
	return l.out
}

// losses builds the list of damage. Lost ranges are added in the order of their
// LSNs, and there may be as many as the log has records, so each takes constant time.
//
// A report is to name causes: each place where the bytes are wrong once, with the records
// that were lost by it. What is lost is known as LSNs, though, between the intact records
// on either side. So each range is brought to the break of the chain where it begins, and
// from there to a missing file, a bad header or an unreadable block, if one of these
// explains that break.
type losses struct {
	a      *analysis
	out    []Damage
	open   map[string][]int      // those in out, by file, that have no lost records yet
	unread []unread              // those in out that are unreadable blocks
	passed int                   // breaks that lie before all ranges still to be added
	after  map[*segment]*segment // the next one in the log
}

// newLosses returns a list with the damage that names and heads show, and the blocks
// that cannot be read. Lost records are added to these entries where they explain the
// loss, so they come first.
func newLosses(a *analysis) *losses {
	l := &losses{a: a, open: make(map[string][]int), after: make(map[*segment]*segment)}
	for _, d := range a.structural {
		l.add(d)
	}
	l.addUnreadable()
	for i := 1; i < len(a.log); i++ {
		l.after[a.log[i-1]] = a.log[i]
	}
	return l
}

// add adds damage.
func (l *losses) add(d Damage) {
	if d.First == 0 {
		l.open[d.File] = append(l.open[d.File], len(l.out))
	}
	l.out = append(l.out, d)
}

// lose adds a lost range at the place where it begins. Where damage that is in the list
// already explains the break, a missing segment for instance, the range is noted there,
// so that one cause is reported once. A range that several unreadable places have caused
// is divided among them.
//
// Say that segment 8 is missing, that 7 ends with 799, and that 9 begins with 901, which is
// intact. The names have put the missing 8 into the list. The range 800 to 900 begins where
// the chain breaks, at the end of 7, and the open entry that this leads to is that of 8.
func (l *losses) lose(lost Range) {
	a := l.a
	if len(a.log) == 0 {
		l.add(Damage{
			File: segmentName(a.cut.Ordinal), First: lost.First, Last: lost.Last,
			Gap: true, Reason: "missing: the log ended in it",
		})
		return
	}
	b := l.breakAt(lost.First)
	if at := l.nextUnread(lost, b); at != 0 {
		l.lose(Range{lost.First, at - 1})
		l.lose(Range{at, lost.Last})
		return
	}
	if i := l.unreadAt(b); i >= 0 && l.out[l.unread[i].index].First == 0 {
		d := &l.out[l.unread[i].index]
		d.First, d.Last = lost.First, lost.Last
		return
	}
	if d := l.explainedBy(b); d != nil {
		d.First, d.Last = lost.First, lost.Last
		l.open[d.File] = l.open[d.File][1:]
		return
	}
	l.add(Damage{
		File: b.seg.file.Name, Offset: b.off, First: lost.First, Last: lost.Last, Reason: b.reason.Error(),
	})
}

// explainedBy returns the damage that explains a break and has no lost records
// yet, or nil: a missing or unreadable segment explains the first gap that
// begins in it or at the end of the one before it.
func (l *losses) explainedBy(b chainBreak) *Damage {
	first := -1
	for _, name := range [...]string{b.seg.file.Name, segmentName(b.seg.file.Ordinal + 1)} {
		if open := l.open[name]; len(open) > 0 && (first < 0 || open[0] < first) {
			first = open[0]
		}
	}
	if first < 0 {
		return nil
	}
	return &l.out[first]
}

// breakAt returns the place at which the record with that LSN should begin:
// the first break behind which it cannot lie. Calls come with rising LSNs, so that
// breaks that lie before one call's LSN lie before the next one's too.
//
// Where a segment's frames just end, the record may have begun the next segment. If the
// stamp of that is damaged, or is zero in front of other bytes, it is the place to name:
// the frames there may be in order, and are not reached without it.
func (l *losses) breakAt(lsn frame.LSN) chainBreak {
	a := l.a
	at := chainBreak{seg: a.log[max(a.chain.end, a.chain.start)], off: a.chain.tail.Off, reason: a.chain.reason}
	if lsn == a.chain.tail.LSN+1 && !at.seg.stamped && at.reason != nil {
		at.off = frame.StampOffset // none of its frames is reached
		return at
	}
	for breaks := a.scan.breaks; l.passed < len(breaks); l.passed++ {
		if breaks[l.passed].after+1 >= lsn {
			at = breaks[l.passed]
			break
		}
	}
	if at.reason == nil {
		at.reason = errZeros
	}
	if errors.Is(at.reason, errZeros) || errors.Is(at.reason, errEnd) {
		next := l.after[at.seg]
		if next != nil && next.headerErr == "" && (errors.Is(next.StampErr, frame.ErrInvalid) ||
			next.StampErr != nil && a.infos[next.index].Torn > 0) {
			return chainBreak{seg: next, off: frame.StampOffset, reason: next.stampReason()}
		}
	}
	return at
}

// stampReason says why the segment has no stamp.
func (s *segment) stampReason() error {
	if s.hits(frame.StampOffset, frame.StampOffset+frame.StampBytes) {
		return errUnreadable
	}
	if errors.Is(s.StampErr, frame.ErrZero) {
		return errNoStamp
	}
	return errStamp
}
