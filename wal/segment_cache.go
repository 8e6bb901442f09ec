package wal

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// maxMapped bounds the segments that stay mapped for reading, of a Log beside the
// ones that are mapped for writing: address space, mappings and descriptors.
const maxMapped = 64

// segmentCache keeps segments mapped for reading, those of a Log under segments.mu and
// those of a LogReader under its mu. It neither opens nor unmaps: a Log does that
// without the lock, which appenders need. Who takes a segment out releases it. A mapping
// that is taken out while a reader has pinned it stays until the last unpin (mappingRef),
// so the bound may be exceeded for that time.
type segmentCache struct {
	byOrdinal map[uint64]*mappedSegment
	clock     uint64
}

// add keeps a segment. The caller has made room for it.
func (c *segmentCache) add(s *mappedSegment) {
	if c.byOrdinal == nil {
		c.byOrdinal = make(map[uint64]*mappedSegment)
	}
	c.byOrdinal[s.Header.Ordinal] = s
	c.use(s)
}

// use makes a segment the one that was used last.
func (c *segmentCache) use(s *mappedSegment) {
	c.clock++
	s.used = c.clock
}

// remove takes a segment out.
func (c *segmentCache) remove(s *mappedSegment) { delete(c.byOrdinal, s.Header.Ordinal) }

// surplus returns the segment that has to go before another one is added, the one
// that was used the longest ago, of the pinned ones too or of the others only. It
// returns nil where there is room or none may go.
func (c *segmentCache) surplus(pinned bool) *mappedSegment {
	if len(c.byOrdinal) < maxMapped {
		return nil
	}
	var oldest *mappedSegment
	for _, s := range c.byOrdinal {
		if (pinned || s.unpinned()) && (oldest == nil || s.used < oldest.used) {
			oldest = s
		}
	}
	return oldest
}

// mappedSegment is a segment that is mapped for reading.
type mappedSegment struct {
	segmentHead
	mappingRef
	used uint64 // the cache's clock at its last use

	// Places that the readers of a LogReader passed: a Log has an index that
	// outlives the mapping.
	mu    sync.Mutex
	marks segment.Index
	epoch uint64 // in which they were passed
}

// mapHead maps a segment of which the head was read, so many bytes of it. It closes
// the file where it cannot.
func mapHead(f *durability.File, h segmentHead, size int64) (*mappedSegment, error) {
	mem, err := f.Map(size, false)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &mappedSegment{segmentHead: h, mappingRef: mappingRef{mem: mem, file: f}}, nil
}

// view returns the segment as a cursor sees it.
func (s *mappedSegment) view() view {
	return view{
		name: s.name, ref: &s.mappingRef, mem: s.mem, seed: s.Header.Seed(), size: s.mem.Len(),
		start: s.Start(), previous: s.Stamp.Previous,
	}
}

// segmentHead is what the first blocks of a segment's file say.
type segmentHead struct {
	name string
	frame.Head
}

// is reports whether both are of the same life of a segment.
func (h *segmentHead) is(o *segmentHead) bool {
	return h.Header.Ordinal == o.Header.Ordinal && h.Header.Salt == o.Header.Salt
}

// mappingRef counts the readers that use a mapping and its file. The owner releases
// it once; the mapping is unmapped then or, where readers have pinned it, at the last
// unpin. So neither the owner nor a reader ever waits for the other, although a reader
// may wait for the disk while it holds a pin.
type mappingRef struct {
	state atomic.Int64 // pins, and released
	mem   *durability.Mapping
	file  *durability.File
}

// released is what release adds to the state: more than there can be pins.
const released = 1 << 62

// pin keeps the mapping until unpin. It reports false where it was released.
func (s *mappingRef) pin() bool {
	for {
		n := s.state.Load()
		if n >= released {
			return false
		}
		if s.state.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// pinAgain is pin where the mapping cannot have been released: the caller holds a pin,
// or found it in a cache, and holds the lock of that.
func (s *mappingRef) pinAgain() { s.state.Add(1) }

// unpin ends what pin began.
func (s *mappingRef) unpin() {
	if s.state.Add(-1) == released {
		_ = s.end() // nothing that is stored is lost with a mapping
	}
}

// unpinned reports whether nobody holds a pin, of a mapping that was not released.
func (s *mappingRef) unpinned() bool { return s.state.Load() == 0 }

// wasReleased reports whether release was called.
func (s *mappingRef) wasReleased() bool { return s.state.Load() >= released }

// release unmaps and closes, at once where no reader holds a pin, and otherwise at the
// last unpin. No new pin is given after it.
func (s *mappingRef) release() error {
	if s.state.Add(released) == released {
		return s.end()
	}
	return nil
}

// end unmaps and closes.
func (s *mappingRef) end() error { return errors.Join(s.mem.Unmap(), s.file.Close()) }
