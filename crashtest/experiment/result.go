//go:build linux

package experiment

import (
	"fmt"
	"strings"
)

// Verdict is what a measurement says about a hypothesis.
type Verdict string

// The verdicts.
const (
	AsExpected Verdict = "as expected"
	Differs    Verdict = "differs"
	CannotRun  Verdict = "cannot run here"
	TooNoisy   Verdict = "too noisy to tell"
)

// Result is what one run of an experiment found.
type Result struct {
	Experiment

	Verdict Verdict  `json:"verdict"`
	Why     []string `json:"why,omitempty"`     // what differs, why it cannot run, or what the noise was
	NotRun  []string `json:"not_run,omitempty"` // parts that could not run here, each with the reason
	Seed    uint64   `json:"seed"`
	Seconds float64  `json:"seconds"`
	Tries   int      `json:"tries"` // measurements, the last of which counts: those before it were too noisy

	// Measured holds the numbers behind the table, in bytes, pages, faults and
	// seconds as the keys say. It is absent where nothing ran.
	Measured any   `json:"measured,omitempty"`
	Table    table `json:"-"`
}

// table is a measurement for people.
type table struct {
	Columns []string
	Rows    [][]string
	Note    string // how it was counted, where that is not plain
}

// add adds a row.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// complaints collects what contradicts a hypothesis, and what would contradict it
// on a quiet machine.
type complaints struct {
	differs []string
	noise   []string // each with what else than the kernel's rules may explain it
}

// unless adds a complaint where what must hold does not, whatever other crews do.
func (c *complaints) unless(holds bool, format string, args ...any) {
	if !holds {
		c.differs = append(c.differs, fmt.Sprintf(format, args...))
	}
}

// quiet adds noise where what holds on a quiet machine does not.
func (c *complaints) quiet(holds bool, format string, args ...any) {
	if !holds {
		c.noise = append(c.noise, fmt.Sprintf(format, args...))
	}
}

// unlessReclaimed adds a complaint where what must hold does not. It is noise
// where the kernel took memory back in the meantime, which may have hit these pages.
func (c *complaints) unlessReclaimed(reclaimed int64, holds bool, format string, args ...any) {
	if reclaimed > 0 {
		c.quiet(holds, "%s; in the meantime the kernel reclaimed or moved %d pages of this machine", fmt.Sprintf(format, args...), reclaimed)
		return
	}
	c.unless(holds, format, args...)
}

// verdict returns what the complaints come to. A contradiction that nobody else
// can have caused counts, whatever the noise.
func (c *complaints) verdict() (Verdict, []string) {
	switch {
	case len(c.differs) > 0:
		return Differs, c.differs
	case len(c.noise) > 0:
		return TooNoisy, c.noise
	}
	return AsExpected, nil
}

// fewOf is the part of some pages that a verdict leaves to the kernel, which may
// take pages and bring them at any moment: a sixteenth.
func fewOf(pages int64) int64 { return pages / 16 }

// bytesText returns a number of bytes for a table: in full up to 64 KiB, and in
// the largest unit that leaves it above one.
func bytesText(n int64) string {
	switch {
	case n < 64<<10 && n > -64<<10:
		return fmt.Sprint(n)
	case n < 1<<20:
		return trimmed(float64(n)/(1<<10)) + " KiB"
	case n < 1<<30:
		return trimmed(float64(n)/(1<<20)) + " MiB"
	}
	return trimmed(float64(n)/(1<<30)) + " GiB"
}

// trimmed returns a number to one decimal, none where that is 0.
func trimmed(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }
