package recovery

import (
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
)

// findStart goes back from the newest stamped segment until a witness proves
// that everything before the segment at hand was durable: only what lies
// behind a watermark can be torn, so only there judgement is needed.
func (j *judge) findStart() (int, error) {
	j.o.Visit, j.o.Behind, j.o.Progress = nil, nil, nil
	// Each step back is twice as wide as the one before: where nothing is
	// proved, the whole search costs no more than some passes over the log.
	for start, back := j.stampedBefore(len(j.log), 0), 1; start > 0; start, back = j.stampedBefore(max(1, start-back+1), 0), 2*back {
		if err := j.judgeFrom(start); err != nil {
			return 0, err
		}
		if j.watermark < j.log[start].Stamp.First-1 {
			continue
		}
		return j.stampedBefore(start+1, j.o.From), nil
	}
	return 0, nil
}

// beforeDamage returns from where on the judgement tells what is lost with a
// missing or unreadable segment, or start, if that is before it. A segment
// before start has a stamp, in every state that a crash leaves.
func (j *judge) beforeDamage(start int) int {
	for i, s := range j.log {
		if s.headerErr != "" || s.short != "" || len(s.spans) > 0 || i < start && !s.stamped || i > 0 && s.file.Ordinal != j.log[i-1].file.Ordinal+1 {
			return min(start, j.stampedBefore(i, 0))
		}
	}
	return start
}

// stampedBefore returns the index of the last segment before i that has a
// valid header and stamp, and begins no later than at the LSN, unless that is
// zero; or 0.
func (j *judge) stampedBefore(i int, at frame.LSN) int {
	for i--; i > 0; i-- {
		s := j.log[i]
		if s.stamped && s.headerErr == "" && (at == 0 || s.Stamp.First <= at) {
			return i
		}
	}
	return 0
}

// judgeFrom follows the chain from the segment at index start, searches what
// lies behind its tail, and settles the watermark.
func (j *judge) judgeFrom(start int) error {
	j.infos = make([]Segment, len(j.all))
	if err := j.walk(start); err != nil {
		return err
	}
	if err := j.gather(); err != nil {
		return err
	}
	w := max(j.front-1, j.chain.watermark, j.evidence.watermark)
	if j.epoch > 1 {
		w = max(w, j.cut.LSN)
	}
	for _, s := range j.log {
		// A stamp claims less than its segment's first LSN, and so, where its epoch
		// is an older one, no more than the cut. A slot of an older epoch may name
		// what the cut removed: it lies in front of all frames.
		if s.stamped {
			w = max(w, s.Stamp.Watermark)
		}
		for i, slot := range s.Slots {
			if s.SlotErrs[i] == nil && slot.Epoch >= j.epoch {
				w = max(w, slot.Watermark)
			}
		}
	}
	if j.newestHolds() {
		w = max(w, j.o.Newest.Watermark)
	}
	j.watermark = w
	return nil
}

// finish puts the judgement into words.
func (j *judge) finish() *Result {
	r := &Result{
		UUID: j.uuid, Warnings: j.warnings, Front: j.front, First: j.firstHeld(),
		Watermark: j.watermark, Epoch: j.epoch, Cut: j.cut,
		Records: j.chain.records, TornBytes: j.evidence.torn, Behind: j.evidence.ranges(),
		Tail: Tail{
			File: -1, Offset: j.chain.tail.Off, LSN: j.chain.tail.LSN,
			Link: j.chain.tail.Link, Epoch: j.chain.tail.Epoch, Frame: j.chain.last,
		},
	}
	if j.chain.end >= 0 {
		r.Tail.File = j.log[j.chain.end].index
	}
	r.Segments = j.states()
	r.Damage = j.damage(r.Behind)
	switch {
	case len(r.Damage) > 0:
		r.Verdict = Damaged
	case j.evidence.notZero:
		r.Verdict = Torn
	}
	return r
}

// firstHeld returns the first LSN that a segment of the log holds.
func (j *judge) firstHeld() frame.LSN {
	if len(j.log) > 0 && j.log[0].stamped {
		return max(j.front, j.log[0].Stamp.First)
	}
	return j.front
}

// states completes what is known of each file.
func (j *judge) states() []Segment {
	for i, s := range j.log {
		info := &j.infos[s.index]
		switch {
		case s.state == StateDamaged:
		case i < j.chain.start:
		case i < j.chain.end:
			s.state = StateFull
		case i == j.chain.end:
			s.state = StateActive
		case s.stamped || info.Torn > 0 || errors.Is(s.StampErr, frame.ErrInvalid):
			s.state = StateTorn
		default:
			s.state = StatePrepared
		}
	}
	for i, s := range j.all {
		info := &j.infos[i]
		info.Name, info.Ordinal, info.State = s.file.Name, s.file.Ordinal, s.state
		if s.stamped && info.First == 0 {
			info.First = s.Stamp.First
		}
	}
	return j.infos
}

// damage lists what is lost: the LSNs between the tail and the watermark that
// no intact record behind the tail has, each gap at the place where the chain
// breaks, and what the names and heads have shown. Where the chain ends before
// the watermark, that is damage even if all records are intact behind the
// break: a trim would remove them.
func (j *judge) damage(behind []Range) []Damage {
	l := newLosses(j)
	next := j.chain.tail.LSN + 1
	if next <= j.watermark && len(behind) > 0 && behind[0].First <= next {
		if b := l.breakAt(next); l.explained(b) == nil && !errors.Is(b.reason, errUnreadable) {
			l.add(Damage{File: b.seg.file.Name, Offset: b.off, Reason: b.reason.Error()})
		}
	}
	for _, r := range append(behind, Range{First: j.watermark + 1, Last: j.watermark + 1}) {
		if next > j.watermark {
			break
		}
		if r.First > next {
			l.lose(Range{next, min(r.First-1, j.watermark)})
		}
		next = max(next, r.Last+1)
	}
	for i := range l.out {
		l.out[i].Unknown = j.unknown(&l.out[i])
	}
	return l.out
}

// losses is the list of damage on its way. Ranges are lost in the order of their
// LSNs, and there may be as many as the log has records: each costs the same.
type losses struct {
	j      *judge
	out    []Damage
	open   map[string][]int // those in out, by file, that have no lost records yet
	unread []unread
	passed int // breaks that lie before the ranges to come
	after  map[*segment]*segment
}

// newLosses returns the list with the damage that names and heads have shown.
func newLosses(j *judge) *losses {
	l := &losses{j: j, open: make(map[string][]int), after: make(map[*segment]*segment)}
	for _, d := range j.structural {
		l.add(d)
	}
	l.addUnreadable()
	for i := 1; i < len(j.log); i++ {
		l.after[j.log[i-1]] = j.log[i]
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

// lose adds a lost range at the place where it begins.
func (l *losses) lose(lost Range) {
	j := l.j
	if len(j.log) == 0 {
		l.add(Damage{
			File: segmentName(j.cut.Ordinal), First: lost.First, Last: lost.Last,
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
	if d := l.explained(b); d != nil {
		d.First, d.Last = lost.First, lost.Last
		l.open[d.File] = l.open[d.File][1:]
		return
	}
	l.add(Damage{
		File: b.seg.file.Name, Offset: b.off, First: lost.First, Last: lost.Last, Reason: b.reason.Error(),
	})
}

// explained returns the damage that explains a break and has no lost records
// yet, or nil: a missing or unreadable segment explains the first gap that
// begins in it or at the end of the one before it.
func (l *losses) explained(b brk) *Damage {
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
func (l *losses) breakAt(lsn frame.LSN) brk {
	j := l.j
	at := brk{seg: j.log[max(j.chain.end, j.chain.start)], off: j.chain.tail.Off, reason: j.chain.reason}
	if lsn == j.chain.tail.LSN+1 && !at.seg.stamped && at.reason != nil {
		at.off = frame.StampOffset // none of its frames is reached
		return at
	}
	for breaks := j.evidence.breaks; l.passed < len(breaks); l.passed++ {
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
			next.StampErr != nil && j.infos[next.index].Torn > 0) {
			return brk{seg: next, off: frame.StampOffset, reason: next.stampReason()}
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
