package wal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// pageSize is the system's, in bytes.
var pageSize = os.Getpagesize()

// preparation is what the preparer, the namer and the appenders that wait for a
// segment tell each other. Log.mu guards it.
//
// An appender never makes a segment itself: allocating and filling one takes as long as
// many thousand appends. The preparer works ahead, by SegmentsAhead segments, and is
// woken by Log.spaceAvailable, as are all others here. It stops at two bounds: so many
// segments that wait for their names, and so many that no sync has covered
// (aheadLimitReached).
//
// An appender that finds no segment waits. It is told of a failure only by an attempt
// that began after it asked, which asked and tried count: the last failure may be long
// past, and the disk have space again. Names that a directory refuses are counted in the
// same way, by refused.
//
// This file is the preparer: it decides when to make a segment (mayPrepare), with which folios
// (fillBytes), and makes it (makeSegment, fillSegment). segment_recycle.go gives it a file that
// is used again, segment_publish.go makes durable what it has made, rotate (append.go) goes on
// in it.
type preparation struct {
	next    uint64           // the ordinal of the next segment
	wanted  int              // appenders that wait for one
	asked   uint64           // counts requests of waiting appenders
	tried   uint64           // the request that the last attempt had seen when it began
	err     error            // of the last attempt; nil after one that succeeded
	filling bool             // the preparer makes a segment, without mu
	unnamed int              // segments that have their temporary name still
	stuck   *writableSegment // one that holds records, and whose directory has no space for its name
	refused uint64           // counts the attempts to name one that ended so
	full    error            // why the last of them did
}

// awaitSegment waits until so many bytes fit behind the tail or a segment is
// prepared, and returns why neither can be. Of many appenders that wait, one enters
// the segment, and the others find space in it; a reset comes before them. The
// caller holds mu, which the wait releases.
func (l *Log) awaitSegment(size int64, reset bool) error {
	p := &l.prepare
	p.asked++
	mine, refusal := p.asked, p.nextRefusal()
	p.wanted++
	l.stats.waits++
	l.spaceAvailable.Broadcast()
	defer func() { p.wanted-- }()
	for !l.fits(size) && (!l.canRotate() || l.resets && !reset) {
		if err := l.checkWritable(); err != nil {
			return err
		}
		if err := l.refusal(refusal); err != nil {
			return err
		}
		// Only an attempt that began after the request counts: space may have
		// been freed since the one before.
		if p.tried >= mine && p.err != nil && !p.filling {
			return fmt.Errorf("wal: cannot prepare segment %s: %w", logdir.FinalName(p.next), p.err)
		}
		l.spaceAvailable.Wait()
	}
	return nil
}

// fits reports whether so many bytes fit behind the tail. The caller holds mu.
func (l *Log) fits(size int64) bool { return size <= l.limit-l.at.Off }

// nextRefusal returns the number of the first refusal of a name by an attempt
// that has not begun: while none is under way the next one, otherwise the one
// behind it.
func (p *preparation) nextRefusal() uint64 {
	if p.stuck != nil {
		return p.refused + 1
	}
	return p.refused + 2
}

// refusal returns why no segment is prepared where so many wait for their names
// that none may be: the directory has no space for the first one's, as the refusal
// with that number says. It asks for an attempt if there was none yet.
func (l *Log) refusal(number uint64) error {
	p := &l.prepare
	if p.stuck == nil || !l.aheadLimitReached() {
		return nil
	}
	if p.refused < number {
		p.stuck.naming.ask()
		return nil
	}
	return fmt.Errorf("wal: cannot prepare segment %s, %d before it are not durable for want of space for a name: %w",
		logdir.FinalName(p.next), len(l.dirty), p.full)
}

// canRotate reports whether there is a segment that the log may go on in. It may
// be one that still has its temporary name: surviving the process's death (C1) needs
// no more. With SyncEach that gains nothing, since each append waits for the name
// anyway; and an append that then found no space for the name would have to return an
// error with its record in the log. The caller holds mu.
func (l *Log) canRotate() bool {
	if len(l.ready) == 0 {
		return false
	}
	if !l.opts.Sync.each {
		return true
	}
	select {
	case <-l.ready[0].named:
		return l.ready[0].nameErr == nil
	default:
		return false
	}
}

// runPreparer keeps SegmentsAhead segments prepared. After a failure it tries
// again when an appender has need of a segment. It ends when the log does.
//
// mu is released while a segment is made, which waits for the disk. By the time it is locked
// again, the namer may have discarded a segment before this one (stale: its ordinal would
// leave a gap), or a cut may have begun, which ends the filling.
func (l *Log) runPreparer(ctx context.Context) {
	defer l.work.Done()
	defer close(l.naming)
	p := &l.prepare
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.mayPrepare() {
			if l.checkWritable() != nil {
				return
			}
			l.spaceAvailable.Wait()
		}
		ordinal, fill, tried := p.next, l.fillBytes(), p.tried
		p.tried, p.filling = p.asked, true
		l.mu.Unlock()
		s, err := l.makeSegment(ctx, ordinal, fill)
		l.mu.Lock()
		stale := p.next != ordinal // one before it was discarded during the fill
		if stale && err == nil {
			l.dropStale(s)
		}
		p.filling = false
		if stale {
			l.spaceAvailable.Broadcast()
			continue
		}
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			p.tried = tried // a cut ended it: that does not count as an attempt
			l.spaceAvailable.Broadcast()
			continue
		}
		p.err = err
		if err != nil {
			if ctx.Err() == nil {
				l.opts.Logger.Warn("cannot prepare a segment", "segment", logdir.FinalName(ordinal), "err", err)
			}
			l.spaceAvailable.Broadcast()
			continue
		}
		p.next++
		l.ready = append(l.ready, s)
		p.unnamed++
		l.stats.prepared++
		l.spaceAvailable.Broadcast()
		l.naming <- s // never blocks: its buffer holds all that may be unnamed
	}
}

// dropStale removes a segment that was filled for nothing. The caller holds mu, which
// is released during the removal: only the preparer, which calls this, makes files
// under temporary names.
func (l *Log) dropStale(s *writableSegment) {
	l.mu.Unlock()
	err := errors.Join(s.close(), l.dir.Remove(logdir.TempName(s.ordinal)))
	l.mu.Lock()
	l.prepare.err = errors.Join(l.prepare.err, err)
}

// aheadLimitReached reports whether so many segments wait for their names, or for a sync,
// that no further one may be prepared. The caller holds mu.
func (l *Log) aheadLimitReached() bool {
	return l.prepare.unnamed >= MaxSegmentsAhead || len(l.dirty) >= maxUnsynced
}

// mayPrepare reports whether there is a segment to prepare. After a failure it is only
// tried again for an appender that waits and asked after the last attempt began, so that
// a full disk is not asked without end. A log without an append prepares nothing: to
// open it for a checkpoint, say, costs no file. The others prepare what they will want
// soon (pace). The caller holds mu.
func (l *Log) mayPrepare() bool {
	p := &l.prepare
	if l.checkWritable() != nil || l.cutting.Load() || len(l.ready) >= l.opts.SegmentsAhead || l.aheadLimitReached() {
		return false
	}
	waited := p.asked > p.tried && p.wanted > 0
	return waited || p.err == nil && l.stats.records > 0 && len(l.ready) < l.pace.want
}

// fillBytes returns the size of the writes that fill the next segment: small
// folios for small syncs, large ones for few (kernel fact 1). The caller holds
// mu.
func (l *Log) fillBytes() int {
	if l.opts.FillBytes != 0 {
		return l.opts.FillBytes
	}
	small := max(smallFillBytes, pageSize)
	if l.opts.Align == AlignFolio || l.opts.Sync.each {
		return small
	}
	perSync := l.stats.bytesPerSync()
	switch {
	case perSync == 0:
		return defaultFillBytes
	case perSync < defaultFillBytes:
		return small
	case perSync < 8*maxFillBytes:
		return defaultFillBytes
	}
	return maxFillBytes
}

// makeSegment makes a segment under its temporary name: allocated, filled with
// zeros, with its header, and mapped. It is not durable yet. Where that fails,
// nothing is left of it. create calls makeSegment too, for the first segment of a log. A
// crash during it leaves a file under a temporary name and without a stamp, which no
// recovery takes for a part of the log.
func (l *Log) makeSegment(ctx context.Context, ordinal uint64, fill int) (*writableSegment, error) {
	if ordinal > logdir.MaxOrdinal {
		return nil, fmt.Errorf("%w: segments; copy the records into a new log", ErrExhausted)
	}
	h := frame.Header{
		UUID: l.uuid, Ordinal: ordinal, SegmentBytes: l.opts.SegmentBytes,
		Salt: l.newSalt(), Epoch: l.epochNow(), FillBytes: uint32(fill),
	}
	name := logdir.TempName(ordinal)
	f, err := l.recycle(ctx, ordinal, fill)
	if f == nil && err == nil {
		f, err = l.dir.Create(name, l.opts.FileMode)
	}
	if errors.Is(err, fs.ErrExist) {
		// What an earlier attempt could not remove.
		if err = l.dir.Remove(name); err == nil {
			f, err = l.dir.Create(name, l.opts.FileMode)
		}
	}
	if err != nil {
		return nil, err
	}
	s, err := l.fillSegment(ctx, f, h)
	if err != nil {
		return nil, errors.Join(err, f.Close(), l.dir.Remove(name))
	}
	s.named, s.naming = make(chan struct{}), newNaming()
	return s, nil
}

// fillSegment gives a new file, or one that was wiped, its blocks and header, and
// maps it. The blocks are real, and filled with zeros: a store into the mapping then
// neither allocates, which could fail, nor changes metadata, which msync would have to
// write. The header is written last, so that what has one is whole in the page cache;
// that it is on the device too, the namer sees to.
func (l *Log) fillSegment(ctx context.Context, f *durability.File, h frame.Header) (*writableSegment, error) {
	err := f.Allocate(h.SegmentBytes, durability.AllocateOptions{
		FillBytes: int(h.FillBytes), Head: frame.DataOffset,
		Cancel: l.cancelled(ctx),
	})
	if err != nil {
		return nil, err
	}
	b := h.Encode()
	if _, err := f.WriteAt(b[:], frame.HeaderOffset); err != nil {
		return nil, err
	}
	return mapSegment(l.dir, f, h, l.opts.Align)
}

// epochNow returns the log's epoch. It goes into the header of a prepared segment, which
// has no stamp yet: recovery tells by it whether a cut was to remove the segment.
func (l *Log) epochNow() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// newSalt returns a salt. It is never zero, which stands for one that is not known. A
// new one for each segment, recycled ones included, keeps frames that lay in the file
// before from being valid in it.
func (l *Log) newSalt() uint64 {
	var b [8]byte
	for {
		l.random(b[:])
		if v := binary.LittleEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// random fills b with random bytes. In the crash lab they come from its tracer, so
// that a run can be replayed byte by byte.
func (l *Log) random(b []byte) {
	if r, ok := l.opts.Tracer.(seam.Random); ok && r.LabRandom(b) {
		return
	}
	_, _ = rand.Read(b) // never fails: crypto/rand
}
