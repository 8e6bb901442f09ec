package wal

// cutList remembers cuts at the back, for readers that were behind one.
type cutList []struct {
	epoch uint32
	lsn   LSN
}

// add notes a cut that began that epoch and made the record the last one.
// Earlier cuts that left no less are forgotten: this one answers for them.
func (c *cutList) add(epoch uint32, lsn LSN) {
	kept := *c
	for n := len(kept); n > 0 && kept[n-1].lsn >= lsn; n-- {
		kept = kept[:n-1]
	}
	*c = append(kept, struct {
		epoch uint32
		lsn   LSN
	}{epoch, lsn})
}

// lowest returns the lowest record that a cut of an epoch behind since made the
// last one, and whether there was one.
func (c cutList) lowest(since uint32) (LSN, bool) {
	for _, k := range c {
		if k.epoch > since {
			return k.lsn, true
		}
	}
	return 0, false
}
