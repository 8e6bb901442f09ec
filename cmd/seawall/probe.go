//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/durability/probe"
)

// probeCommand returns `seawall probe`.
func probeCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "probe",
		Usage:     "measure what a disk does, with advice",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "budget", Value: probe.DefaultBudget, Usage: "take samples for `TIME`, in all"},
			jsonFlag(),
		},
		Description: "Tells the filesystem, the devices below it and what they say of\n" +
			"themselves; times small commits by five methods into blocks in four\n" +
			"states, with the bytes that the device wrote for each; measures what one\n" +
			"store dirties, what a fault costs, and whether the device can have\n" +
			"flushed in the time that it took; and derives options for the log.\n\n" +
			"Works in a directory of its own below DIR, needs 64 MiB for a moment,\n" +
			"and removes it at the end and at a signal. It takes less than 20 s. What\n" +
			"could not be measured, or is not told to this user, has a line of its\n" +
			"own. Times are of this moment: others use the disk too.",
		Action: p.reporting(p.probe),
	}
}

// probe runs `seawall probe`.
func (p *process) probe(c *cli.Context) (reporter, error) {
	dir, err := oneDir(c)
	if err != nil {
		return nil, err
	}
	budget := c.Duration("budget")
	if budget <= 0 || budget > probe.DefaultBudget {
		return nil, usage("--budget %v: it is a time above zero and up to %v", budget, probe.DefaultBudget)
	}
	ctx, stop := untilSignal()
	defer stop()
	o := probe.Options{Budget: budget}
	if isTerminal(p.err) && !c.Bool("json") {
		o.Progress = func(what string) { _, _ = fmt.Fprintf(p.err, "\r\x1b[Kmeasuring: %s", what) }
		defer func() { _, _ = fmt.Fprint(p.err, "\r\x1b[K") }()
	}
	r, err := probe.Run(ctx, dir, o)
	if err != nil {
		return nil, &elsewhereError{ended(ctx, err)}
	}
	return &probeReport{Result: r}, nil
}

// probeReport is what probe says.
type probeReport struct {
	outcome
	*probe.Result
}

// print writes the report to stdout.
func (r *probeReport) print(p *process) error {
	var t table
	r.place(&t)
	t.add("C1", r.Promise.C1)
	t.add("C2", r.Promise.C2)
	t.add("mapping", promiseText(r.Promise))
	t.lines = append(t.lines, "")
	r.supports(&t)
	r.syncs(&t)
	r.folios(&t)
	r.faults(&t)
	r.flush(&t)
	r.advice(&t)
	for _, n := range r.NotMeasured {
		t.add("missing", n.What+": "+n.Why)
	}
	t.add("took", seconds(r.Seconds)+", "+plural(uint64(r.Samples), "sync")+" timed")
	return t.print(p.out)
}

// place adds what the directory lies on.
func (r *probeReport) place(t *table) {
	t.add("kernel", r.Kernel+", pages of "+bytesText(r.PageBytes))
	fs := r.Filesystem
	kind := fs.Name
	if fs.Kind != "" && fs.Kind != fs.Name {
		kind += " (" + fs.Kind + ")"
	}
	text := kind
	if fs.Source != "" {
		text += ", " + fs.Source + " on " + fs.Point
	}
	if fs.FreeBytes >= 0 {
		text += ", " + bytesText(fs.FreeBytes) + " free"
	}
	t.add("directory", r.Dir)
	t.add("on", text)
	if fs.Options != "" {
		t.add("mounted", spaced(fs.Options)+"; "+spaced(fs.Super))
	}
	for _, d := range r.Devices {
		t.add("device", deviceText(d))
	}
}

// spaced puts a space behind each comma, so that lines can be broken there.
func spaced(options string) string { return strings.ReplaceAll(options, ",", ", ") }

// deviceText returns what a device says of itself.
func deviceText(d probe.Device) string {
	words := []string{d.Name + " (" + d.Number + ")"}
	if d.Disk != d.Name {
		words = append(words, "a partition of "+d.Disk)
	}
	for _, text := range []string{d.Driver, d.Model} {
		if text != "" {
			words = append(words, text)
		}
	}
	if d.LiesOn != "" {
		words = append(words, "on "+d.LiesOn)
	}
	cache := "cache unknown"
	if d.Cache != "" {
		cache = "cache " + d.Cache
	}
	words = append(words, cache, fmt.Sprintf("sectors %d/%d B logical/physical", d.LogicalBytes, d.PhysicalBytes))
	for _, flag := range []struct {
		set       bool
		yes, none string
	}{
		{d.Rotational, "says that it turns", "does not turn"},
		{d.FUA, "FUA", "no FUA"},
		{d.StableWrites, "stable writes", "no stable writes"},
		{d.WriteZeroes > 0, "write zeroes up to " + bytesText(d.WriteZeroes), "no write zeroes"},
		{d.AtomicUnitBytes > 0, "atomic writes up to " + bytesText(d.AtomicUnitBytes), "no atomic writes"},
	} {
		if flag.set {
			words = append(words, flag.yes)
		} else {
			words = append(words, flag.none)
		}
	}
	return strings.Join(words, ", ")
}

// promiseText returns what was seen of a mapping.
func promiseText(p probe.Promise) string {
	text := "a descriptor shows other bytes"
	if p.Coherent {
		text = "coherent with descriptors"
	}
	return text + map[string]string{
		"yes": "; after a sync a read around the page cache found the bytes",
		"no":  "; after a sync a read around the page cache did NOT find the bytes",
	}[p.Reached]
}

// grid adds a table with a title, unless it is empty, and a note below.
func (t *table) grid(head []string, rows [][]string, note string) {
	if len(rows) == 0 {
		return
	}
	t.lines = append(t.lines, columns(head, rows)...)
	if note != "" {
		t.lines = append(t.lines, breakLines(note, lineWidth)...)
	}
	t.lines = append(t.lines, "")
}

// supports adds what there is.
func (r *probeReport) supports(t *table) {
	var rows [][]string
	for _, s := range r.Supports {
		has := "no"
		if s.Has {
			has = "yes"
		}
		rows = append(rows, []string{s.Name, has, s.Note})
	}
	t.grid([]string{"supported", "", ""}, rows, "")
}

// syncs adds what commits cost.
func (r *probeReport) syncs(t *table) {
	var rows [][]string
	for _, s := range r.Syncs {
		rows = append(rows, []string{
			s.State, s.Method, probeTime(s.P50), probeTime(s.P99), knownBytes(s.DirtiedBytes), knownBytes(s.DeviceBytes),
			known(s.Flushes), fmt.Sprint(s.Samples),
		})
	}
	t.grid([]string{"blocks", "100 B by", "p50", "p99", "dirtied", "device", "flushes", "samples"}, rows,
		"dirtied: write_bytes of /proc/thread-self/io. device, flushes: of the whole device, its stat file in sysfs. Medians. "+
			"Commits come in turns of up to 16: a lone one may write the inode's new mtime too.")
}

// folios adds what a store dirties.
func (r *probeReport) folios(t *table) {
	var rows [][]string
	by := ""
	for _, f := range r.Folios {
		rows = append(rows, []string{
			bytesText(f.FillBytes), knownBytes(f.DirtiedBytes), knownBytes(f.DeviceBytes), probeTime(f.P50), fmt.Sprint(f.Samples),
		})
		by = f.By
	}
	t.grid([]string{"filled by", "1 B dirties", "device", "msync p50", "samples"}, rows, "dirties: by "+by+". Medians.")
}

// faults adds what faults cost.
func (r *probeReport) faults(t *table) {
	var rows [][]string
	for _, f := range r.Faults {
		rows = append(rows, []string{f.Kind, fmt.Sprint(f.Pages), fmt.Sprint(f.Minor), fmt.Sprint(f.Major), probeTime(f.Seconds)})
	}
	t.grid([]string{"first touch", "pages", "minor", "major", "a page"}, rows, "")
}

// flush adds whether a flush can be believed.
func (r *probeReport) flush(t *table) {
	text := r.Flush.Verdict
	if r.Flush.Class != "none" {
		text += ": " + r.Flush.Class
	}
	t.add("flush", text)
	for _, why := range r.Flush.Why {
		t.add("", why)
	}
	t.lines = append(t.lines, "")
}

// advice adds the options, and what each comes from.
func (r *probeReport) advice(t *table) {
	t.add("advice", "")
	for _, w := range r.Advice.Words {
		t.add("", w.Option+": "+w.Why)
	}
	t.lines = append(append(t.lines, ""), strings.Split(r.Advice.Go, "\n")...)
	t.lines = append(t.lines, "")
}

// known returns a count, or that it is not known.
func known(n int64) string {
	if n < 0 {
		return "?"
	}
	return count(n)
}

// knownBytes returns a size, or that it is not known.
func knownBytes(n int64) string {
	if n < 0 {
		return "?"
	}
	return bytesText(n)
}

// probeTime returns a short time in two or three digits.
func probeTime(s float64) string {
	if d := time.Duration(s * float64(time.Second)); d < time.Microsecond {
		return d.String()
	}
	return seconds(s)
}
