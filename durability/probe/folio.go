package probe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seawall-wal/seawall/durability"
)

const (
	folioFileBytes = 4 << 20
	folioStores    = 64 // at most, of one byte each, evenly over the file
)

// fillSizes are the sizes of the zero-filling writes that are compared: from a page up to
// the largest folio that the page cache makes of one write.
func fillSizes() (sizes []int64) {
	for _, n := range []int64{pageBytes, 16 << 10, 64 << 10, 256 << 10, 2 << 20} {
		if len(sizes) == 0 || n > sizes[len(sizes)-1] {
			sizes = append(sizes, n) // pages of 16 or 64 KiB
		}
	}
	return sizes
}

// folioCell is one file that was filled by writes of a size.
type folioCell struct {
	fill             int64
	by               string
	f                *durability.File
	m                *durability.Mapping
	dirtied, written []int64
	times            []float64
}

// measureFolios stores single bytes into files that were filled in several ways, and
// counts what that dirties. The files take turns.
func measureFolios(b *bench) (func(*Result), error) {
	var cells []*folioCell
	for _, fill := range fillSizes() {
		if b.late(0.5) && len(cells) > 0 {
			break
		}
		f, err := b.filled(fmt.Sprintf("folio-%d", fill), folioFileBytes, fill)
		if err != nil {
			return nil, err
		}
		m, err := b.mapped(f, folioFileBytes)
		if err != nil {
			return nil, err
		}
		cells = append(cells, &folioCell{fill: fill, f: f, m: m})
	}
	for i := int64(0); i < folioStores; i += turnCommits {
		for _, c := range cells {
			if err := c.turn(b, i); err != nil {
				return nil, fmt.Errorf("filled by %d bytes: %w", c.fill, err)
			}
		}
	}
	rows := []Folio{}
	for _, c := range cells {
		if len(c.times) == 0 {
			continue
		}
		slices.Sort(c.times)
		rows = append(rows, Folio{
			FillBytes: c.fill, DirtiedBytes: median(c.dirtied), By: c.by,
			DeviceBytes: median(c.written), P50: quantile(c.times, 0.5), Samples: len(c.times),
		})
	}
	var err error
	if len(rows) < len(fillSizes()) {
		err = context.DeadlineExceeded
		if len(rows) > 0 {
			err = fmt.Errorf("the disk is slow: there was time for %d of %d sizes", len(rows), len(fillSizes()))
		}
	}
	return func(r *Result) { r.Folios = rows }, err
}

// turn makes some stores, one at least in the first turn. Neighbours are far from each
// other: the places go round by thirds.
func (c *folioCell) turn(b *bench, from int64) error {
	begin := time.Now()
	for i := from; i < from+turnCommits; i++ {
		enough := i > from && time.Since(begin) > turnTime || i > 0 && b.over(0.9)
		if enough || b.ctx.Err() != nil {
			break
		}
		at := (i * 21 % folioStores) * (folioFileBytes / folioStores)
		if err := c.store(b, at+pageBytes/2); err != nil {
			return err
		}
	}
	return nil
}

// store stores one byte into a clean file, counts what became dirty, and syncs it.
func (c *folioCell) store(b *bench, off int64) error {
	stored, err := metered(func() error { return c.m.Store(off, []byte{byte(off>>12) | 1}, nil) })
	if err != nil {
		return err
	}
	pc, err := c.f.PageCache(0, 0)
	if err != nil {
		return err
	}
	if c.by == "" {
		c.by = "cachestat"
	}
	dirtied := (pc.Dirty + pc.Writeback) * pageBytes                        // the file was clean: any sync writes the same
	if pc.Known != durability.Known || dirtied == 0 && stored.dirtied > 0 { // an overlay's own pages are none
		c.by, dirtied = "thread-self/io", stored.dirtied
	}
	before := b.device.count()
	synced, err := metered(func() error { return c.m.Sync(off, 1) })
	if err != nil {
		return err
	}
	c.dirtied = append(c.dirtied, dirtied)
	c.written = append(c.written, b.device.count().since(before).written)
	c.times = append(c.times, synced.seconds)
	return nil
}
