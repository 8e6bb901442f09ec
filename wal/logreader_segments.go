package wal

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

var (
	// errStale says that the log is not where it was: its state is read again.
	errStale = errors.New("wal: the log has gone on, or was cut")
	// errInconsistent says that the directory is inconsistent at this moment: its
	// writer is at work.
	errInconsistent = errors.New("wal: the log is being changed")
)

// follows is view.follows for a segment that is not mapped.
func (h *segmentHead) follows(at frame.Place) bool {
	v := view{start: h.Start(), previous: h.Stamp.Previous}
	return v.follows(at)
}

// readHead reads and decodes the head of an open file. It returns frame.ErrZero or
// ErrInvalid where that is not the segment of the name, or has no stamp.
func readHead(f *durability.File, e logdir.Entry) (segmentHead, error) {
	h, err := segment.ReadHead(f)
	switch {
	case err != nil:
		return segmentHead{}, err
	case h.HeaderErr != nil:
		return segmentHead{}, h.HeaderErr
	case h.Header.Ordinal != e.Ordinal:
		return segmentHead{}, frame.ErrInvalid // renamed, to be used again
	}
	return segmentHead{name: e.Name, Head: h}, h.StampErr
}

// note notes a place that was passed in that epoch.
func (s *mappedSegment) note(epoch uint64, p frame.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.marks.Ready():
		s.marks.Init(s.Header.SegmentBytes)
		s.epoch = epoch
	case epoch < s.epoch:
		return
	case epoch > s.epoch: // what was noted may lie behind a cut
		s.marks.Clear()
		s.epoch = epoch
	}
	s.marks.Add(p)
}

// before returns a place before a record that was noted in that epoch.
func (s *mappedSegment) before(epoch uint64, lsn LSN) (frame.Place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		return frame.Place{}, false
	}
	return s.marks.Before(lsn)
}

// forget forgets all places: one of them led nowhere.
func (s *mappedSegment) forget() {
	s.mu.Lock()
	s.marks.Clear()
	s.mu.Unlock()
}

// openHead opens the segment of an entry, that it may have got its final name
// since included, and reads its head.
func (o *LogReader) openHead(e logdir.Entry) (*durability.File, segmentHead, error) {
	f, err := o.dir.Open(e.Name, false)
	if e.Temp && errors.Is(err, fs.ErrNotExist) {
		e = logdir.Entry{Name: logdir.FinalName(e.Ordinal), Ordinal: e.Ordinal}
		f, err = o.dir.Open(e.Name, false)
	}
	if err != nil {
		return nil, segmentHead{}, err
	}
	h, err := readHead(f, e)
	if err != nil {
		return nil, h, errors.Join(err, f.Close())
	}
	return f, h, nil
}

// acquire returns the segment with that head, mapped, until release. The caller
// holds mu.
func (o *LogReader) acquire(h *segmentHead) (*mappedSegment, error) {
	if s := o.cache.byOrdinal[h.Header.Ordinal]; s != nil {
		if s.is(h) {
			s.pinAgain()
			o.cache.use(s)
			return s, nil
		}
		o.discard(s)
	}
	o.evict()
	f, now, err := o.openHead(logdir.Entry{Name: h.name, Ordinal: h.Header.Ordinal, Temp: h.name != logdir.FinalName(h.Header.Ordinal)})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, frame.ErrZero), errors.Is(err, frame.ErrInvalid):
		return nil, errInconsistent // removed, or used again
	case err != nil:
		return nil, err
	case !now.is(h):
		return nil, errors.Join(errInconsistent, f.Close())
	}
	size, err := f.Size() // a short file is read up to its end
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s, err := mapHead(f, now, min(size, now.Header.SegmentBytes))
	if err != nil {
		return nil, err
	}
	if err = s.mem.PopulateRead(frame.ControlOffset, frame.BlockBytes); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.pinAgain()
	o.cache.add(s)
	return s, nil
}

// release ends what acquire began.
func release(s *mappedSegment) {
	if s != nil {
		s.unpin()
	}
}

// discard keeps a segment no longer than those that hold it need it. The caller
// holds mu.
func (o *LogReader) discard(s *mappedSegment) {
	o.cache.remove(s)
	_ = s.release() // read-only
}

// evict drops the segment whose last use is the oldest, if there are too many. One that
// is pinned stays: its Reader keeps it from record to record, and would keep it mapped.
func (o *LogReader) evict() {
	if s := o.cache.surplus(false); s != nil {
		o.discard(s)
	}
}

// stale reports whether the mapping is of another file than the one that is written
// to. On an overlay a mapping that was made while the log lay in the lower layer stays
// what it is: the first writer has the file copied to the upper layer, and what is
// read through the descriptor comes from there (Documentation/filesystems/overlayfs.rst,
// non-standard behavior). Nothing else shows it: inode, size and name are the same.
func (s *mappedSegment) stale() bool {
	before, err := segment.LoadControl(s.mem)
	if err != nil {
		return false
	}
	now, err := segment.ReadControl(s.file)
	if err != nil || now == before {
		return false
	}
	// Of one file the mapping has what was read, or what was stored since.
	after, err := segment.LoadControl(s.mem)
	return err == nil && after == before
}

// discardStale drops the segments that are mapped and not the log's any more. The
// caller holds mu.
func (o *LogReader) discardStale() {
	if !o.layered {
		return
	}
	for _, s := range o.cache.byOrdinal {
		if s.stale() {
			o.discard(s)
		}
	}
}

// keepOnly drops the segments that are not of the log any more.
func (o *LogReader) keepOnly(list []segmentHead) {
	for _, s := range o.cache.byOrdinal {
		if !slices.ContainsFunc(list, func(h segmentHead) bool { return s.is(&h) }) {
			o.discard(s)
		}
	}
}
