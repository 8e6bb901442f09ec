package wal

import (
	"slices"
	"sort"
)

// maxCuts bounds the cuts that are remembered.
const maxCuts = 1024

// cutList remembers cuts at the back, for readers that were behind one, in the
// order of their epochs and of what they left.
type cutList []struct {
	epoch uint32
	lsn   LSN
}

// add notes a cut that began that epoch and made the record the last one.
// Earlier cuts that left no less are forgotten: this one answers for them. Where
// there are too many, the two oldest become one that left what the first did: a
// reader that read nothing during all the others may be told that its record was
// cut away though only later ones were.
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

// lowest returns the lowest record that a cut of an epoch behind since made the
// last one, and whether there was one.
func (c cutList) lowest(since uint32) (LSN, bool) {
	i := sort.Search(len(c), func(i int) bool { return c[i].epoch > since })
	if i == len(c) {
		return 0, false
	}
	return c[i].lsn, true
}
