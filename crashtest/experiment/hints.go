//go:build linux

package experiment

import (
	"context"
	"time"

	"github.com/seawall-wal/seawall/durability"
)

const (
	hintsFileBytes   = 32 << 20
	hintsPassBytes   = 4 << 20 // of a sequential pass
	hintsRandomPages = 128
	hintsCallBytes   = 128 << 10 // of one MADV_WILLNEED: no device has a smaller window by default
)

// hints asks what madvise(2) changes.
var hints = Experiment{
	Name: "hints",
	Hypothesis: "After MADV_RANDOM each load of a cold page is a major fault that reads this page alone; " +
		"with no hint and after MADV_SEQUENTIAL a pass takes far fewer; where MADV_WILLNEED was given 128 KiB by 128 KiB, " +
		"and its reads are done, it takes none.",
	Clauses: []string{"C9 one writer"},
	measure: measureHints,
}

// hintsMeasured is what hints counts.
type hintsMeasured struct {
	Rows []hintsRow `json:"rows"`
}

// hintsRow is one hint under one pattern of loads.
type hintsRow struct {
	Hint    string `json:"hint"`    // none, sequential, random, willneed, willneed at once
	Pattern string `json:"pattern"` // in order, random
	Touched int64  `json:"touched_pages"`
	Ahead   int64  `json:"pages_ahead"`   // in the cache before the first load, or on their way
	Pending int64  `json:"pages_pending"` // of these, still on their way at the first load
	Cached  int64  `json:"cached_pages"`
	Usage
}

// hintCases are the hints that are tried. One call of MADV_WILLNEED reads no more
// than the device's window, however much it was asked for, and does not say so.
var hintCases = []struct {
	name   string
	advice durability.Advice
	bytes  int64 // of the file that the hint is for
	call   int64 // bytes of one call
}{
	{"none", durability.AdviceNormal, hintsFileBytes, hintsFileBytes},
	{"sequential", durability.AdviceSequential, hintsFileBytes, hintsFileBytes},
	{"random", durability.AdviceRandom, hintsFileBytes, hintsFileBytes},
	{"willneed", durability.AdviceWillNeed, hintsPassBytes, hintsCallBytes},
	{"willneed at once", durability.AdviceWillNeed, hintsFileBytes, hintsFileBytes},
}

// measureHints loads from the same file, cold each time, in order and at random.
func measureHints(_ context.Context, l *lab) (measurement, error) {
	f, err := l.coldFile("hints", hintsFileBytes)
	if err != nil {
		return nil, err
	}
	var scattered []int64
	for _, p := range l.random.Perm(int(pagesOf(hintsFileBytes)))[:hintsRandomPages] {
		scattered = append(scattered, int64(p)*pageBytes)
	}
	h := &hintsMeasured{}
	for _, pattern := range []struct {
		name    string
		offsets []int64
	}{{"in order", everyPage(0, hintsPassBytes)}, {"random", scattered}} {
		for i, hint := range hintCases {
			r := hintsRow{Hint: hint.name, Pattern: pattern.name, Touched: int64(len(pattern.offsets))}
			if err := r.measure(l, f, i, pattern.offsets); err != nil {
				return nil, err
			}
			h.Rows = append(h.Rows, r)
		}
	}
	return h, nil
}

// measure takes one hint and one pattern to the cold file.
func (r *hintsRow) measure(l *lab, f *durability.File, hint int, offsets []int64) error {
	h := hintCases[hint]
	if err := l.chill(f); err != nil {
		return err
	}
	before := reclaimedPages()
	m, err := l.mapped(f, hintsFileBytes, false)
	if err != nil {
		return err
	}
	hinted, err := metered(func() error {
		for off := int64(0); off < h.bytes; off += h.call {
			if err = m.Advise(h.advice, off, h.call); err != nil {
				return err
			}
		}
		r.Ahead, err = cachedPages(f, 0, 0)
		return err
	})
	if err != nil {
		return err
	}
	if err = r.wait(l, m); err != nil {
		return err
	}
	loaded, err := metered(func() error { return touch(m, offsets) })
	if err != nil {
		return err
	}
	r.Usage = hinted.plus(loaded)
	r.ReclaimedPages = reclaimedPages() - before
	if r.Cached, err = cachedPages(f, 0, 0); err != nil {
		return err
	}
	return m.Unmap()
}

// hintsWaits is how often it is asked whether the device has read what was hinted
// at, with 10 ms between: MADV_WILLNEED does not wait, and a busy device takes long.
const hintsWaits = 1000

// wait waits until the pages that are on their way have come, and counts those
// that have not.
func (r *hintsRow) wait(l *lab, m *durability.Mapping) error {
	for range hintsWaits {
		present, err := m.Resident(0, hintsFileBytes)
		if err != nil {
			return err
		}
		r.Pending = r.Ahead
		for _, there := range present {
			if there {
				r.Pending--
			}
		}
		if r.Pending = max(0, r.Pending); r.Pending == 0 {
			return nil
		}
		if err := pause(l.ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// check implements measurement. The faults are the thread's, and nobody else reads
// the file: pages can only be missing, where the kernel took them back. A fault
// whose wait is cut short is counted as a minor one when it is taken again, so that
// of the major ones half will do where all faults are there.
func (h *hintsMeasured) check() complaints {
	var c complaints
	for _, r := range h.Rows {
		few, took := fewOf(r.Touched), r.ReclaimedPages
		switch r.Hint {
		case "random":
			faults := r.MajorFaults + r.MinorFaults
			c.unless(faults >= r.Touched-few && r.MajorFaults >= r.Touched/2, "after MADV_RANDOM %d pages (%s) took %d faults, %d of them major",
				r.Touched, r.Pattern, faults, r.MajorFaults)
			c.unless(r.Cached <= r.Touched+few, "after MADV_RANDOM %d pages (%s) brought in %d", r.Touched, r.Pattern, r.Cached)
			c.unlessReclaimed(took, r.Cached >= r.Touched-few, "after MADV_RANDOM %d pages (%s) left %d in memory",
				r.Touched, r.Pattern, r.Cached)
		case "willneed":
			wanted := int64(hintsPassBytes) / pageBytes
			c.unlessReclaimed(took, r.Ahead >= wanted-fewOf(wanted), "MADV_WILLNEED for %d pages brought in %d", wanted, r.Ahead)
			if r.Pattern != "in order" {
				continue
			}
			if r.Pending > 0 {
				c.quiet(r.MajorFaults <= few, "the device is too busy: %d pages of MADV_WILLNEED had not come after %d s", r.Pending, hintsWaits/100)
				continue
			}
			c.unlessReclaimed(took, r.MajorFaults <= few, "after MADV_WILLNEED %d pages took %d major faults", r.Touched, r.MajorFaults)
		case "willneed at once":
			c.unlessReclaimed(took, r.Ahead >= 1, "MADV_WILLNEED for the whole file brought in nothing")
		default:
			c.unless(r.Ahead == 0, "with hint %s %d pages came before the first load", r.Hint, r.Ahead)
			c.unlessReclaimed(took, r.MajorFaults <= r.Touched/8 || r.Pattern != "in order",
				"with hint %s %d pages in order took %d major faults", r.Hint, r.Touched, r.MajorFaults)
		}
	}
	return c
}

// table implements measurement.
func (h *hintsMeasured) table() table {
	t := table{Columns: []string{"loads", "hint", "pages", "ahead", "cached", "minor", "major", "read from device", "time"}}
	for _, r := range h.Rows {
		t.add(r.Pattern, r.Hint, r.Touched, r.Ahead, r.Cached, r.MinorFaults, r.MajorFaults, bytesText(r.ReadBytes), timeText(r.Seconds))
	}
	return t
}
