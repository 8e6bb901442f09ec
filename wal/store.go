package wal

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// maxMapped bounds the segments that stay mapped for reading beside the ones
// that are mapped for writing: address space, mappings and descriptors.
const maxMapped = 64

// segments are the segments that hold records, for Get and Reader. Whoever
// touches mapped bytes holds mu for reading; mapping and unmapping hold it for
// writing.
type segments struct {
	mu     sync.RWMutex
	dir    *durability.Dir
	uuid   frame.UUID
	list   []*stored // by ordinal, without gaps
	clock  uint64
	epoch  uint32  // of the log, as readers know it
	cuts   cutList // at the back, since the log was opened
	closed bool

	pins    pins // records that readers hold where they lie
	appends bell // rung when something was appended
	syncs   bell // rung when something was made durable
}

// stored is a segment as readers see it.
type stored struct {
	ordinal uint64
	name    string
	begins  LSN      // its first record's; 0 where that is not known
	bytes   int64    // of its file
	seg     *segment // while it is mapped for writing
	// What follows is known once the segment was mapped.
	known  bool
	header frame.Header
	stamp  frame.Stamp
	link   frame.Link // that the stamp begins
	file   *durability.File
	mem    *durability.Mapping
	lease  *lease // of file and mem
	used   uint64 // clock of its last use

	live *index // of what was appended since the log was opened, or nil

	scan sync.Mutex // guards base while it is built
	base *index     // of what was there before, or nil

	pins atomic.Int32 // readers that hold on to a mapping of it
}

// add adds the segment that the log enters.
func (t *segments) add(s *segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, st := range t.list {
		if st.ordinal == s.ordinal {
			st.seg, st.live, st.begins = s, &s.index, s.first
			return
		}
	}
	t.list = append(t.list, &stored{
		ordinal: s.ordinal, name: finalName(s.ordinal), begins: s.first, bytes: s.size(), seg: s, live: &s.index,
	})
}

// retire closes a segment that is full and durable; it is mapped for reading
// when it is needed.
func (t *segments) retire(s *segment) {
	t.mu.Lock()
	for _, st := range t.list {
		if st.seg == s {
			st.seg = nil
			st.known = false
		}
	}
	t.mu.Unlock()
	_ = s.close() // all of it is durable, and its result was known before
}

// count returns the number of segments that hold records.
func (t *segments) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.list)
}

// Segment is a segment of an open log that holds records, or is about to.
type Segment struct {
	Name     string // of its file, within the log's directory
	FirstLSN LSN    // of its first record; the last one is before the next segment's first
	Bytes    int64  // of its file: what its removal frees
}

// Segments returns the segments that hold the log's records, the oldest first;
// the last one is being appended to. To bound a log's size, hand the FirstLSN of
// the oldest one that is to stay to TruncateFront: whole segments go, and nothing
// is left of them on the disk.
func (l *Log) Segments() []Segment {
	t := &l.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]Segment, 0, len(t.list))
	for _, st := range t.list {
		list = append(list, Segment{Name: st.name, FirstLSN: st.begins, Bytes: st.bytes})
	}
	return list
}

// close unmaps what was mapped for reading.
func (t *segments) close() error {
	defer t.tell()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	var errs []error
	for _, st := range t.list {
		errs = append(errs, st.unmap())
	}
	return errors.Join(errs...)
}

// unmap gives up a mapping for reading, or leaves that to the last reader that
// holds a record in it.
func (st *stored) unmap() error {
	if st.file == nil {
		return nil
	}
	err := st.lease.giveUp(st.mem, st.file)
	st.mem, st.file, st.known = nil, nil, false
	return err
}

// view is a mapped segment, for as long as segments.mu is held for reading.
type view struct {
	st    *stored // of a Log; nil for a LogReader
	name  string
	lease *lease // of a Log
	mem   *durability.Mapping
	seed  frame.Seed
	start place
	size  int64
	// previous is the last link of the segment before it.
	previous frame.Link
}

// follows reports whether the segment goes on from a place: otherwise one of the
// two is of another moment of the log, or of another end that it had.
func (v *view) follows(at place) bool {
	return v.start.lsn == at.lsn && v.previous == at.link && v.start.epoch >= at.epoch
}

// locate returns the segment with that record, mapped. The caller holds mu for
// reading, and goes on holding it; it is released where something has to be
// mapped first.
func (t *segments) locate(lsn LSN) (view, error) {
	for {
		v, missing, err := t.find(lsn)
		if missing == nil {
			return v, err
		}
		t.mu.RUnlock()
		err = t.mapIn(missing)
		t.mu.RLock()
		if err != nil {
			return view{}, err
		}
	}
}

// find returns the segment with that record, or one that has to be mapped
// before that can be told. The caller holds mu for reading.
func (t *segments) find(lsn LSN) (v view, missing *stored, err error) {
	i := sort.Search(len(t.list), func(i int) bool {
		st := t.list[i]
		if missing != nil {
			return true
		}
		if !st.mapped() {
			missing = st
			return true
		}
		return st.first() > lsn
	})
	switch {
	case missing != nil:
		return view{}, missing, nil
	case i == 0:
		return view{}, nil, fmt.Errorf("%w: LSN %d", ErrTruncated, lsn)
	}
	return t.list[i-1].view(), nil, nil
}

// following returns the segment behind st, on find's terms, or no view where
// there is none.
func (t *segments) following(st *stored) (v view, missing *stored) {
	i := sort.Search(len(t.list), func(i int) bool { return t.list[i].ordinal > st.ordinal })
	switch {
	case i == len(t.list):
		return view{}, nil
	case !t.list[i].mapped():
		return view{}, t.list[i]
	}
	return t.list[i].view(), nil
}

// mapped reports whether the segment's bytes can be read.
func (st *stored) mapped() bool { return st.seg != nil || st.known && st.mem != nil }

// first returns the LSN of a mapped segment's first record.
func (st *stored) first() LSN {
	if st.seg != nil {
		return st.seg.first
	}
	return st.stamp.First
}

// view returns a mapped segment.
func (st *stored) view() view {
	if s := st.seg; s != nil {
		return view{
			st: st, name: st.name, lease: &s.lease, mem: s.mem, seed: s.seed, start: s.start, size: s.size(),
			previous: s.previous,
		}
	}
	return view{
		st: st, name: st.name, lease: st.lease, mem: st.mem, seed: st.header.Seed(), size: st.header.SegmentBytes,
		start:    place{off: frame.DataOffset, link: st.link, lsn: st.stamp.First - 1, epoch: st.stamp.Epoch},
		previous: st.stamp.Previous,
	}
}

// mapIn maps a segment for reading, and unmaps another where there are too
// many. It does nothing where the segment was truncated meanwhile: its file may
// be gone, and the caller looks again.
func (t *segments) mapIn(st *stored) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || st.mapped() || !slices.Contains(t.list, st) {
		return nil
	}
	t.evict()
	f, err := t.dir.Open(st.name, false)
	if err != nil {
		return err
	}
	if err := st.load(t.dir.Path(), f, t.uuid); err != nil {
		return errors.Join(err, f.Close())
	}
	t.clock++
	st.used = t.clock
	return nil
}

// evict unmaps the segment whose mapping is the oldest, if there are too many.
func (t *segments) evict() {
	var oldest *stored
	n := 0
	for _, st := range t.list {
		if st.mem == nil {
			continue
		}
		n++
		if oldest == nil || st.used < oldest.used {
			oldest = st
		}
	}
	if n >= maxMapped {
		_ = oldest.unmap() // read-only: nothing is lost with it
	}
}

// load reads the segment's head and maps it for reading.
func (st *stored) load(dir string, f *durability.File, id frame.UUID) error {
	head := make([]byte, frame.DataOffset)
	if _, err := f.ReadAt(head, 0); err != nil && !isEOF(err) {
		return err
	}
	bad := func(off int64, reason string) error {
		return newCorruptError(dir, []Damage{{File: st.name, Offset: off, Reason: reason}})
	}
	h, err := frame.DecodeHeader(head)
	if err != nil || h.UUID != id || h.Ordinal != st.ordinal {
		return bad(frame.HeaderOffset, "the segment's header does not validate")
	}
	stamp, link, err := frame.DecodeStamp(head[frame.StampOffset:], &h)
	if err != nil {
		return bad(frame.StampOffset, "the segment's stamp does not validate")
	}
	mem, err := f.Map(h.SegmentBytes, false)
	if err != nil {
		return err
	}
	st.header, st.stamp, st.link = h, stamp, link
	st.file, st.mem, st.lease, st.known = f, mem, new(lease), true
	return nil
}
