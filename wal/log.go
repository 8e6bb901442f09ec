package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// Log is an open write-ahead log. All of its methods are safe for concurrent
// use by many goroutines.
//
// Lock order: syncMu before mu before store.mu. Neither the preparer nor the namer holds one
// of them while it fills, syncs or renames a segment; a sync of records holds syncMu. The
// group's own lock and that of pins are held for moments, and none of these is taken under
// them.
//
// These goroutines work in the background, from Open until Close:
//
//   - the preparer makes the segments that the log goes on in (segment_prepare.go);
//   - the namer syncs each of them and gives it its final name (segment_publish.go);
//   - the warmer reads ahead of the first appends (segment_prefault.go), and ends when
//     all that Open found is in memory;
//   - with SyncEvery, one syncs some time after an append (sync_background.go);
//   - where nothing else syncs, one keeps the number of segments that are not durable
//     bounded (runBehind).
//
// Close ends all of them before its own checkpoint.
type Log struct {
	opts     Options
	wrong    seam.Wrong // 0 but in the crash lab
	dirPath  string
	dir      *durability.Dir
	owner    owner
	uuid     frame.UUID
	recovery Report

	// syncMu is held through a sync, its result, the check for changed files,
	// the poison and the acknowledgement: at most one sync runs, so none takes
	// another's error (C6).
	syncMu sync.Mutex

	// mu guards the tail and all fields up to the blank line. It is held while a
	// record is copied, never during a sync.
	mu             sync.Mutex
	spaceAvailable *sync.Cond // on mu: broadcast when what an appender, the preparer or a cut waits for may have changed
	tail           *writableSegment
	at             frame.Place // where the next frame goes
	linkOff        int64       // where at.link lies in the tail's mapping
	limit          int64       // where frames must end
	epoch          uint32
	cut            frame.Cut
	namedWatermark LSN // the highest watermark that an appended frame names
	dirty          []dirtyRange
	ready          []*writableSegment // prepared, in order
	prepare        preparation
	spare          *spare // a segment to be recycled, or nil
	behind         bool   // runBehind is at work
	resets         bool   // a Reset wants a segment: no appender may take one
	pace           pace
	look           int64 // offset of the tail behind which an append calls passed
	buf            frame.Buffer
	storing        int64 // bytes of the frame that is being stored; not 0 behind a store only where that panicked

	slots   checkpointSlots // syncMu guards it
	warming warming         // the warmer's own, but for wake

	closing  atomic.Bool   // set under mu
	cutting  atomic.Bool   // a cut is in progress: no append, no preparation; set under mu
	cutCount atomic.Uint64 // cuts at the back that have ended; set under mu
	appended atomic.Uint64 // the last LSN that readers may read
	durable  atomic.Uint64 // the last LSN that power loss cannot take
	told     atomic.Uint64 // the last LSN that OnDurable was told of; unused without OnDurable
	front    atomic.Uint64
	wanted   atomic.Bool // SyncEvery only: the interval syncer was asked, and has not looked since
	poison   atomic.Pointer[poisonError]

	commits group
	store   segments // what Get and Reader read
	stats   counters

	stop    context.CancelFunc // ends the background work
	stopped context.Context
	work    sync.WaitGroup
	kick    chan struct{}         // wakes the interval syncer
	naming  chan *writableSegment // filled segments that have their temporary names still
}

// dirtyRange is the part of a segment that no sync has covered yet.
type dirtyRange struct {
	seg      *writableSegment
	from, to int64       // to is not used for the tail
	begin    frame.Place // from which on it is read back; at or before from
}

// Recovery returns what Open found and did.
func (l *Log) Recovery() Report { return l.recovery }

// FirstLSN returns the log's first LSN. Where LastLSN is smaller, the log is
// empty.
func (l *Log) FirstLSN() LSN { return LSN(l.front.Load()) }

// LastLSN returns the LSN of the last appended record.
func (l *Log) LastLSN() LSN { return LSN(l.appended.Load()) }

// DurableLSN returns the last LSN that survives power loss.
func (l *Log) DurableLSN() LSN { return LSN(l.durable.Load()) }

// setDurable sets the durable LSN where no sync has raised it: at Open, and after a
// cut. OnDurable is not called.
func (l *Log) setDurable(lsn LSN) {
	l.told.Store(uint64(lsn))
	l.durable.Store(uint64(lsn))
}

// MaxRecordBytes returns the size of the largest record that Append takes, in
// bytes. A batch may be as large, less 32 bytes a record.
func (l *Log) MaxRecordBytes() int64 { return maxRecord(l.opts.SegmentBytes) }

// maxRecord returns the largest payload that fits into an empty segment.
func maxRecord(segmentBytes int64) int64 {
	return segmentBytes - frame.DataOffset - markReserve - frame.HeaderBytes
}

// checkWritable returns why the log takes no more records, and nothing can be
// acknowledged any more, or nil. Poison comes first: on a log that was closed after a
// failure, the caller is to learn of the failure.
func (l *Log) checkWritable() error {
	if p := l.poison.Load(); p != nil {
		return p
	}
	if l.closing.Load() {
		return ErrClosed
	}
	return nil
}

// fail poisons the log: cause is the first failure after which nothing may be
// acknowledged. It returns the error that every later call gets, which names the
// first cause also where another goroutine failed earlier. All that wait are woken,
// in a goroutine of its own, since the caller may hold mu. Nothing ever takes the poison
// away: only a new Open, which reads from the device, knows again what is durable.
func (l *Log) fail(cause error) error {
	p := &poisonError{cause}
	if l.wrong.Has(seam.PoisonForgotten) {
		return p
	}
	if l.poison.CompareAndSwap(nil, p) {
		l.opts.Logger.Error("log is poisoned: nothing more is acknowledged", "dir", l.dirPath, "cause", cause)
	}
	go l.wake()
	return l.poison.Load()
}

// wake wakes all that wait for space, for further records, or for the release of a
// record that a Reader holds. Each of them then looks at poison or closing, which the
// caller has set before.
func (l *Log) wake() {
	l.store.notifyAll()
	p := &l.store.pins
	p.mu.Lock()
	p.wake()
	p.mu.Unlock()
	l.mu.Lock()
	l.spaceAvailable.Broadcast()
	l.mu.Unlock()
}

// Close makes everything that was appended durable, by a checkpoint, and ends
// the log. Appends that have begun are finished first, later ones return
// ErrClosed; a Commit that waits returns nil if the checkpoint covers it. A
// poisoned log is closed without a sync, and says so; so is one whose directory
// has no space for the name of the segment at its end, with ErrNoSpace: Open finds
// the records once there is space. The second Close returns ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closing.CompareAndSwap(false, true) {
		l.mu.Unlock()
		return ErrClosed
	}
	l.mu.Unlock()
	l.wake()
	l.stop()
	l.work.Wait()
	released := false
	defer func() {
		if !released { // OnDurable panicked
			l.commits.end()
			_ = l.release()
		}
	}()
	err := l.checkpoint(true)
	var full *notDurableError
	if errors.Is(err, ErrPoisoned) || errors.As(err, &full) {
		err = fmt.Errorf("wal: closed without a sync, durable up to LSN %d: %w", l.DurableLSN(), err)
	}
	released = true
	l.commits.end()
	return errors.Join(err, l.release())
}

// release unmaps and closes everything. It serves a failed Open too, so any part of
// the log may be missing. The lock file is closed behind the segments: the next
// writer finds none of them mapped for writing. Segments are in l.dirty or are the tail
// while they are mapped for writing, or prepared in l.ready; those for reading are the
// store's.
func (l *Log) release() error {
	var errs []error
	errs = append(errs, l.store.close())
	if l.dir != nil && l.owner.lock != nil {
		errs = append(errs, l.dropSpare())
	}
	l.mu.Lock()
	open := append([]*writableSegment{}, l.ready...)
	for _, d := range l.dirty {
		if d.seg != l.tail {
			open = append(open, d.seg)
		}
	}
	if l.tail != nil {
		open = append(open, l.tail)
	}
	l.ready, l.dirty, l.tail = nil, nil, nil
	l.mu.Unlock()
	for _, s := range open {
		errs = append(errs, s.close())
	}
	if l.owner.lock != nil {
		errs = append(errs, l.owner.lock.Close())
	}
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	return errors.Join(errs...)
}

// isEOF reports whether a read ended with the file.
func isEOF(err error) bool { return errors.Is(err, io.EOF) }
