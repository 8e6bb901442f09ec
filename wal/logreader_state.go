package wal

import (
	"errors"
	"io/fs"
	"slices"
	"sort"
	"time"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// logState is where a log was when it was read: it is never changed, but replaced.
//
// There are four kinds, by what is known of a writer:
//
//   - Without a writer, the files are recovered as Open would (recovered, not live). A
//     record is readable up to the tail that was found.
//   - With a writer that was seen to update its control block, the block is believed
//     (live, not recovered). It is loaded again for each record, so that the state stays
//     as long as the log neither rotates nor is cut.
//   - With a writer that was not seen to do so, the block may still be its predecessor's.
//     Then both count: readable is what the block names and recovery finds (live and
//     recovered).
//   - Where the two contradict each other, since the writer is just opening the log or
//     announced a cut that it has not made yet, recovery alone counts (between).
//
// The tail is acquired, so that its mapping, and the block in it, stay as long as the
// state is the present one.
type logState struct {
	live     bool           // it had a writer
	segments []segmentHead  // those with records, by ordinal
	tail     *mappedSegment // the last of them, acquired; nil where there is none
	control  frame.Control  // of the tail

	// recovered says that the state comes from a recovery of the files. The control
	// block is not believed, since no living writer was seen to change it: a crash may
	// have left it. The state holds as long as the block does not change.
	recovered            bool
	first, last, durable LSN
	verdict              Verdict
	damage               []Damage
	lost                 bool // acknowledged records behind last are lost

	// between says that the files did not match the writer's block: the writer was
	// opening the log, or had announced a cut that it had not made yet. The end of
	// either need not show in the tail's block, so holds checks more than that.
	between bool
	ahead   segmentHead // of the segment that the tail's block names; zero where it has no stamp
}

// agrees reports whether the state still holds when the tail's block says n. A block that
// is believed may rise: only another epoch or a next segment ends the state.
func (p *logState) agrees(n frame.Control) bool {
	if p.recovered {
		return n == p.control
	}
	return n.Epoch == p.control.Epoch && n.Next == p.control.Next
}

// holds reports whether a state still holds when the tail's block says n. A state
// from between the announcement of a cut and the cut itself holds until the cut shows:
// a cut at the back removes the tail's file, and a reset stamps the next segment before
// it removes any.
func (o *LogReader) holds(p *logState, n frame.Control) (bool, error) {
	if !p.agrees(n) || !p.between {
		return p.agrees(n), nil
	}
	st, err := p.tail.file.Stat()
	if err != nil || st.Links == 0 {
		return false, err
	}
	now, err := o.stamped(n.Next)
	return err == nil && now == p.ahead, err
}

// stamped returns the head of a segment under its temporary or its final name, or
// zeros where it has no stamp. No stamp and no file are the same here: the log has not
// gone on there yet.
func (o *LogReader) stamped(ordinal uint64) (segmentHead, error) {
	if ordinal == 0 {
		return segmentHead{}, nil
	}
	f, h, err := o.openHead(logdir.Entry{Name: logdir.TempName(ordinal), Ordinal: ordinal, Temp: true})
	if err != nil {
		return segmentHead{}, nil //nolint:nilerr // it is not there, or not stamped
	}
	h.name = "" // it may get its final one
	return h, f.Close()
}

// bounds returns the first and the last record that may be read, when the tail's block
// says n: by the recovery, where the state is one, and otherwise by the block, which
// rises with each append.
func (p *logState) bounds(n frame.Control, durable bool) (first, last LSN) {
	switch {
	case p.recovered && durable:
		return p.first, p.durable
	case p.recovered:
		return p.first, p.last
	case durable:
		return n.Front, n.Durable
	}
	return n.Front, n.Appended
}

// find returns the segment that holds a record, or nil.
func (p *logState) find(lsn LSN) *segmentHead {
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].Stamp.First > lsn })
	if i == 0 {
		return nil
	}
	return &p.segments[i-1]
}

// behind returns the segment behind that one, or nil.
func (p *logState) behind(h *segmentHead) *segmentHead {
	i := slices.IndexFunc(p.segments, func(o segmentHead) bool { return o.is(h) }) + 1
	if i == 0 || i == len(p.segments) {
		return nil
	}
	return &p.segments[i]
}

// holds reports whether the segment is one of the log.
func (p *logState) holds(h *segmentHead) bool {
	return slices.ContainsFunc(p.segments, func(o segmentHead) bool { return o.is(h) })
}

// refresh replaces a state that does not hold any more, unless another goroutine
// has done so by now: of many Readers that find it outdated at once, one reads the
// directory. The caller then goes by LogReader.now, whichever goroutine set it.
func (o *LogReader) refresh(old *logState) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() {
		return ErrClosed
	}
	if o.now.Load() != old {
		return nil
	}
	p, err := o.readState(old)
	if err != nil {
		return err
	}
	o.install(p)
	return nil
}

// install makes a state the one that readers go by, and closes the mappings of
// segments that are not in it. The caller holds mu.
func (o *LogReader) install(p *logState) {
	if old := o.now.Load(); old != nil {
		release(old.tail)
	}
	o.now.Store(p)
	if p != nil {
		o.keepOnly(p.segments)
	}
}

// readState reads the state of the log: as its writer says or, where it has none, as
// a recovery finds it. The caller holds mu.
func (o *LogReader) readState(old *logState) (*logState, error) {
	o.discardStale()
	for {
		live, err := o.ask()
		if err != nil {
			return nil, err
		}
		if live {
			return o.readLiveState(old)
		}
		p, err := o.recoverState(false)
		if err != nil {
			return nil, err
		}
		// A writer that started since may have changed what was recovered.
		if live, err = o.ask(); err == nil && !live {
			return p, nil
		}
		release(p.tail)
		if err != nil {
			return nil, err
		}
	}
}

// readLiveState reads the state of a log that has a writer. At the first time, the
// writer may still be opening the log, and the control block be what a crash left. So
// until the block is seen to change, only records that a recovery finds too are
// readable. trusted is never unset: a power loss, after which a block may name records
// that are gone, ends this process as well.
func (o *LogReader) readLiveState(old *logState) (*logState, error) {
	p, err := o.survey(old)
	if err != nil {
		return nil, err
	}
	if !o.trusted && old == nil {
		time.Sleep(trustPause)
		var n frame.Control
		if n, err = segment.LoadControl(p.tail.mem); err != nil || !p.agrees(n) {
			release(p.tail)
			return nil, errors.Join(err, errInconsistent)
		}
		o.trusted = n != p.control
	}
	if old != nil && old.tail != nil && old.tail.is(&p.tail.segmentHead) && old.control != p.control {
		o.trusted = true
	}
	if o.trusted {
		return p, nil
	}
	j, err := o.recoverState(true)
	if err != nil {
		release(p.tail)
		return nil, err
	}
	// A block that has changed since it was read is that of a living writer. Segments
	// that recovery found behind it may then be those that the writer has entered since.
	n, err := segment.LoadControl(p.tail.mem)
	if err != nil || n != p.control {
		o.trusted = o.trusted || err == nil
		release(p.tail)
		release(j.tail)
		return nil, errors.Join(err, errInconsistent)
	}
	if j.tail == nil || !j.tail.is(&p.tail.segmentHead) {
		// Either the writer is still opening the log: it will go on where its own
		// recovery finds the log's end, and update the block there. Or it has announced
		// a cut and not made it yet: then records behind the cut must not be read.
		if j.last > p.control.Appended && j.tail != nil && p.tail.Header.Ordinal < j.tail.Header.Ordinal {
			j.last = p.control.Appended
			j.durable = min(j.durable, j.last)
		}
		j.between = j.tail != nil
		release(p.tail)
		return j, nil
	}
	release(j.tail)
	p.recovered, p.verdict, p.damage, p.lost = true, j.verdict, j.damage, j.lost
	p.first = p.control.Front
	p.last = min(p.control.Appended, j.last)
	p.durable = min(p.control.Durable, p.last)
	return p, nil
}

// survey finds the segment that a living writer appends to, and those before it, and
// checks at the end that the block did not change while it read their heads. The caller
// holds mu.
func (o *LogReader) survey(old *logState) (*logState, error) {
	entries, err := logdir.List(o.dir)
	if err != nil {
		return nil, err
	}
	heads := &headList{o: o, entries: entries}
	tail, err := heads.tail()
	if err != nil {
		return nil, err
	}
	p := &logState{live: true, tail: tail}
	p.control, err = segment.LoadControl(tail.mem)
	if err == nil {
		p.segments, err = heads.chain(&tail.segmentHead, p.control, old)
	}
	var n frame.Control
	if err == nil {
		n, err = segment.LoadControl(tail.mem)
	}
	if err == nil && (n.Epoch == 0 || !p.agrees(n) || n.Next != 0) {
		err = errInconsistent
	}
	if err != nil {
		release(tail)
		return nil, err
	}
	return p, nil
}

// headList reads heads of a listing, from the end.
type headList struct {
	o       *LogReader
	entries []logdir.Entry // what is left
}

// previous removes the last stamped segment from the list and returns it.
func (l *headList) previous() (*segmentHead, error) {
	for n := len(l.entries); n > 0; n = len(l.entries) {
		e := l.entries[n-1]
		l.entries = l.entries[:n-1]
		f, h, err := l.o.openHead(e)
		switch {
		case errors.Is(err, frame.ErrZero), errors.Is(err, frame.ErrInvalid):
			continue // prepared, or being prepared
		case errors.Is(err, fs.ErrNotExist):
			return nil, errInconsistent // removed since it was listed
		case errors.Is(err, frame.ErrVersion):
			return nil, errors.Join(ErrVersion, err)
		case err != nil:
			return nil, err
		}
		if err = f.Close(); err != nil {
			return nil, err
		}
		return &h, nil
	}
	return nil, errInconsistent
}

// tail finds the segment that the log ends in: the last one that is stamped or,
// while a cut removes segments, one before. The last segment's control block tells the
// two apart: a cut lowers its appended LSN below the segment's first one before any file
// is removed, and sets the same epoch in the block of the segment that becomes the tail.
func (l *headList) tail() (*mappedSegment, error) {
	h, err := l.previous()
	if err != nil {
		return nil, err
	}
	last, err := l.o.acquire(h)
	if err != nil {
		return nil, err
	}
	said, err := segment.LoadControl(last.mem)
	if err == nil && said.Next == 0 && h.Stamp.First <= said.Appended+1 {
		return last, nil
	}
	release(last)
	if err != nil {
		return nil, err
	}
	if said.Next != 0 {
		return nil, errInconsistent // the writer is rotating into the next one
	}
	for h.Stamp.First > said.Appended+1 {
		if h, err = l.previous(); err != nil {
			return nil, err
		}
	}
	cut, err := l.o.acquire(h)
	if err != nil {
		return nil, err
	}
	n, err := segment.LoadControl(cut.mem)
	if err == nil && (n.Epoch != said.Epoch || n.Next != 0) {
		err = errInconsistent
	}
	if err != nil {
		release(cut)
		return nil, err
	}
	return cut, nil
}

// chain returns the segments of the log up to its tail, from the one that holds
// its first record on. Those that were known before, in the same epoch, are not
// read again. It ends at a segment that a reset began: those before it are leftovers,
// whatever their LSNs.
func (l *headList) chain(tail *segmentHead, n frame.Control, old *logState) ([]segmentHead, error) {
	if old != nil && (old.recovered || old.control.Epoch != n.Epoch) {
		old = nil
	}
	list := []segmentHead{*tail}
	for h := tail; h.Stamp.First > n.Front && h.Stamp.Flags&frame.StampReset == 0; {
		if old != nil && old.holds(h) {
			i := slices.IndexFunc(old.segments, func(o segmentHead) bool { return o.is(h) })
			if i == 0 {
				return nil, errInconsistent
			}
			h = &old.segments[i-1]
			list = append(list, *h)
			continue
		}
		before, err := l.previous()
		if err != nil {
			return nil, err
		}
		if before.Header.Ordinal == h.Header.Ordinal {
			continue // the same under its other name
		}
		if before.Header.Ordinal+1 != h.Header.Ordinal || before.Header.UUID != h.Header.UUID {
			return nil, errInconsistent
		}
		h = before
		list = append(list, *h)
	}
	slices.Reverse(list)
	return list, nil
}
