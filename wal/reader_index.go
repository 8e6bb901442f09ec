package wal

import "github.com/seawall-wal/seawall/wal/internal/segment"

// The indexes of segments that are full are bounded. The newest of them keep all
// their places, up to maxIndexMarks together, which take 6 MiB. Each older segment
// keeps at most thinIndexMarks, which take 6 KiB, so that Get reads up to 256 KiB of a
// segment of 64 MiB before it reaches its record. Tests set lower limits.
//
// A place costs 24 bytes and spares a Get the frames before it. Where places are missing,
// nothing is wrong: Get follows the chain from an earlier one, at the latest from the
// segment's start.
var (
	maxIndexMarks  = 1 << 18
	thinIndexMarks = 256
)

// settleIndex takes the index out of a segment that is not appended to any more. The
// caller holds mu for writing. Its live index is part of the writableSegment, which
// retire closes next.
func (st *stored) settleIndex() {
	if st.live != nil {
		// Where a cut made an older segment the tail again, its live index lacks the
		// frames before the cut: then baseIndex makes the whole when it is needed.
		base := st.base.Load()
		if base != nil || st.live.Begins() {
			st.base.Store(segment.Merged(maxIndexMarks, base, st.live))
		}
		st.live = nil
	}
}

// boundIndexes thins out the indexes of the oldest segments where there are more
// than maxIndexMarks places in all. The caller holds mu for writing. A Get may still use
// an index that is replaced here: one that was published as base is never changed.
func (t *segments) boundIndexes() {
	left := maxIndexMarks
	for i := len(t.list) - 1; i >= 0; i-- {
		st := t.list[i]
		base := st.base.Load()
		if base == nil || st.seg != nil {
			continue
		}
		n := base.Len()
		if left -= n; left < 0 && n > thinIndexMarks {
			st.base.Store(segment.Merged(thinIndexMarks, base))
		}
	}
}
