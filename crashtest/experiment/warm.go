//go:build linux

package experiment

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/seawall-wal/seawall/durability"
)

const warmFileBytes = 16 << 20

// warm asks what the first touch of a page costs, and the second.
var warm = Experiment{
	Name: "warm",
	Hypothesis: "The first pass over a cold mapping waits for the device in major faults; a second pass faults no more; " +
		"a new mapping of cached pages takes minor faults only.",
	Clauses: []string{"C1 process death", "C9 one writer"},
	measure: measureWarm,
}

// warmMeasured is what warm counts.
type warmMeasured struct {
	Pages  int64      `json:"pages"`
	Passes []warmPass `json:"passes"`
}

// warmPass is one load from each page.
type warmPass struct {
	Name string `json:"name"` // cold, again, mapped again, populated
	Usage
}

// measureWarm loads a byte from each page, several times over.
func measureWarm(_ context.Context, l *lab) (measurement, error) {
	f, err := l.coldFile("warm", warmFileBytes)
	if err != nil {
		return nil, err
	}
	w := &warmMeasured{Pages: pagesOf(warmFileBytes)}
	m, err := l.mapped(f, warmFileBytes, false)
	if err != nil {
		return nil, err
	}
	second, err := l.mapped(f, warmFileBytes, false)
	if err != nil {
		return nil, err
	}
	third, err := l.mapped(f, warmFileBytes, false)
	if err != nil {
		return nil, err
	}
	offsets := everyPage(0, warmFileBytes)
	before := reclaimedPages()
	for _, p := range []struct {
		name string
		m    *durability.Mapping
	}{{"cold", m}, {"again", m}, {"mapped again", second}, {"populated", third}} {
		if p.m == third {
			if err := third.PopulateRead(0, warmFileBytes); err != nil {
				return nil, err
			}
		}
		u, err := metered(func() error { return touch(p.m, offsets) })
		if err != nil {
			return nil, err
		}
		u.ReclaimedPages = reclaimedPages() - before // also between the passes
		w.Passes = append(w.Passes, warmPass{p.name, u})
	}
	return w, nil
}

// everyPage returns an offset in each page of n bytes at off.
func everyPage(off, n int64) []int64 {
	offsets := make([]int64, 0, pagesOf(n))
	for at := off; at < off+n; at += pageBytes {
		offsets = append(offsets, at)
	}
	return offsets
}

// touched keeps the loads of touch from being optimised away.
var touched atomic.Uint32

// touch loads a byte at each offset, one after the other, as code does that takes
// the mapping for memory.
func touch(m *durability.Mapping, offsets []int64) error {
	b := m.Bytes()
	return durability.Guard(func() error {
		sum := byte(0)
		for _, off := range offsets {
			if off < 0 || off >= int64(len(b)) {
				return errors.New("experiment: touched outside of the mapping")
			}
			sum ^= b[off]
		}
		touched.Store(uint32(sum))
		return nil
	})
}

// check implements measurement. What the passes have to do cannot get less by what
// others do: the file was cold, and the counters are the thread's. It gets more
// where the kernel takes pages away, or moves them.
func (w *warmMeasured) check() complaints {
	var c complaints
	few := fewOf(w.Pages)
	for _, p := range w.Passes {
		switch p.Name {
		case "cold":
			c.unless(p.MajorFaults >= 1, "the cold pass took no major fault")
			c.unless(p.ReadBytes >= (w.Pages-few)*pageBytes, "the cold pass read %s of %s",
				bytesText(p.ReadBytes), bytesText(w.Pages*pageBytes))
			continue
		case "mapped again":
			c.unless(p.MinorFaults >= 1, "a new mapping of %d cached pages took no fault", w.Pages)
			c.unlessReclaimed(p.ReclaimedPages, p.MinorFaults <= w.Pages+few,
				"a new mapping of %d cached pages took %d minor faults", w.Pages, p.MinorFaults)
		default:
			c.unlessReclaimed(p.ReclaimedPages, p.MinorFaults <= few, "the pass called %q took %d minor faults", p.Name, p.MinorFaults)
		}
		// A single page that comes again may bring a readahead window: only faults count.
		c.unlessReclaimed(p.ReclaimedPages, p.MajorFaults <= few/16, "the pass called %q took %d major faults and read %s",
			p.Name, p.MajorFaults, bytesText(p.ReadBytes))
	}
	return c
}

// table implements measurement.
func (w *warmMeasured) table() table {
	t := table{Columns: []string{"pass", "pages", "minor", "major", "read from device", "time"}}
	for _, p := range w.Passes {
		t.add(p.Name, w.Pages, p.MinorFaults, p.MajorFaults, bytesText(p.ReadBytes), timeText(p.Seconds))
	}
	return t
}
