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
)

// Result is what one run of an experiment found.
type Result struct {
	Experiment

	Verdict Verdict  `json:"verdict"`
	Why     []string `json:"why,omitempty"`     // what differs, or why it cannot run
	NotRun  []string `json:"not_run,omitempty"` // parts that could not run here, each with the reason
	Seed    uint64   `json:"seed"`
	Seconds float64  `json:"seconds"`

	// Measured holds the numbers behind the table, in bytes, pages, faults and
	// seconds as the keys say. It is absent where nothing ran.
	Measured any   `json:"measured,omitempty"`
	Table    Table `json:"-"`
}

// Table is a measurement for people.
type Table struct {
	Columns []string
	Rows    [][]string
	Note    string // how it was counted, where that is not plain
}

// add adds a row.
func (t *Table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// complaints collects what contradicts a hypothesis.
type complaints []string

// unless adds a complaint where what must hold does not.
func (c *complaints) unless(holds bool, format string, args ...any) {
	if !holds {
		*c = append(*c, fmt.Sprintf(format, args...))
	}
}

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
