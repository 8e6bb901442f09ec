package wal

import (
	"sync/atomic"
	"time"
)

// Stats are a log's counters since it was opened.
type Stats struct {
	Records     uint64        // appended
	Bytes       uint64        // of their payloads
	Syncs       uint64        // msync calls for records
	Checkpoints uint64        // that wrote a checkpoint record
	Marks       uint64        // frames without a record
	Rotations   uint64        // into a prepared segment
	Prepared    uint64        // segments
	Waits       uint64        // of appenders for a segment
	Truncations uint64        // at either end, and resets
	Recycled    uint64        // truncated segments that became prepared ones
	SyncTime    time.Duration // spent in syncs that were acknowledged
	SyncMax     time.Duration // the longest of them
	// AtRisk is how many bytes of segments were appended and are not durable;
	// AtRiskRecords is how many records that is.
	AtRisk        int64
	AtRiskRecords uint64
	Segments      int // files that hold records
	Ready         int // files prepared
}

// counters are what Stats is made of. Log.mu guards the plain ones, which appenders
// count under it anyway; syncs run without it, and count the atomic ones. Log.Stats puts
// the two kinds together. Nothing of it is kept on the disk.
type counters struct {
	records, bytes, marks, rotations, prepared, waits, recycled uint64

	syncs, checkpoints, acks, truncations atomic.Uint64
	syncNanos, syncMax                    atomic.Int64
}

// synced counts an acknowledged sync. Stats may be called at any time, so the maximum is
// raised atomically. d is the time from the beginning of a sync to its acknowledgement. A
// sync that failed is not counted.
func (c *counters) synced(d time.Duration) {
	c.acks.Add(1)
	c.syncNanos.Add(int64(d))
	for {
		m := c.syncMax.Load()
		if int64(d) <= m || c.syncMax.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// bytesPerSync returns how many bytes an acknowledged sync covered on average,
// or 0 where nothing is known. The preparer chooses by it the size of a segment's
// folios. The caller holds Log.mu. Before the first sync it is all that was appended, as
// if one were to cover that.
func (c *counters) bytesPerSync() int64 {
	n := c.acks.Load()
	if n == 0 {
		return int64(c.bytes)
	}
	return int64(c.bytes / n)
}

// Stats returns the log's counters. It takes the appenders' lock for a moment. The
// counters of syncs are read after that, and may be newer than the others. Both LSNs that
// AtRiskRecords is made of change under that lock, so that it never is the difference of
// two moments.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	c := &l.stats
	s := Stats{
		Records: c.records, Bytes: c.bytes, Marks: c.marks, Rotations: c.rotations,
		Prepared: c.prepared, Waits: c.waits, Recycled: c.recycled, Ready: len(l.ready),
	}
	for _, r := range l.dirty {
		if r.seg == l.tail {
			r.to = l.at.Off
		}
		s.AtRisk += max(0, r.to-r.from)
	}
	s.AtRiskRecords = uint64(l.LastLSN() - l.DurableLSN())
	l.mu.Unlock()
	s.Truncations = c.truncations.Load()
	s.Syncs, s.Checkpoints = c.syncs.Load(), c.checkpoints.Load()
	s.SyncTime, s.SyncMax = time.Duration(c.syncNanos.Load()), time.Duration(c.syncMax.Load())
	s.Segments = l.store.count()
	return s
}
