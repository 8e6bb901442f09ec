package wal

import (
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// Bounds of segments: mapped for reading, and waiting for a sync.
const (
	MaxMapped   = maxMapped
	MaxUnsynced = maxUnsynced
	MaxOpen     = logdir.MaxOpenFiles
)

// Unmap gives up all mappings of a log that are for reading only.
func Unmap(l *Log) {
	l.store.mu.Lock()
	for _, st := range l.store.list {
		l.store.unmap(st)
	}
	_ = l.store.unlock()
}

// Enrolled returns how many readers of a log may hold records where they lie.
func Enrolled(l *Log) int {
	p := &l.store.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.readers)
}

// HoldAppends takes the lock of the appenders, until release.
func HoldAppends(l *Log) (release func()) {
	l.mu.Lock()
	return l.mu.Unlock
}

// MaxCuts bounds the cuts that a log remembers.
const MaxCuts = maxCuts

// CutList is what a log remembers of its cuts at the back.
type CutList = cutList

// Add and Lowest are cutList's.
func (c *cutList) Add(epoch uint32, lsn LSN)              { c.add(epoch, lsn) }
func (c cutList) Lowest(since uint32) (lsn LSN, cut bool) { return c.lowest(since) }

// SetEpoch makes a log go on in a later epoch, as behind so many cuts.
func SetEpoch(l *Log, epoch uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = epoch
}

// SetIndexBounds makes other bounds of the places that are kept, until restore.
func SetIndexBounds(all, thin int) (restore func()) {
	a, b := maxIndexMarks, thinIndexMarks
	maxIndexMarks, thinIndexMarks = all, thin
	return func() { maxIndexMarks, thinIndexMarks = a, b }
}

// IndexMarks returns how many places are kept of each segment that is not mapped for
// writing.
func IndexMarks(l *Log) (marks []int) {
	l.store.mu.RLock()
	defer l.store.mu.RUnlock()
	for _, st := range l.store.list {
		if base := st.base.Load(); st.seg == nil && base != nil {
			marks = append(marks, base.Len())
		}
	}
	return marks
}

// PopulateBytes is how much of a segment is brought into memory at once.
const PopulateBytes = segment.PopulateBytes

// SetWarmAhead sets how far ahead of its appenders an opened log is brought in.
func SetWarmAhead(n int64) (was int64) {
	was, warmAhead = warmAhead, n
	return was
}

// DiskBytes opens a file as Open reads a segment's, and keeps what it reads between
// two looks at it, as far as Open would.
func DiskBytes(dir *durability.Dir, name string) (b recovery.Bytes, closeIt func() error, err error) {
	d := &diskFile{Entry: logdir.Entry{Name: name}, dir: dir, buf: diskBuffer{kept: new(int64)}}
	return d, d.close, d.open(new(logdir.OpenFiles))
}

// SegmentsWanted returns how many segments are to be prepared.
var SegmentsWanted = segmentsWanted
