package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// markReserve is kept free at the end of each segment, so that a sync can always
// name the watermark.
const markReserve = frame.HeaderBytes + frame.MarkBytes

// writableSegment is a writableSegment that the log holds mapped for writing.
type writableSegment struct {
	ordinal uint64
	header  frame.Header
	seed    frame.Seed
	first   LSN         // of its first record; set at rotation
	start   frame.Place // before its first frame; set at rotation
	// previous is the last link of the segment before it, as its stamp says.
	previous frame.Link
	file     *durability.File
	lock     *durability.File // holds the lock on the file's inode
	mem      *durability.Mapping
	expect   durability.Expectation // the file as it was when it was mapped
	align    int64                  // where a commit may begin, in bytes

	index segment.Index
	ref   mappingRef // of mem and file

	// taken says that it holds records, or is about to. The log's mutex guards it.
	taken bool
	// named is closed when the file has its final name, durably, or will never
	// have it: nameErr says which and is set before.
	named   chan struct{}
	nameErr error
	naming  naming
}

// size returns the segment's size in bytes.
func (s *writableSegment) size() int64 { return s.header.SegmentBytes }

// closedChan is what a segment's named is that has its name from the start.
var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// mapSegment locks and maps an opened segment's file.
func mapSegment(dir *durability.Dir, f *durability.File, h frame.Header, align Align) (*writableSegment, error) {
	lock, err := lockSegment(dir, f.Name())
	if err != nil {
		return nil, err
	}
	mem, err := f.Map(h.SegmentBytes, true)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	expect, err := f.Expect()
	if err != nil {
		return nil, errors.Join(err, mem.Unmap(), lock.Close())
	}
	s := &writableSegment{
		ordinal: h.Ordinal, header: h, seed: h.Seed(), file: f, lock: lock, mem: mem, expect: expect,
		align: alignBytes(align, h.FillBytes), named: closedChan,
	}
	s.ref.mem, s.ref.file = mem, f
	s.index.Init(h.SegmentBytes)
	return s, nil
}

// close gives up the lock, unmaps the segment and closes its file, or leaves
// these two to the last reader that holds a record in it.
func (s *writableSegment) close() error { return errors.Join(s.lock.Close(), s.ref.release()) }

// checkHead returns an error where the header is not the segment's any more, or
// the stamp: what it holds is lost then, however well it was synced. It reads
// them, since a load of a page that is not resident would hold up others.
func (s *writableSegment) checkHead() error {
	head := make([]byte, frame.SegmentHeaderBytes+frame.StampBytes)
	header, stamp := head[:frame.SegmentHeaderBytes], head[frame.SegmentHeaderBytes:]
	if _, err := s.file.ReadAt(header, frame.HeaderOffset); err != nil && !isEOF(err) {
		return err
	}
	if _, err := s.file.ReadAt(stamp, frame.StampOffset); err != nil && !isEOF(err) {
		return err
	}
	if h, err := frame.DecodeHeader(header); err != nil || h != s.header {
		return &durability.ChangedError{File: s.file.Path(), What: "its header is not what was stored: it was overwritten"}
	}
	if s.start.Off == 0 {
		if recovery.LastNonzero(stamp) == 0 {
			return nil
		}
	} else if st, first, err := frame.DecodeStamp(stamp, &s.header); err == nil && st.First == s.first && first == s.start.Link {
		return nil
	}
	return &durability.ChangedError{File: s.file.Path(), What: "its stamp is not what was stored: it was overwritten"}
}

// checkPrepared returns an error where a prepared segment is not what it was
// when it was made, so that no record is appended to what is lost already. One
// on its way to its name is looked at by the namer: nobody waits for that here.
func (s *writableSegment) checkPrepared() error {
	select {
	case <-s.named:
		if err := s.file.Check(s.expect); err != nil {
			return err
		}
	default:
	}
	return s.checkHead()
}

// clean zeroes what a store that failed may have left. A page that there is no
// room for cannot be zeroed either, and need not be: nothing was stored in it.
// That is asked of the file, since on tmpfs even a load has to find room.
func (s *writableSegment) clean(off, n int64) error {
	for end := off + n; off < end; {
		next := min(end, (off/int64(pageSize)+1)*int64(pageSize))
		if err := s.mem.Zero(off, next-off); err != nil {
			p := make([]byte, next-off)
			if _, rerr := s.file.ReadAt(p, off); rerr != nil || recovery.LastNonzero(p) > 0 {
				return errors.Join(err, rerr)
			}
		}
		off = next
	}
	return nil
}

// storeError tells why a store failed: where the file is whole and the page can be
// read, the filesystem had no room for a copy of it (C8), as where blocks are
// shared with another file.
func (s *writableSegment) storeError(cause error) error {
	fault := (*durability.FaultError)(nil)
	if !errors.As(cause, &fault) {
		return cause
	}
	if err := s.file.Check(s.expect); err != nil {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	var p [1]byte
	if _, err := s.file.ReadAt(p[:], fault.Offset); err != nil {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, cause)
}
