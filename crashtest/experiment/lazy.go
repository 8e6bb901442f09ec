//go:build linux

package experiment

import (
	"context"

	"github.com/seawall-wal/seawall/durability"
)

const (
	lazyFileBytes  = 64 << 20
	lazyTouchBytes = 64
)

// lazy asks what mapping a large file costs, and what the first load does.
var lazy = Experiment{
	Name: "lazy",
	Hypothesis: "Mapping a large file reads nothing; loading 64 bytes from its middle reads one readahead window at most, " +
		"and one page after MADV_RANDOM.",
	Clauses: []string{"C4 recovery", "C9 one writer"},
	measure: measureLazy,
}

// lazyMeasured is what lazy counts.
type lazyMeasured struct {
	FileBytes      int64      `json:"file_bytes"`
	PageBytes      int64      `json:"page_bytes"`
	ReadaheadBytes int64      `json:"readahead_bytes"` // 0: the kernel does not tell
	Steps          []lazyStep `json:"steps"`
}

// lazyStep is what one way of mapping and loading brought into memory.
type lazyStep struct {
	Advice      string `json:"advice"`
	ColdPages   int64  `json:"cold_pages"`   // in the cache before mapping: another process reads the file
	MappedPages int64  `json:"mapped_pages"` // in the cache after mapping
	CachedPages int64  `json:"cached_pages"` // in the cache after the load
	Usage
}

// measureLazy maps the same cold file twice.
func measureLazy(_ context.Context, l *lab) (measurement, error) {
	f, err := l.coldFile("lazy", lazyFileBytes)
	if err != nil {
		return nil, err
	}
	m := &lazyMeasured{FileBytes: lazyFileBytes, PageBytes: pageBytes}
	if m.ReadaheadBytes, err = readaheadBytes(f); err != nil {
		return nil, err
	}
	for i, advice := range []durability.Advice{durability.AdviceNormal, durability.AdviceRandom} {
		s, err := lazyLoad(l, f, advice)
		if err != nil {
			return nil, err
		}
		s.Advice = []string{"none", "random"}[i]
		m.Steps = append(m.Steps, s)
	}
	return m, nil
}

// lazyLoad maps a cold file, loads from its middle, and looks what came along.
func lazyLoad(l *lab, f *durability.File, advice durability.Advice) (s lazyStep, err error) {
	if err = l.chill(f); err != nil {
		return s, err
	}
	if s.ColdPages, err = cachedPages(f, 0, 0); err != nil {
		return s, err
	}
	m, err := f.Map(lazyFileBytes, false)
	if err != nil {
		return s, err
	}
	l.later(m.Unmap)
	if err = m.Advise(advice, 0, lazyFileBytes); err != nil {
		return s, err
	}
	if s.MappedPages, err = cachedPages(f, 0, 0); err != nil {
		return s, err
	}
	var p [lazyTouchBytes]byte
	s.Usage, err = metered(func() error { return m.Load(lazyFileBytes/2, p[:]) })
	if err != nil {
		return s, err
	}
	if s.CachedPages, err = cachedPages(f, 0, 0); err != nil {
		return s, err
	}
	return s, m.Unmap()
}

// check implements measurement. Nobody else knows of the file. Should another process
// read it all the same (an indexer, a backup), or should the kernel take the page
// away at once, there is less to see, never more: the load's own read, which the
// kernel counts for the thread, may be missing, or its page.
func (m *lazyMeasured) check() complaints {
	var c complaints
	window := m.FileBytes - 1
	if m.ReadaheadBytes > 0 {
		window = max(m.ReadaheadBytes, m.PageBytes)
	}
	for _, s := range m.Steps {
		limit := window
		if s.Advice == "random" {
			limit = m.PageBytes
		}
		got := s.CachedPages * m.PageBytes
		if s.ColdPages > 0 {
			c.quiet(false, "another process reads the file: %d pages came before it was mapped", s.ColdPages)
			continue
		}
		c.unless(s.MappedPages == 0, "mapping alone brought %d pages into memory", s.MappedPages)
		c.unless(got <= limit, "with advice %s the load of %d bytes brought in %s instead of up to %s",
			s.Advice, lazyTouchBytes, bytesText(got), bytesText(limit))
		switch {
		case s.ReadBytes > 0:
			c.unlessReclaimed(s.ReclaimedPages, got > 0, "with advice %s the load read %s and left nothing in memory",
				s.Advice, bytesText(s.ReadBytes))
		case got > 0:
			c.quiet(false, "with advice %s the load read nothing from the device: another process has", s.Advice)
		default:
			c.unless(false, "with advice %s the load read nothing, neither from the device nor from memory", s.Advice)
		}
	}
	return c
}

// table implements measurement.
func (m *lazyMeasured) table() table {
	t := table{Columns: []string{"advice", "cached after mmap", "cached after 64 bytes", "read from device", "major", "time"}}
	for _, s := range m.Steps {
		t.add(s.Advice, bytesText(s.MappedPages*m.PageBytes), bytesText(s.CachedPages*m.PageBytes),
			bytesText(s.ReadBytes), s.MajorFaults, timeText(s.Seconds))
	}
	t.Note = "the device's readahead window is " + bytesText(m.ReadaheadBytes)
	if m.ReadaheadBytes == 0 {
		t.Note = "the kernel does not tell the device's readahead window"
	}
	return t
}
