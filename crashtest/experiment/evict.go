//go:build linux

package experiment

import (
	"bytes"
	"context"

	"github.com/seawall-wal/seawall/durability"
)

// evictBytes is the size of the file of each kind.
const evictBytes = 4 << 20

// evict asks what POSIX_FADV_DONTNEED drops, and what it has to write for it.
var evict = Experiment{
	Name: "evict",
	Hypothesis: "POSIX_FADV_DONTNEED drops clean pages without writing anything, drops no page that is mapped, " +
		"and no dirty page before the device has it.",
	Clauses: []string{"C4 recovery"},
	measure: measureEvict,
}

// evictMeasured is what evict counts, by what the pages were before.
type evictMeasured struct {
	Rows []evictRow `json:"rows"`
}

// evictRow is one kind of page before and after the call.
type evictRow struct {
	State       string `json:"state"` // clean, mapped, dirty, dirty and mapped
	Mapped      bool   `json:"mapped"`
	Dirty       bool   `json:"dirty"`
	Pages       int64  `json:"pages"`
	DirtyBefore int64  `json:"dirty_before"`
	CachedAfter int64  `json:"cached_after"`
	DirtyAfter  int64  `json:"dirty_after"`
	Writeback   int64  `json:"writeback_after"`
	// WrongPages counts the pages that read back as something else than what was
	// written: from the device where it can be asked.
	WrongPages int64  `json:"wrong_pages"`
	ReadBack   string `json:"read_back"` // direct, buffered

	// ReclaimedPages is what the kernel reclaimed and moved during the measurement, for all.
	ReclaimedPages int64 `json:"reclaimed_pages"`
}

// measureEvict makes each kind of page and calls.
func measureEvict(_ context.Context, l *lab) (measurement, error) {
	m := &evictMeasured{}
	for _, r := range []evictRow{
		{State: "clean"},
		{State: "clean, mapped", Mapped: true},
		{State: "dirty", Dirty: true},
		{State: "dirty, mapped", Dirty: true, Mapped: true},
	} {
		if err := evictOne(l, &r); err != nil {
			return nil, err
		}
		m.Rows = append(m.Rows, r)
	}
	return m, nil
}

// evictOne makes pages of one kind, asks for them to be dropped, and counts.
func evictOne(l *lab, r *evictRow) error {
	f, err := l.create(r.State)
	if err != nil {
		return err
	}
	// First the blocks, so that writeback later has nothing else to do.
	if err = l.fill(f, 0, evictBytes, 64<<10); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	want := make([]byte, evictBytes)
	if _, err = f.ReadAt(want, 0); err != nil {
		return err
	}
	r.Pages = pagesOf(evictBytes)
	before := reclaimedPages()
	if r.Mapped {
		m, merr := l.mapped(f, evictBytes, false)
		if merr != nil {
			return merr
		}
		if err = m.PopulateRead(0, evictBytes); err != nil {
			return err
		}
	}
	if err = r.dirty(f, want); err != nil {
		return err
	}
	if err = f.DropCache(0, 0); err != nil {
		return err
	}
	pc, err := f.PageCache(0, 0)
	if err != nil {
		return err
	}
	r.CachedAfter, r.DirtyAfter, r.Writeback = pc.Cached, pc.Dirty, pc.Writeback
	r.ReclaimedPages = reclaimedPages() - before
	return r.readBack(f, want)
}

// evictTries is how often pages are dirtied. A process that calls sync(2) on the same
// filesystem at that time has them written.
const evictTries = 10

// dirty dirties the pages where the row says so, and counts what is dirty.
func (r *evictRow) dirty(f *durability.File, want []byte) (err error) {
	for range evictTries {
		if r.Dirty {
			for i := range want {
				want[i] = ^want[i]
			}
			if _, err = f.WriteAt(want, 0); err != nil {
				return err
			}
		}
		if r.DirtyBefore, err = dirtyPages(f, 0, 0); err != nil || !r.Dirty || r.DirtyBefore == r.Pages {
			return err
		}
	}
	return nil
}

// readBack compares what the file holds now with what was written last.
func (r *evictRow) readBack(f *durability.File, want []byte) error {
	got := make([]byte, len(want))
	_, how, err := f.ReadDirect(got, 0)
	if err != nil {
		return err
	}
	r.ReadBack = how.String()
	for at := int64(0); at < int64(len(want)); at += pageBytes {
		if !bytes.Equal(got[at:at+pageBytes], want[at:at+pageBytes]) {
			r.WrongPages++
		}
	}
	return nil
}

// check implements measurement. That a dirty page is dropped before the device has
// it is wrong at any time. A page that another processor works on is not dropped,
// and the kernel takes pages when memory is short: a few are left to it. A process that
// calls sync(2) cleans what should be dirty.
func (m *evictMeasured) check() complaints {
	var c complaints
	for _, r := range m.Rows {
		few := fewOf(r.Pages)
		switch {
		case r.Mapped:
			c.unlessReclaimed(r.ReclaimedPages, r.CachedAfter >= r.Pages-few, "of %d pages (%s) only %d stayed", r.Pages, r.State, r.CachedAfter)
		case !r.Dirty:
			c.unlessReclaimed(r.ReclaimedPages, r.CachedAfter <= few, "of %d pages (%s) %d stayed", r.Pages, r.State, r.CachedAfter)
		}
		if r.Dirty {
			c.quiet(r.DirtyBefore >= r.Pages-few, "another process has them written: in %d tries only %d of %d written pages (%s) were dirty",
				evictTries, r.DirtyBefore, r.Pages, r.State)
		} else {
			c.unless(r.DirtyBefore+r.DirtyAfter+r.Writeback == 0, "clean pages (%s) were to be written", r.State)
		}
		c.unless(r.WrongPages == 0, "%d pages (%s) were dropped and the device has something else", r.WrongPages, r.State)
	}
	return c
}

// table implements measurement.
func (m *evictMeasured) table() table {
	t := table{Columns: []string{"pages", "number", "dirty before", "cached after", "dirty after", "writeback after", "lost", "read back"}}
	for _, r := range m.Rows {
		t.add(r.State, r.Pages, r.DirtyBefore, r.CachedAfter, r.DirtyAfter, r.Writeback, r.WrongPages, r.ReadBack)
	}
	return t
}
