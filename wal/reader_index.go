package wal

import "github.com/seawall-wal/seawall/wal/internal/segment"

// The indexes of segments that are full are bounded: so many places are kept of all
// of them as they were noted, 6 MiB in memory. Of older segments than those no more
// than so many are kept each, 6 KiB, so that Get reads up to 256 KiB of a segment of
// 64 MiB from where it starts. Tests make them smaller.
var (
	maxIndexMarks  = 1 << 18
	thinIndexMarks = 256
)

// settleIndex takes the index out of a segment that nobody appends to any more. The
// caller holds mu for writing.
func (st *stored) settleIndex() {
	if st.live != nil {
		// Of what was cut back into nothing is known before the cut: then baseIndex
		// makes the whole when it is needed.
		base := st.base.Load()
		if base != nil || st.live.Begins() {
			st.base.Store(segment.Merged(maxIndexMarks, base, st.live))
		}
		st.live = nil
	}
}

// boundIndexes thins the indexes of the oldest segments out where there are too
// many places in all. The caller holds mu for writing.
func (t *segments) boundIndexes() {
	room := maxIndexMarks
	for i := len(t.list) - 1; i >= 0; i-- {
		st := t.list[i]
		base := st.base.Load()
		if base == nil || st.seg != nil {
			continue
		}
		n := base.Len()
		if room -= n; room < 0 && n > thinIndexMarks {
			st.base.Store(segment.Merged(thinIndexMarks, base))
		}
	}
}
