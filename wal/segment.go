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

// writableSegment is a segment that the log holds mapped for writing: prepared, the
// tail, or one that no sync has covered yet. Once the segment is entered, only index,
// ref and the fields behind them change.
//
// A segment goes through these states:
//
//  1. The preparer fills it under its temporary name, and puts it into Log.ready.
//  2. The namer makes it durable and gives it its final name.
//  3. rotate stamps it and makes it the tail, mostly after step 2, and without
//     SyncEach also before. From here on it has an entry in Log.dirty.
//  4. When the log has rotated into the next one, it takes no more frames.
//  5. The sync that covers its last frame closes it (acknowledge): readers then map it
//     for reading only (stored), as those of an earlier writer.
//
// TruncateBack may map a segment of step 5 for writing again, as the new tail.
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
	ref   mappingRef // of mem and file; readers pin it

	// taken says that it holds records, or is about to. Log.mu guards it.
	taken bool
	// named is closed when the file has its final name, durably, or will never
	// have it: nameErr says which and is set before.
	named   chan struct{}
	nameErr error
	naming  naming
}

// size returns the segment's size in bytes.
func (s *writableSegment) size() int64 { return s.header.SegmentBytes }

// closedChan is the channel named of a segment that has its final name already.
var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// mapSegment locks and maps an opened segment's file. On an error the file is left to
// the caller; otherwise the segment closes it.
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

// close releases the lock, unmaps the segment and closes its file, or leaves
// these two to the last reader that holds a record in it.
func (s *writableSegment) close() error { return errors.Join(s.lock.Close(), s.ref.release()) }

// checkHead returns an error where the header or the stamp is not what was stored:
// without them recovery would not find the segment's records, however well they were
// synced. checkSynced asks it of each segment that a sync covered.
//
// It looks at the mapping. That has what the file has, also behind a truncation or in a hole, and
// costs no system call, of which there were two here, a tenth of a commit on a fast device. A load
// that has to wait for the disk holds up the whole process at the next garbage collection
// (kernel fact 7); these two pages are looked at by each sync, and so they are not evicted before
// those that each append stores to.
func (s *writableSegment) checkHead() error {
	var header [frame.SegmentHeaderBytes]byte
	var stamp [frame.StampBytes]byte
	if err := s.mem.Load(frame.HeaderOffset, header[:]); err != nil {
		return err
	}
	if err := s.mem.Load(frame.StampOffset, stamp[:]); err != nil {
		return err
	}
	return s.checkHeadBytes(header[:], stamp[:])
}

// readHead is checkHead for a segment whose first pages nobody may have looked at for long. It
// reads them by a system call.
func (s *writableSegment) readHead() error {
	head := make([]byte, frame.SegmentHeaderBytes+frame.StampBytes)
	header, stamp := head[:frame.SegmentHeaderBytes], head[frame.SegmentHeaderBytes:]
	if _, err := s.file.ReadAt(header, frame.HeaderOffset); err != nil && !isEOF(err) {
		return err
	}
	if _, err := s.file.ReadAt(stamp, frame.StampOffset); err != nil && !isEOF(err) {
		return err
	}
	return s.checkHeadBytes(header, stamp)
}

// checkHeadBytes compares what lies in front of the segment's frames with what was stored.
func (s *writableSegment) checkHeadBytes(header, stamp []byte) error {
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
// when it was made, so that no record is appended to a file that is gone. A file that
// has its temporary name still may be renamed at any moment: the namer checks it.
func (s *writableSegment) checkPrepared() error {
	select {
	case <-s.named:
		if err := s.file.Check(s.expect); err != nil {
			return err
		}
	default:
	}
	return s.readHead()
}

// clean zeroes what a store that failed may have left. A page for which the
// filesystem has no space cannot be zeroed either, and need not be: nothing was stored
// in it. Whether that is so is read from the file, since on tmpfs even a load from the
// mapping has to allocate the page.
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
// read, the filesystem had no space for a copy of it (C8), for instance because its
// blocks are shared with another file.
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
