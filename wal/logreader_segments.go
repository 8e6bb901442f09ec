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

// The segments that a LogReader holds mapped. They are found by what their heads say, since
// a writer may remove a file, rename it, or use it again under another name at any moment:
// what is known of a segment is its segmentHead, and a file is that segment only if its
// header has the same ordinal and salt (segmentHead.is). A recycled file has another salt.
//
// LogReader.mu guards the cache; its state and its Readers pin what they use. Where files
// and heads do not fit together, the answer is one of these errors, and logreader_state.go
// or logreader_wait.go tries again.
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

// note notes a place that was passed in that epoch. The epoch is that in which the Reader
// last found its place in the log (checkPlace). Places of several epochs are never kept
// together: one of an earlier epoch may lie behind a cut, where the bytes, once
// overwritten, lead nowhere.
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

// before returns a place before a record that was noted in that epoch. A place of another
// epoch is no error: the way from the segment's start is only longer.
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
// since included, and reads its head. A segment never goes back from its final name to
// the temporary one of its ordinal: so the other order needs no second attempt.
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
//
// A cached segment of the same ordinal and another salt is usually one that a cut removed,
// and whose ordinal was used again. It is discarded, and a Reader that still holds it finds
// that out when it adopts the next state (wasReleased).
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
	// The block is loaded for each record: a load that faults would hold up the process
	// (kernel fact 7).
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
// caller holds mu. readState calls it before it reads anything, so that no state is made
// from the block of an old mapping. Where the directory is on no overlay, nothing has to
// be compared.
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

// keepOnly drops the segments that are not of the log any more. Without it, the mappings
// of removed segments would keep their space on the disk taken. The caller holds mu.
func (o *LogReader) keepOnly(list []segmentHead) {
	for _, s := range o.cache.byOrdinal {
		if !slices.ContainsFunc(list, func(h segmentHead) bool { return s.is(&h) }) {
			o.discard(s)
		}
	}
}
