package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// cutBehind cuts what lies behind the place of a checkpoint record, in the segment
// that becomes the log's last one. All before the place is durable, and the record
// has the next epoch and the cut that begins it (beginEpoch). remove removes the later
// segments, the newest first, and syncs the directory; zero zeroes what the segment
// holds behind the place, and syncs that. At every step a crash leaves the old tail or
// the new one:
//
//  1. Before this is called, Open has copied what is intact behind the tail into
//     another directory (save), and TruncateBack has told readers, before any byte
//     behind the cut changes.
//  2. A slot names the next epoch and where it begins, durably. From here on
//     frames and segments behind that place with a smaller epoch are remains of the
//     cut: whichever of the following steps a crash undoes, they are neither records
//     nor damage, and their watermarks do not count.
//  3. Later segments are removed, the newest first, and the directory synced.
//  4. Everything behind the tail becomes zero, in the page cache and on the
//     device, and is synced: nothing that lay there can be chained to what is
//     appended next.
//  5. The other slot repeats the first, so that the cut outlives the loss of
//     either, and no older checkpoint record is left.
func (l *Log) cutBehind(s *writableSegment, c checkpointRecord, remove, zero func() error) error {
	if !l.wrong.Has(seam.CutUnrecorded) {
		if err := l.writeSlot(s, c); err != nil {
			return err
		}
	}
	if err := remove(); err != nil {
		return err
	}
	if !l.wrong.Has(seam.TailNotZeroed) {
		if err := zero(); err != nil {
			return err
		}
	}
	return l.writeSlot(s, c)
}

// beginEpoch makes the log go on in the next epoch at a place of a segment. The caller
// holds mu, or is Open.
func (l *Log) beginEpoch(epoch uint32, ordinal uint64, at frame.Place) {
	l.epoch = epoch
	l.cut = frame.Cut{Ordinal: ordinal, Offset: uint64(at.Off), LSN: at.LSN}
}

// zeroing zeroes the blocks behind a cut that are not zero. What they hold Open reads
// from the device, which has the same as the page cache by then (reconcile); TruncateBack
// reads it from the mapping.
type zeroing struct {
	mem      *durability.Mapping
	from, to int64 // what a sync has to cover; to is 0 where nothing was zeroed
}

// blocks zeroes what is not zero of the mapping's bytes from off on; p is what they
// hold. It goes by blocks and leaves those that are zero alone, so that a cut dirties,
// and syncs, no more pages than were written: behind the cut most of a segment usually
// is zero. p may be a mapping, and is read in Guard.
func (z *zeroing) blocks(off int64, p []byte) error {
	for len(p) > 0 {
		n := min(frame.BlockBytes-off%frame.BlockBytes, int64(len(p)))
		used := false
		err := durability.Guard(func() error {
			used = recovery.LastNonzero(p[:n]) > 0
			return nil
		})
		if err == nil && used {
			err = z.mem.Zero(off, n)
		}
		if err != nil {
			return err
		}
		if used && z.to == 0 {
			z.from = off
		}
		if used {
			z.to = off + n
		}
		off, p = off+n, p[n:]
	}
	return nil
}

// sync makes what was zeroed durable.
func (z *zeroing) sync() error {
	if z.to == 0 {
		return nil
	}
	return z.mem.Sync(z.from, z.to-z.from)
}

// removeFile removes a segment's file. It is no error where another process has removed
// it already.
func (l *Log) removeFile(name string) error {
	err := l.dir.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// nextCut returns the epoch of the next cut.
func (l *Log) nextCut() (uint32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextEpoch(l.epoch)
}

// nextCut returns the epoch of a cut that Open makes. It lies above that of the lock
// file's checkpoint too: the segments with the highest epoch may have been lost.
func (op *opening) nextCut() (uint32, error) {
	return op.l.nextEpoch(max(op.res.Epoch, op.known.Newest.Epoch))
}

// nextEpoch returns the epoch behind another, or ErrExhausted. An epoch is never used
// twice: remains of an older cut would count as records.
func (l *Log) nextEpoch(epoch uint32) (uint32, error) {
	if l.wrong.Has(seam.EpochStays) {
		return epoch, nil
	}
	if epoch+1 == 0 {
		return 0, fmt.Errorf("%w: epochs; copy the records into a new log", ErrExhausted)
	}
	return epoch + 1, nil
}
