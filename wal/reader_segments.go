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
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// segments are the segments that hold records, for Get and Reader.
//
// mu guards the list and what is in it, for as long as that takes in memory: an
// appender that enters a segment needs it. Nobody holds it who touches mapped
// bytes, or opens, reads, maps or unmaps a file, all of which may wait for a disk.
// Who touches mapped bytes holds a pin on their mappingRef.
//
// The log adds the segment that it enters (add), a sync hands on each that is full and
// durable (retire), TruncateFront and Reset take segments from the list (takeBelow, take),
// TruncateBack changes its end (backCut.tell), and Open fills it (enterTail). A LogReader
// does not use it: its list is its logState, and they have only segmentCache in common.
type segments struct {
	mu     sync.RWMutex
	dir    *durability.Dir
	uuid   frame.UUID
	list   []*stored // by ordinal, without gaps
	cache  segmentCache
	epoch  atomic.Uint32    // of the log, as readers know it; set under mu
	cuts   cutList          // at the back, since the log was opened
	closed atomic.Bool      // set under mu
	loose  []*mappedSegment // what unlock is to release

	pins    pins     // records that readers hold where they lie
	appends notifier // of appends
	syncs   notifier // of what was made durable
}

// stored is a segment as readers see it.
//
// It is in one of three states:
//
//   - Mapped for writing (seg): the tail, or a full one that no sync has closed yet.
//     Readers use the writer's mapping. add begins it, retire ends it.
//   - Mapped for reading (mapped): a reader came to it, and mapIn mapped it.
//   - Not mapped: Open found it, it was retired, or evict has unmapped it. Its indexes stay.
//
// segments.mu guards what is neither a mutex nor atomic. The two mutexes come before it in the
// order of locks.
type stored struct {
	ordinal uint64
	name    string
	begins  LSN              // its first record's; 0 where that is not known
	bytes   int64            // of its file
	seg     *writableSegment // while it is mapped for writing
	mapped  *mappedSegment   // of the cache, while it is mapped for reading

	live *segment.Index // of what was appended since the log was opened, or nil

	scan sync.Mutex                    // held while base is built
	base atomic.Pointer[segment.Index] // of what was there before, or of all of it, or nil; set under segments.mu

	loading sync.Mutex   // held while it is mapped
	pins    atomic.Int32 // readers that hold on to a mapping of it, which may be one before this
}

// unlock ends what mu.Lock began, and releases the mappings that were given up
// meanwhile. An munmap may have to wait for the lock of the process's memory map: no
// appender is to wait for that, as it would for mu.
func (t *segments) unlock() error {
	loose := t.loose
	t.loose = nil
	t.mu.Unlock()
	var errs []error
	for _, s := range loose {
		errs = append(errs, s.release())
	}
	return errors.Join(errs...)
}

// add adds the segment that the log enters. The caller holds Log.mu, or is Open.
func (t *segments) add(s *writableSegment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, st := range t.list {
		if st.ordinal == s.ordinal {
			st.seg, st.live, st.begins = s, &s.index, s.first
			return
		}
	}
	t.list = append(t.list, &stored{
		ordinal: s.ordinal, name: logdir.FinalName(s.ordinal), begins: s.first, bytes: s.size(), seg: s, live: &s.index,
	})
}

// retire closes a segment that is full and durable; it is mapped for reading
// when it is needed. acknowledge calls it, with syncMu held and Log.mu not: closing waits
// for the kernel. A reader that is in the segment keeps the mapping by its pin.
func (t *segments) retire(s *writableSegment) {
	t.mu.Lock()
	for _, st := range t.list {
		if st.seg == s {
			st.seg = nil
			st.settleIndex()
		}
	}
	t.boundIndexes()
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

// close unmaps what was mapped for reading. closed is set under mu: a reader that pins a
// mapping under mu has seen it, or comes first. Segments that are mapped for writing are
// left to Log.release.
func (t *segments) close() error {
	defer t.notifyAll()
	t.mu.Lock()
	t.closed.Store(true)
	for _, st := range t.list {
		t.unmap(st)
	}
	return t.unlock()
}

// unmap lets go of a mapping for reading. It is unmapped behind mu, or with the
// last reader that is at work in it. The caller holds mu for writing.
func (t *segments) unmap(st *stored) {
	if st.mapped != nil {
		t.cache.remove(st.mapped)
		t.loose = append(t.loose, st.mapped)
		st.mapped = nil
	}
}

// view is a mapped segment, for as long as its mappingRef is pinned.
//
// It is a copy of what does not change in a segment's life. The LSNs that may be read, and
// the place where the frames end, are not part of it: these the reader asks for each time.
type view struct {
	st    *stored // of a Log; nil for a LogReader
	name  string
	ref   *mappingRef
	mem   *durability.Mapping
	seed  frame.Seed
	start frame.Place
	size  int64
	// previous is the last link of the segment before it.
	previous frame.Link
}

// follows reports whether the segment goes on from a place: otherwise one of the
// two is of another moment of the log, or of another end that it had. All that the stamp
// says of the place is compared, and not the link alone, which has 32 bits. The epoch may
// rise from one segment to the next; it never falls.
func (v *view) follows(at frame.Place) bool {
	return v.start.LSN == at.LSN && v.previous == at.Link && v.start.Epoch >= at.Epoch
}

// find returns the segment with that record, or one that has to be mapped
// before that can be told. The caller holds mu for reading.
//
// It searches by the first LSN of each segment, which the stamp has, and the stamp is known
// of a mapped segment only. The search ends at the first that is not mapped. The caller maps
// it without the lock, and searches again.
func (t *segments) find(lsn LSN) (st, missing *stored, err error) {
	i := sort.Search(len(t.list), func(i int) bool {
		st := t.list[i]
		if missing != nil {
			return true
		}
		if !st.readable() {
			missing = st
			return true
		}
		return st.first() > lsn
	})
	switch {
	case missing != nil:
		return nil, missing, nil
	case i == 0:
		return nil, nil, fmt.Errorf("%w: LSN %d", ErrTruncated, lsn)
	}
	return t.list[i-1], nil, nil
}

// following returns the segment behind st, pinned, or one that has to be mapped
// first, or no view where there is none. It goes by the ordinal: a cut may have taken st
// itself out of the list.
func (t *segments) following(st *stored) (v view, missing *stored, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := sort.Search(len(t.list), func(i int) bool { return t.list[i].ordinal > st.ordinal })
	switch {
	case t.closed.Load():
		return view{}, nil, ErrClosed
	case i == len(t.list):
		return view{}, nil, nil
	case !t.list[i].readable():
		return view{}, t.list[i], nil
	}
	return t.list[i].pinnedView(), nil, nil
}

// readable reports whether the segment's bytes can be read: it is mapped.
func (st *stored) readable() bool { return st.seg != nil || st.mapped != nil }

// first returns the LSN of a mapped segment's first record.
func (st *stored) first() LSN {
	if st.seg != nil {
		return st.seg.first
	}
	return st.mapped.Stamp.First
}

// view returns a mapped segment.
func (st *stored) view() view {
	if s := st.seg; s != nil {
		return view{
			st: st, name: st.name, ref: &s.ref, mem: s.mem, seed: s.seed, start: s.start, size: s.size(),
			previous: s.previous,
		}
	}
	v := st.mapped.view()
	v.st = st
	return v
}

// pinnedView is view with a pin. The caller holds mu and has seen that the log is
// not closed: what is mapped by then is given up only behind mu.
func (st *stored) pinnedView() view {
	v := st.view()
	if !v.ref.pin() {
		panic("wal: the mapping of a segment of the log was given up")
	}
	return v
}

// before returns a place before a record of the segment, if its index is known. The
// caller holds segments.mu. live is asked first: it has what was appended last, which
// base need not know.
func (st *stored) before(lsn LSN) (frame.Place, bool) {
	if st.live != nil {
		if p, ok := st.live.Before(lsn); ok {
			return p, true
		}
	}
	if base := st.base.Load(); base != nil {
		if p, ok := base.Before(lsn); ok {
			return p, true
		}
	}
	return frame.Place{}, false
}

// before returns the last known place before a record of a pinned segment.
func (t *segments) before(v view, lsn LSN) frame.Place {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p, ok := v.st.before(lsn); ok {
		return p
	}
	return v.start
}

// mapIn maps a segment for reading, and lets go of another where there are too
// many. It does nothing where the segment was truncated meanwhile: its file may
// be gone, or be another's, and the caller looks again.
//
// Of several readers that need the segment, one maps it, and the others wait for loading and
// find that done. Whether the segment is wanted is asked twice, since the file is opened
// without the lock: a cut may come before that or during it. An error of the opening does
// not count then.
func (t *segments) mapIn(st *stored) error {
	st.loading.Lock()
	defer st.loading.Unlock()
	t.mu.RLock()
	wanted := t.wants(st)
	t.mu.RUnlock()
	if !wanted {
		return nil
	}
	m, err := t.load(st.name, st.ordinal)
	t.mu.Lock()
	if !t.wants(st) {
		_ = t.unlock()
		if err == nil {
			_ = m.release() // read-only: nothing is lost with it
		}
		return nil
	}
	if err == nil {
		t.evict()
		t.cache.add(m)
		st.mapped = m
	}
	_ = t.unlock()
	return err
}

// wants reports whether the segment is one of the log and has to be mapped. The
// caller holds mu. After a cut at the back the tail's segment is mapped for writing
// again, and is not wanted for reading.
func (t *segments) wants(st *stored) bool {
	return !t.closed.Load() && !st.readable() && slices.Contains(t.list, st)
}

// evict lets go of the segment whose mapping is the oldest, if there are too many:
// those who look one up hold mu for reading, and note no use. One that is pinned goes
// too, and stays mapped until its readers are done. The caller holds mu for writing.
func (t *segments) evict() {
	if s := t.cache.surplus(true); s != nil {
		i := slices.IndexFunc(t.list, func(st *stored) bool { return st.mapped == s })
		t.unmap(t.list[i]) // read-only: nothing is lost with it
	}
}

// load opens a segment's file, reads its head and maps it for reading. The head is read
// by a system call and checked before anything is believed: the file is found by its
// name, and another process may have put another one there. A damaged head is the
// reader's error, and no reason to poison the log.
func (t *segments) load(name string, ordinal uint64) (*mappedSegment, error) {
	f, err := t.dir.Open(name, false)
	if err != nil {
		return nil, err
	}
	bad := func(off int64, reason string) error {
		return newCorruptError(t.dir.Path(), []Damage{{File: name, Offset: off, Reason: reason}})
	}
	h, err := segment.ReadHead(f)
	switch {
	case err != nil:
	case h.HeaderErr != nil || h.Header.UUID != t.uuid || h.Header.Ordinal != ordinal:
		err = bad(frame.HeaderOffset, "the segment's header does not validate")
	case h.StampErr != nil:
		err = bad(frame.StampOffset, "the segment's stamp does not validate")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return mapHead(f, segmentHead{name: name, Head: h}, h.Header.SegmentBytes)
}
