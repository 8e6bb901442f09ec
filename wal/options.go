package wal

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// SyncPolicy says when appended records become durable without being asked.
// The zero value is SyncManual. Make the others with SyncEach and SyncEvery.
type SyncPolicy struct {
	each  bool
	every time.Duration
}

var (
	// SyncManual leaves it to Commit, Sync and Checkpoint: Append promises to
	// survive the death of the process, and no more.
	SyncManual = SyncPolicy{}
	// SyncEach lets Append and AppendBatch return when the record is durable.
	// Concurrent appenders share syncs.
	SyncEach = SyncPolicy{each: true}
)

// SyncEvery makes what was appended durable in the background, at most d
// after its append plus the time of a sync. A d that is not positive is
// refused by Open.
func SyncEvery(d time.Duration) SyncPolicy { return SyncPolicy{every: d, each: false}.mark() }

// mark keeps a refused duration apart from SyncManual.
func (p SyncPolicy) mark() SyncPolicy {
	if p.every == 0 {
		p.every = -1
	}
	return p
}

// String returns the policy as the command spells it.
func (p SyncPolicy) String() string {
	switch {
	case p.each:
		return "each"
	case p.every != 0:
		return p.every.String()
	}
	return "manual"
}

// Align says where in a segment the first frame after a commit may begin.
type Align uint8

const (
	// AlignFrame packs frames to 8 bytes. Durability then rests on two
	// assumptions about the device: it writes a 512-byte sector whole or not
	// at all, and a write leaves the neighbouring bytes alone.
	AlignFrame Align = iota
	// AlignSector begins each commit in a fresh 512-byte sector, so that the
	// sectors of durable records are not stored to again. The kernel still
	// writes the page-cache folio around them.
	AlignSector
	// AlignFolio begins each commit on a page-cache folio that holds no
	// durable record, so that no write of the device touches one again and
	// neither assumption is needed. It costs at least a page a commit. The
	// folios are those that filling the segment made; a reader that has pages
	// of it read ahead after they were evicted can bring back larger ones.
	//
	// Where pages are larger than 4 KiB, the records that begin in the page in
	// which a segment's frames begin, up to 16 KiB or 64 KiB from its start, are
	// left out: they share it with the blocks that each append and each checkpoint
	// stores to, and both assumptions stay for them. Frames begin 20 KiB from a
	// segment's start on every machine, since a log moves between them; the rest
	// of that page cannot be left free, since a segment of 64 KiB may be one page,
	// and a record may take all that is behind its first 20 KiB.
	AlignFolio
)

// Limits and defaults of the options.
const (
	// DefaultSegmentBytes is the size of a segment, in bytes, if Options does
	// not say otherwise.
	DefaultSegmentBytes = 64 << 20
	// MinSegmentBytes is the smallest size: the blocks before the frames and
	// space for some records.
	MinSegmentBytes = frame.MinSegmentBytes
	// MaxSegmentBytes is the largest: frames' offsets have 32 bits.
	MaxSegmentBytes = frame.MaxSegmentBytes
	// DefaultSegmentsAhead is how many segments are kept prepared at most.
	DefaultSegmentsAhead = 2
	// MaxSegmentsAhead bounds the disk that an idle log takes.
	MaxSegmentsAhead = 16
	// defaultFillBytes is the size of the zero-filling writes where nothing is
	// known of the load: 64 KiB make folios that fault seldom and cost a small
	// sync no measurable time (DESIGN's kernel fact 1: 0.29 ms against 0.30).
	defaultFillBytes = 64 << 10
	// smallFillBytes is the same for logs that sync each record.
	smallFillBytes = 4 << 10
	// maxFillBytes is the largest folio that the page cache makes of one write.
	maxFillBytes = 2 << 20
)

// Options say how a log is opened. The zero value gives safe and fast
// defaults. Options are read by Open only.
type Options struct {
	// Sync says when records become durable without being asked.
	Sync SyncPolicy
	// SegmentBytes is the size of new segments, in bytes: 64 KiB to 4 GiB, a
	// multiple of 4096, 64 MiB if zero. A record must fit into one segment.
	SegmentBytes int64
	// SegmentsAhead is how many segments are kept prepared in front of the
	// appender: 1 to 16, 2 if zero. The directory takes up to that many segments
	// more than its records need, and one that is to be used again. Segments of
	// 16 MiB and more are prepared when the rate of appends says that they will be
	// wanted within 10 s, and one for the last quarter of a segment. An appender
	// that outruns preparation waits for it, as it does once 16 segments wait for
	// their names or 64 for a sync; records that are not synced by the application are
	// synced in the background before that.
	SegmentsAhead int
	// Align says where a commit begins.
	Align Align
	// FillBytes is the size of the writes with which a segment is filled with
	// zeros, and so of its page-cache folios: a multiple of 4096 up to 2 MiB.
	// A small sync writes a folio at least; larger folios fault less. Zero lets
	// the log choose, from what the last segment saw of bytes per sync.
	FillBytes int
	// MustExist refuses, with ErrMissing, a directory that is not there or holds
	// no log, instead of making one.
	MustExist bool
	// FileMode and DirMode are the permissions of new files and directories,
	// 0644 and 0755 if zero.
	FileMode, DirMode fs.FileMode
	// Logger is told what a person should know: what Open trimmed, why
	// preparation failed, where power loss cannot be survived. Nil is silent.
	Logger *slog.Logger
	// Tracer observes every store, sync and directory operation. Nil in
	// production.
	Tracer durability.Tracer
	// OnDurable, if set, is called whenever the durable LSN has advanced, with
	// the new one, in order and never twice at once. It runs where the sync
	// ran, before those who wait for it return: it must be quick, and must not
	// call the log, except for its FirstLSN, LastLSN, DurableLSN and Stats.
	OnDurable func(LSN)
}

// withDefaults returns the options with defaults filled in, or ErrOptions. Sizes must be
// multiples of this machine's page, which may be larger than 4 KiB: a segment is mapped
// whole, and a folio consists of whole pages.
func (o Options) withDefaults() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentsAhead == 0 {
		o.SegmentsAhead = DefaultSegmentsAhead
	}
	if o.FileMode == 0 {
		o.FileMode = 0o644
	}
	if o.DirMode == 0 {
		o.DirMode = 0o755
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...))
	}
	switch page := os.Getpagesize(); {
	case !frame.ValidSegmentBytes(o.SegmentBytes) || o.SegmentBytes%int64(page) != 0:
		return o, bad("SegmentBytes is %d: it must be %d to %d and a multiple of the %d-byte page",
			o.SegmentBytes, int64(MinSegmentBytes), int64(MaxSegmentBytes), page)
	case int64(int(o.SegmentBytes)) != o.SegmentBytes:
		return o, bad("SegmentBytes is %d: it does not fit into this machine's address space", o.SegmentBytes)
	case o.SegmentsAhead < 1 || o.SegmentsAhead > MaxSegmentsAhead:
		return o, bad("SegmentsAhead is %d: it must be 1 to %d", o.SegmentsAhead, MaxSegmentsAhead)
	case o.Sync.every < 0:
		return o, bad("SyncEvery needs a positive duration")
	case o.Align > AlignFolio:
		return o, bad("Align is %d", o.Align)
	case o.FillBytes < 0 || o.FillBytes > maxFillBytes || o.FillBytes%page != 0:
		return o, bad("FillBytes is %d: it must be a multiple of the %d-byte page, up to %d", o.FillBytes, page, maxFillBytes)
	}
	return o, nil
}
