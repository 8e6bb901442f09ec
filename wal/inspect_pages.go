package wal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// PageCount counts VM pages of PageBytes bytes. Counts are in pages and not in bytes,
// since that is how the kernel counts.
type PageCount struct {
	PageBytes int64 `json:"page_bytes"`
	Pages     int64 `json:"pages"`
	// Residency and Dirtiness say whether the kernel tells the numbers below them.
	// For a log as a whole they are known where they are for all of its files.
	Residency durability.Knowledge `json:"-"`
	Resident  int64                `json:"resident"`
	Dirtiness durability.Knowledge `json:"-"`
	Dirty     int64                `json:"dirty"`     // changed, and not being written to the device yet
	Writeback int64                `json:"writeback"` // being written to the device
	// The same for scripts.
	ResidentKnown bool `json:"resident_known"`
	DirtyKnown    bool `json:"dirty_known"`
	// Reason says why something is not known.
	Reason string `json:"reason,omitempty"`
}

// add adds another file's count. What is unknown of one file is unknown of the sum. The
// first reason stands for all: files of one log mostly have the same.
func (p *PageCount) add(o *PageCount) {
	p.Pages += o.Pages
	p.Resident += o.Resident
	p.Dirty += o.Dirty
	p.Writeback += o.Writeback
	if o.Residency != durability.Known {
		p.Residency = o.Residency
	}
	if o.Dirtiness != durability.Known {
		p.Dirtiness = o.Dirtiness
	}
	if p.Reason == "" {
		p.Reason = o.Reason
	}
	p.settle()
}

// settle sets the fields of the JSON form that depend on the others. A number that is
// not known is 0 there, and not what the kernel happened to return.
func (p *PageCount) settle() {
	p.ResidentKnown, p.DirtyKnown = p.Residency == durability.Known, p.Dirtiness == durability.Known
	if !p.ResidentKnown {
		p.Resident = 0
	}
	if !p.DirtyKnown {
		p.Dirty, p.Writeback = 0, 0
	}
}

// PageState is the state of a run of pages, one character of a map: of the states
// below, the last one that is true.
type PageState byte

// The states, by their characters.
const (
	PagesUnknown   PageState = '?' // the kernel does not say
	PagesAbsent    PageState = '.' // none is in memory
	PagesPartly    PageState = '-' // some are in memory
	PagesResident  PageState = '#' // all are in memory
	PagesWriteback PageState = 'w' // some are being written to the device
	PagesDirty     PageState = 'D' // some are changed, and not being written yet
)

// PageMap is a file's pages, in runs of equal length: one PageState each.
type PageMap string

// cellBytes returns the length, in bytes, of the runs into which a file of that size
// is divided so that there are at most columns of them: a page times a power of two. It
// is asked for the log's largest file, so that all maps have the same scale.
func cellBytes(size int64, columns int) int64 {
	n := int64(pageSize)
	for n*int64(columns) < size {
		n *= 2
	}
	return n
}

// mayAsk reports whether the kernel tells this user which pages of the file
// are in memory: mincore(2) calls all of them resident otherwise. It is for
// systems without cachestat(2), which says so itself. The kernel also lets those ask who
// may write the file. They are told unknown here, which is the safe side. The times of
// the file are not asked for: that would cost a writer a second block a sync (kernel fact
// 12).
func mayAsk(f *durability.File) bool {
	var st unix.Statx_t
	if err := unix.Statx(f.Fd(), "", unix.AT_EMPTY_PATH, unix.STATX_UID, &st); err != nil {
		return false
	}
	return os.Geteuid() == 0 || int(st.Uid) == os.Geteuid()
}

// countPages counts the file's pages and draws their map. cachestat(2) tells which are
// cached, dirty or being written; an older kernel is asked by mincore(2), which knows
// residency only, and answers truly only to the file's owner (mayAsk). The mapping that
// this takes is not loaded from, so it brings nothing in.
//
// headIn is what mincore(2) says also where there is cachestat(2): read has to know of single
// pages, and that only counts.
func (h *headFile) countPages(cell int64, info *SegmentInspected) error {
	page := int64(pageSize)
	count := PageCount{PageBytes: page, Pages: (h.Size + page - 1) / page}
	f, err := h.Held.Use()
	if err != nil {
		return err
	}
	pc, err := f.PageCache(0, 0)
	if err != nil {
		return err
	}
	count.Dirtiness, count.Reason = pc.Known, pc.Reason
	count.Residency = durability.Known
	if pc.Known == durability.Unknown || pc.Known == durability.Unsupported && !mayAsk(f) {
		count.Residency = durability.Unknown
	}
	h.says = count.Residency == durability.Known
	if h.Size > 0 {
		mem, err := f.Map(h.Size, false)
		if err != nil {
			return err
		}
		if h.says {
			h.headIn, err = mem.Resident(0, min(h.Size, frame.DataOffset))
		}
		if err == nil {
			err = h.countCells(mem, cell, pc, &count, info)
		}
		if err = errors.Join(err, mem.Unmap()); err != nil {
			return err
		}
	}
	count.settle()
	info.Pages = count
	return nil
}

// countCells counts the pages of each run, and draws the map of them.
func (h *headFile) countCells(mem *durability.Mapping, cell int64, pc durability.PageCache, count *PageCount, info *SegmentInspected) error {
	cells := make([]byte, 0, (h.Size+cell-1)/cell)
	for off := int64(0); off < h.Size; off += cell {
		state, err := h.cell(mem, off, min(cell, h.Size-off), pc, count)
		if err != nil {
			return err
		}
		cells = append(cells, byte(state))
	}
	info.Map = PageMap(cells)
	return nil
}

// cell returns the state of a run of pages, and counts them. pc is what the
// kernel says of the whole file: where that has no page in memory, the runs need no
// call of their own. Pages come and go while the cells are asked about one after the
// other, so the sum need not be that of any moment.
func (h *headFile) cell(mem *durability.Mapping, off, n int64, pc durability.PageCache, count *PageCount) (PageState, error) {
	if !h.says {
		return PagesUnknown, nil
	}
	if pc.Known != durability.Known { // no cachestat(2)
		in, err := residentPages(mem, off, n)
		count.Resident += in
		return residencyOf(in, n), err
	}
	if pc.Cached == 0 && pc.Dirty+pc.Writeback == 0 {
		return PagesAbsent, nil
	}
	f, err := h.Held.Use()
	if err != nil {
		return 0, err
	}
	c, err := f.PageCache(off, n)
	if err != nil {
		return 0, err
	}
	if c.Known != durability.Known {
		return 0, errors.New("wal: the kernel knows of the whole file, and not of a part of it")
	}
	count.Resident += c.Cached
	count.Dirty += c.Dirty
	count.Writeback += c.Writeback
	switch {
	case c.Dirty > 0:
		return PagesDirty, nil
	case c.Writeback > 0:
		return PagesWriteback, nil
	}
	return residencyOf(c.Cached, n), nil
}

// residencyOf returns the state of a run of n bytes of which so many pages are in
// memory.
func residencyOf(in, n int64) PageState {
	switch {
	case in == 0:
		return PagesAbsent
	case in >= (n+int64(pageSize)-1)/int64(pageSize):
		return PagesResident
	}
	return PagesPartly
}

// residentPages counts the pages of a range that are in memory. The range begins
// with a page. It is the way without cachestat(2).
func residentPages(mem *durability.Mapping, off, n int64) (in int64, err error) {
	for end := off + n; off < end; off += residentChunk {
		pages, err := mem.Resident(off, min(residentChunk, end-off))
		if err != nil {
			return 0, err
		}
		for _, p := range pages {
			if p {
				in++
			}
		}
	}
	return in, nil
}
