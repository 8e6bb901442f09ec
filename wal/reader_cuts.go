package wal

import (
	"slices"
	"sort"
)

// maxCuts bounds the cuts that are remembered.
const maxCuts = 1024

// cutList remembers cuts at the back, for readers whose last record a cut may have
// removed. Both the epochs and the LSNs ascend.
//
// Log.store has one (segments.cuts, under segments.mu). TruncateBack and Reset add to it,
// and a Reader that finds another epoch than its own asks it (catchUp). A LogReader has
// no such list: it looks at the record's link instead (checkPlace).
type cutList []struct {
	epoch uint32
	lsn   LSN
}

// add notes a cut that began that epoch and made the record the last one.
// Earlier cuts with the same or a higher last record are dropped: every reader that
// one of them affects is affected by this one too. Where there are too many, the two
// oldest are merged into one with the lower LSN: a reader that read nothing during all
// the cuts since may then be told that its record was cut away though only later ones
// were. That is the safe side.
func (c *cutList) add(epoch uint32, lsn LSN) {
	kept := *c
	for n := len(kept); n > 0 && kept[n-1].lsn >= lsn; n-- {
		kept = kept[:n-1]
	}
	if len(kept) == maxCuts {
		kept[1].lsn = kept[0].lsn
		kept = slices.Delete(kept, 0, 1)
	}
	*c = append(kept, struct {
		epoch uint32
		lsn   LSN
	}{epoch, lsn})
}

// lowest returns the lowest LSN that a cut later than the epoch since made the last
// one, and whether there was such a cut. It is that of the first such cut: since the LSNs
// ascend, those behind it in the list left more.
func (c cutList) lowest(since uint32) (LSN, bool) {
	i := sort.Search(len(c), func(i int) bool { return c[i].epoch > since })
	if i == len(c) {
		return 0, false
	}
	return c[i].lsn, true
}
