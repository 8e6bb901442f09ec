package wal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// Append appends a record and returns its LSN. When it returns, the record and
// all before it survive the death of the process; with SyncEach they survive
// power loss too. p is not kept. An empty record is a record. Where no segment
// is ready, Append waits for one; Close ends the wait.
//
// It returns ErrTooLarge, ErrNoSpace, ErrExhausted, ErrPoisoned or ErrClosed, and a
// *durability.FaultError where p lies in a mapping of package durability and cannot
// be read; the record is then not in the log, and will not be. The exception is
// SyncEach: when the sync fails, the log is poisoned, and whether the record
// survives is unknown.
func (l *Log) Append(p []byte) (LSN, error) {
	if int64(len(p)) > l.MaxRecordBytes() {
		return 0, fmt.Errorf("%w: record of %d bytes, the limit is %d", ErrTooLarge, len(p), l.MaxRecordBytes())
	}
	// What grows with the record is done before the lock is taken: the frame's
	// header carries the payload's checksum, the chain covers the header.
	f := frame.Frame{
		Length: uint32(len(p)), PayloadCRC: frame.Checksum(p),
		Kind: frame.KindRecord, First: true, Last: true,
	}
	lsn, cuts, err := l.appendOne(&f, p)
	if err != nil {
		return 0, err
	}
	return lsn, l.afterAppend(lsn, cuts)
}

// appendOne stores and publishes a record. It returns how many cuts there were
// when it did.
func (l *Log) appendOne(f *frame.Frame, p []byte) (lsn LSN, cuts uint64, err error) {
	l.mu.Lock()
	defer l.unlock()
	if err = l.reserve(f.Size(), 1); err != nil {
		return 0, 0, err
	}
	if err = l.put(f, p); err != nil {
		return 0, 0, err
	}
	return l.publish(1, int64(len(p))), l.cutCount.Load(), nil
}

// unlock releases mu. It is deferred, since reading the payload may panic: where the
// caller's slice lies at an address that faults and that is no mapping of package
// durability. Then storing is not 0; the half of the frame that was stored becomes
// zero again, the log goes on, and the panic reaches the caller.
func (l *Log) unlock() {
	if n := l.storing; n != 0 {
		l.storing = 0
		if err := l.tail.clean(l.at.Off, n); err != nil {
			_ = l.fail(err)
		}
	}
	l.mu.Unlock()
}

// batchSums keeps the checksums of a batch's records between its two passes.
var batchSums = sync.Pool{New: func() any { return new([]uint32) }}

// AppendBatch appends records as one atomic unit, and returns the LSN of the
// last one: after a crash all of them are in the log or none is. Otherwise it
// promises and returns what Append does. A batch lies in one segment; one
// that does not fit is ErrTooLarge. No records are no batch: LastLSN is
// returned.
func (l *Log) AppendBatch(ps [][]byte) (LSN, error) {
	if len(ps) == 0 {
		return l.LastLSN(), nil
	}
	size, bytes := int64(0), int64(0)
	pooled, _ := batchSums.Get().(*[]uint32)
	defer batchSums.Put(pooled)
	sums := (*pooled)[:0]
	for i, p := range ps {
		size += frame.Size(int64(len(p)))
		bytes += int64(len(p))
		if size > l.opts.SegmentBytes-frame.DataOffset-markReserve {
			return 0, fmt.Errorf("%w: batch of %d records is over %d bytes at record %d, with %d bytes of header each",
				ErrTooLarge, len(ps), l.opts.SegmentBytes-frame.DataOffset-markReserve, i, frame.HeaderBytes)
		}
		sums = append(sums, frame.Checksum(p))
	}
	*pooled = sums
	lsn, cuts, err := l.appendBatch(ps, sums, size, bytes)
	if err != nil {
		return 0, err
	}
	return lsn, l.afterAppend(lsn, cuts)
}

// appendBatch is appendOne for a batch: readers see all of it or nothing, since
// publish comes after the last frame.
func (l *Log) appendBatch(ps [][]byte, sums []uint32, size, bytes int64) (lsn LSN, cuts uint64, err error) {
	l.mu.Lock()
	defer l.unlock()
	if err = l.putBatch(ps, sums, size); err != nil {
		return 0, 0, err
	}
	return l.publish(len(ps), bytes), l.cutCount.Load(), nil
}

// putBatch stores a batch's frames. Where one cannot be stored, or reading its payload
// panics, those before it are undone, so that the batch is in the log whole or not at
// all: the tail goes back to where the batch began, and the bytes behind it become zero
// again. Nothing of it was published yet, so no reader has seen it. Space for the whole
// batch is reserved first: a batch never lies in two segments.
func (l *Log) putBatch(ps [][]byte, sums []uint32, size int64) (err error) {
	if err = l.reserve(size, len(ps)); err != nil {
		return err
	}
	start, linkOff, watermark := l.at, l.linkOff, l.namedWatermark
	whole := false
	defer func() {
		if whole {
			return
		}
		// The frame that could not be stored is zero already, or is the next to be.
		end := l.at.Off + l.storing
		l.at, l.linkOff, l.namedWatermark, l.storing = start, linkOff, watermark, 0
		if start.Off < end && l.poison.Load() == nil {
			if zerr := l.tail.clean(start.Off, end-start.Off); zerr != nil {
				err = l.fail(zerr)
			}
		}
	}()
	for i, p := range ps {
		f := frame.Frame{
			Length: uint32(len(p)), PayloadCRC: sums[i],
			Kind: frame.KindRecord, First: i == 0, Last: i == len(ps)-1,
		}
		if err = l.put(&f, p); err != nil {
			return err
		}
	}
	whole = true
	return nil
}

// reserve makes sure that a frame or a batch of size bytes, with so many records,
// fits behind the tail, and that the tail is still what was stored. It rotates into
// the next prepared segment, or waits for one. The caller holds mu; a wait releases
// it, so the tail may be another one when reserve returns.
func (l *Log) reserve(size int64, records int) error {
	for {
		if err := l.checkWritable(); err != nil {
			return err
		}
		if l.at.LSN > MaxLSN-LSN(records) {
			return fmt.Errorf("%w: LSNs for %d records behind %d", ErrExhausted, records, l.at.LSN)
		}
		if l.cutting.Load() {
			l.spaceAvailable.Wait()
			continue
		}
		if l.fits(size) {
			break
		}
		if size > l.opts.SegmentBytes-frame.DataOffset-markReserve {
			return ErrTooLarge
		}
		if l.canRotate() && !l.resets {
			if err := l.rotate(); err != nil {
				return err
			}
			continue
		}
		if err := l.awaitSegment(size, false); err != nil {
			return err
		}
	}
	return nil
}

// linkChanged is the error for a last frame's link that is not what was stored.
func linkChanged(s *writableSegment, off int64) error {
	return &durability.ChangedError{
		File: s.file.Path(),
		What: fmt.Sprintf("the last frame's link at offset %d is not what was stored: the file was overwritten, or truncated and extended again", off),
	}
}

// put stores one frame behind the tail and moves the tail behind it. The
// caller holds mu and has reserved the space. The last frame of a batch tells readers in
// other processes of it at once.
//
// Before that it compares the link of the last frame with the one that was stored:
// a file that was truncated and extended again holds zeros there, while its
// size, and msync, say that all is well (kernel fact 5). All of it is one guarded access of the
// mapping: a guard costs as much as copying a small record.
//
// A record's frame names the durable LSN by its distance from the record's own LSN,
// which is 0, for none, where it does not fit into the field. durable is read under mu
// and a sync raises it only after all was synced, so a frame never names an LSN that is
// not durable yet. storing tells unlock how many bytes to zero if the store panics.
func (l *Log) put(f *frame.Frame, p []byte) error {
	f.LSN, f.Epoch = l.at.LSN, l.epoch
	watermark := l.namedWatermark
	if f.Kind == frame.KindRecord {
		f.LSN++
		durable := LSN(l.durable.Load())
		if f.Distance = frame.Distance(f.LSN, durable); f.Distance != 0 {
			watermark = durable
		}
	}
	h, link := l.buf.Encode(f, l.tail.seed, l.at.Link, l.at.Off)
	size := f.Size()
	at := durability.Behind{Link: l.linkOff, Want: uint32(l.at.Link), Off: l.at.Off}
	if f.Last {
		at.Word, at.Tell = segment.AppendedWord, uint64(f.LSN)
	}
	l.storing = size
	err := l.tail.mem.StoreBehind(&at, h, p)
	l.storing = 0
	if err != nil {
		if err = l.undoAppend(err, &at, size); err != nil {
			return err
		}
	}
	l.namedWatermark = watermark
	l.linkOff = l.at.Off + frame.LinkOffset
	l.at.Off += size
	l.at.LSN, l.at.Link, l.at.Epoch = f.LSN, link, f.Epoch
	return nil
}

// undoAppend handles a store that failed half way. Where the file is whole, either
// the filesystem had no space for a page (C8), or the payload, which lies in another
// mapping, could not be read: the frame's bytes are zeroed and the log goes on.
// Otherwise, or where the bytes cannot be zeroed, the log is poisoned.
//
// Where only the word for readers in other processes could not be stored, the frame is there, and
// undoAppend returns nil: they learn of it later (AppendedWord).
func (l *Log) undoAppend(cause error, at *durability.Behind, size int64) error {
	var fault *durability.FaultError
	switch own := errors.As(cause, &fault) && l.tail.mem.Faulted(cause); {
	case errors.Is(cause, durability.ErrOverwritten):
		return l.fail(linkChanged(l.tail, at.Link))
	case own && fault.Op == "load":
		return l.fail(cause)
	case own && fault.Offset < frame.DataOffset:
		return nil
	}
	if err := l.tail.file.Check(l.tail.expect); err != nil {
		return l.fail(fmt.Errorf("%w (%w)", err, cause))
	}
	if err := l.tail.clean(l.at.Off, size); err != nil {
		return l.fail(cause)
	}
	if fault != nil && !l.tail.mem.Faulted(cause) {
		return fmt.Errorf("wal: the payload cannot be read, nothing was appended: %w", cause)
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, cause)
}

// publish makes the frames that were put since the last publish readable: n
// records of so many bytes. The caller holds mu. The order is that of the readers:
// the frames are stored before the LSN that lets a reader look for them, and that
// before the wakeup, so that no reader misses the event and none sees half a frame.
func (l *Log) publish(n int, bytes int64) LSN {
	l.tail.index.Add(l.at)
	l.appended.Store(uint64(l.at.LSN))
	l.store.appends.broadcast()
	l.stats.records += uint64(n)
	l.stats.bytes += uint64(bytes)
	if l.at.Off > l.look {
		l.passed()
	}
	if invariants {
		l.assertTail()
	}
	return l.at.LSN
}

// afterAppend does what the sync policy asks for, without mu: with SyncEach it
// waits for a sync, which covers what others append in the same time. cuts is how
// many cuts at the back there had been when the record was appended.
func (l *Log) afterAppend(lsn LSN, cuts uint64) error {
	switch {
	case l.opts.Sync.each:
		return l.commit(context.Background(), lsn, cuts)
	case l.opts.Sync.every != 0 && !l.wanted.Load():
		l.wantSync()
	}
	return nil
}

// rotate goes on in the next prepared segment: it stamps it, and makes it the
// tail. Stamp and first frames become durable in the same sync. The caller
// holds mu and has seen that there is one.
//
// Nothing is synced here, so a crash may leave the stamp on the device and not the last
// frames before it. The stamp repeats the last frame's link, by which recovery finds
// that these are missing. Readers in other processes are told of the next segment only
// when it has its stamp.
//
// Where the stamp cannot be stored for want of space, the segment stays the first of ready, and
// the next append tries again.
func (l *Log) rotate() error {
	next := l.ready[0]
	if err := next.checkPrepared(); err != nil {
		return l.fail(err)
	}
	if err := l.stamp(next, l.at.Link, 0); err != nil {
		return err
	}
	next.taken = true
	l.ready = l.ready[1:]
	old := l.tail
	for i := range l.dirty {
		if l.dirty[i].seg == old {
			l.dirty[i].to = l.at.Off
		}
	}
	l.enter(next)
	segment.StoreNext(old.mem, next.ordinal)
	l.stats.rotations++
	l.spaceAvailable.Broadcast() // the preparer makes the next one
	l.syncBehind()
	return nil
}

// stamp stores the stamp and the control block of a segment that the log is
// about to enter. The control block comes first: a reader that sees the stamp may
// follow it into the segment at once. A store that fails for want of space is undone.
func (l *Log) stamp(s *writableSegment, previous frame.Link, flags uint32) error {
	st := frame.Stamp{
		UUID: l.uuid, Ordinal: s.ordinal, Salt: s.header.Salt,
		First: l.at.LSN + 1, Previous: previous, Epoch: l.epoch, Cut: l.cut,
		Front: l.FirstLSN(), Watermark: l.DurableLSN(), Flags: flags,
	}
	bytes, first := st.Encode()
	err := l.storeControl(s)
	if err == nil {
		err = s.mem.Store(frame.StampOffset, bytes[:], nil)
	}
	if err == nil {
		s.first, s.previous = st.First, previous
		s.start = frame.Place{Off: frame.DataOffset, Link: first, LSN: st.First - 1, Epoch: l.epoch}
		s.index.Add(s.start)
		return nil
	}
	if cerr := s.file.Check(s.expect); cerr != nil {
		return l.fail(fmt.Errorf("%w (%w)", cerr, err))
	}
	if zerr := s.clean(frame.StampOffset, frame.StampBytes); zerr != nil {
		return l.fail(err)
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, err)
}

// storeControl sets the control block of a segment.
func (l *Log) storeControl(s *writableSegment) error {
	return segment.StoreControl(s.mem, &frame.Control{
		Front: l.FirstLSN(), Appended: l.at.LSN, Durable: l.DurableLSN(), Epoch: uint64(l.epoch),
	})
}

// enter makes a stamped segment the tail, at its start. The caller holds mu, or is
// Open. The range that has to be synced begins at 0, so that the stamp becomes durable
// with the first records. The old tail stays in dirty, with its end, until the sync that
// covers it (acknowledge).
func (l *Log) enter(s *writableSegment) {
	l.tail, l.at = s, s.start
	l.look = 0
	if s.size() >= paceLeast {
		l.pace.want = 0 // until its rate is known
	}
	l.linkOff = frame.StampLinkOffset
	l.limit = s.size() - markReserve
	l.dirty = append(l.dirty, dirtyRange{seg: s, from: 0, begin: s.start})
	l.store.add(s)
}
