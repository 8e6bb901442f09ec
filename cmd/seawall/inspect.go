//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// inspectCommand returns `seawall inspect`.
func inspectCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show what is where, in memory, and at risk",
		ArgsUsage:   "DIR",
		Flags:       []cli.Flag{jsonFlag()},
		Description: inspectText,
		Action:      p.reporting(p.inspect),
	}
}

const inspectText = `Shows each segment with its records, how far it is used, and a map of
its pages: what is in memory, and what of it the device does not have
yet. What is at risk is what a power loss could take now: the records
appended and not yet durable, as the writer says, and dirty pages, as
the kernel says. "unknown" is what the kernel does not tell this user:
it tells who owns the files or may write them.

Reads the first blocks of each file and what is in memory already, and
neither writes nor verifies: that is for verify. The log may be open for
appending.`

// inspect runs `seawall inspect`.
func (p *process) inspect(c *cli.Context) (reporter, error) {
	dir, err := oneDir(c)
	if err != nil {
		return nil, err
	}
	in, err := wal.Inspect(dir)
	if err != nil {
		return nil, err
	}
	return &inspectReport{Inspection: in}, nil
}

// inspectReport is what inspect says.
type inspectReport struct {
	outcome
	*wal.Inspection
}

// print writes the report to stdout.
func (r *inspectReport) print(p *process) error {
	var t table
	t.add("log", r.UUID.String())
	t.add("writer", map[wal.Tristate]string{
		wal.Yes:    "a process has the log open",
		wal.No:     "none has the log open",
		wal.Unsure: "unknown",
	}[r.Live])
	records := uint64(r.LastLSN + 1 - r.FirstLSN)
	t.add("records", recordsText(records, r.FirstLSN, r.LastLSN))
	t.add("at risk", riskText(r.AtRisk, r.DurableLSN))
	t.add("dirty", dirtyText(r.Pages))
	t.add("resident", residentText(r.Pages))
	t.add("ahead", plural(uint64(r.Ahead), "prepared segment"))
	t.damage(r.Damage)
	for _, w := range r.Warnings {
		t.add("warning", w)
	}
	if len(r.Segments) > 0 {
		t.lines = append(t.lines, "")
		for i := range r.Segments {
			t.segment(&r.Segments[i])
		}
		t.lines = append(t.lines, "")
		t.add("map", fmt.Sprintf("a character is %s: D some dirty, w some on their way to the device, "+
			"# all in memory, - some in memory, . none in memory, ? unknown", bytesText(r.CellBytes)))
	}
	return t.print(p.out)
}

// segment adds a segment and its map.
func (t *table) segment(s *wal.SegmentInspected) {
	words := []string{s.Name, s.State}
	if s.FirstLSN != 0 {
		words = append(words, lsnText(s.FirstLSN, s.LastLSN))
	}
	if used := usedText(s); used != "" {
		words = append(words, used)
	}
	if s.Pages.DirtyKnown && s.Pages.Dirty+s.Pages.Writeback > 0 {
		words = append(words, bytesText((s.Pages.Dirty+s.Pages.Writeback)*s.Pages.PageBytes)+" dirty")
	}
	t.add("segment", strings.Join(words, ", "))
	t.lines = append(t.lines, strings.Repeat(" ", labelWidth)+string(s.Map))
}

// usedText returns how far a segment is used, or nothing where it is not, or is
// full.
func usedText(s *wal.SegmentInspected) string {
	switch {
	case s.Used == 0 || s.Used == s.Size || s.State == "full":
		return ""
	case s.UsedKnown:
		return bytesText(s.Used)
	}
	return bytesText(s.Used) + " or more"
}

// riskText returns what power loss could take of the records.
func riskText(r wal.AtRisk, durable wal.LSN) string {
	if r.Records == 0 {
		return "no record: all are durable"
	}
	text := fmt.Sprintf("%s behind LSN %d", plural(r.Records, "record"), durable)
	if r.BytesKnown {
		text += ", " + bytesText(r.Bytes)
	}
	return text
}

// dirtyText returns what the kernel has not written to the device yet.
func dirtyText(n wal.PageCount) string {
	switch {
	case !n.DirtyKnown:
		return "unknown"
	case n.Dirty+n.Writeback == 0:
		return "no page: the device has them all"
	}
	text := fmt.Sprintf("%s, %s", plural(uint64(n.Dirty+n.Writeback), "page"), bytesText((n.Dirty+n.Writeback)*n.PageBytes))
	if n.Writeback > 0 {
		text += fmt.Sprintf(", %s of them on their way to the device", count(n.Writeback))
	}
	return text
}

// residentText returns how much of the log is in memory.
func residentText(n wal.PageCount) string {
	if !n.ResidentKnown {
		return fmt.Sprintf("unknown, of %s", bytesText(n.Pages*n.PageBytes))
	}
	return fmt.Sprintf("%s of %s", bytesText(n.Resident*n.PageBytes), bytesText(n.Pages*n.PageBytes))
}
