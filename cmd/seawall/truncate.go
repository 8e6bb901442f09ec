//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// truncateCommand returns `seawall truncate`.
func truncateCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "truncate",
		Usage:     "remove records at the front or at the back",
		ArgsUsage: "DIR",
		Flags: append([]cli.Flag{
			numberFlag("front", "`LSN` becomes the first record", 0, "none"),
			numberFlag("back", "`LSN` becomes the last record", 0, "none"),
			jsonFlag(),
		}, cutFlags()...),
		Description: "The removed records are gone for good: unlike a repair, nothing is\n" +
			"saved. --front removes segments that are not needed any more; one LSN\n" +
			"behind the last record removes all. --back takes the number back: the\n" +
			"next append gets the LSN behind it; one LSN before the first record\n" +
			"removes all. A crash leaves the log as it was or truncated. The log\n" +
			"must not be open for appending; a torn tail is trimmed first. At a\n" +
			"terminal it says what will go, and asks.",
		Action: p.reporting(p.truncate),
	}
}

// truncate runs `seawall truncate`. Signals end it where it stands: a crash
// leaves the log as it was or truncated.
func (p *process) truncate(c *cli.Context) (reporter, error) {
	dir, err := oneDir(c)
	if err != nil {
		return nil, err
	}
	front, back := wal.LSN(numberOf(c, "front")), wal.LSN(numberOf(c, "back"))
	if c.IsSet("front") == c.IsSet("back") {
		return nil, usage("truncate: give one of --front LSN and --back LSN; see `seawall truncate --help`")
	}
	if c.Bool("dry-run") {
		return p.planTruncate(c, dir)
	}
	begin := time.Now()
	l, err := wal.Open(dir, wal.Options{MustExist: true, Logger: newTalk(p)})
	if err != nil {
		return nil, err
	}
	r := newTruncateReport(c, dir, l.FirstLSN(), l.LastLSN())
	if len(r.Removed) > 0 {
		err = p.confirm(c, r.willRemove())
	}
	if err == nil && c.IsSet("front") {
		err = l.TruncateFront(front)
	} else if err == nil {
		err = l.TruncateBack(back)
	}
	r.FirstLSN, r.LastLSN = l.FirstLSN(), l.LastLSN()
	if err != nil {
		r.Removed = []wal.Range{}
	}
	if cerr := l.Close(); cerr != nil && !errors.Is(err, wal.ErrPoisoned) {
		err = besides(cerr, err)
	}
	r.DurableLSN, r.Seconds = l.DurableLSN(), time.Since(begin).Seconds()
	return r, err
}

// planTruncate says what a truncation would remove, and changes nothing.
func (p *process) planTruncate(c *cli.Context, dir string) (_ reporter, err error) {
	begin := time.Now()
	o, err := wal.OpenReader(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if o.Verdict() == wal.Damaged {
		return nil, &codeError{exitDamaged, errors.New("the log is damaged, and would not be truncated: `seawall verify` shows more")}
	}
	first, last := o.FirstLSN(), o.LastLSN()
	if front := wal.LSN(numberOf(c, "front")); c.IsSet("front") && front > last+1 {
		return nil, usage("the front cannot be LSN %d, the last is %d", front, last)
	}
	if back := wal.LSN(numberOf(c, "back")); c.IsSet("back") && (back > last || back+1 < first) {
		return nil, usage("the back cannot be LSN %d, the first is %d, the last %d", back, first, last)
	}
	r := newTruncateReport(c, dir, first, last)
	r.DryRun, r.DurableLSN, r.Seconds = true, r.LastLSN, time.Since(begin).Seconds()
	if o.Live() {
		p.say("a writer has the log open: it is not truncated as long as it has")
	}
	return r, nil
}

// newTruncateReport returns what a truncation of those records is to say.
func newTruncateReport(c *cli.Context, dir string, first, last wal.LSN) *truncateReport {
	r := &truncateReport{Dir: dir, FirstLSN: first, LastLSN: last, Removed: []wal.Range{}}
	if front := wal.LSN(numberOf(c, "front")); c.IsSet("front") && front > first && front <= last+1 {
		r.FirstLSN = front
		r.Removed = append(r.Removed, wal.Range{First: first, Last: front - 1})
	}
	if back := wal.LSN(numberOf(c, "back")); c.IsSet("back") && back < last && back+1 >= first {
		r.LastLSN = back
		r.Removed = append(r.Removed, wal.Range{First: back + 1, Last: last})
	}
	return r
}

// truncateReport is what truncate says.
type truncateReport struct {
	outcome
	Dir        string      `json:"dir"`
	DryRun     bool        `json:"dry_run,omitempty"`
	FirstLSN   wal.LSN     `json:"first_lsn"`
	LastLSN    wal.LSN     `json:"last_lsn"` // first_lsn - 1 where no record is left
	DurableLSN wal.LSN     `json:"durable_lsn"`
	Removed    []wal.Range `json:"removed"`
	Seconds    float64     `json:"seconds"`
}

// print writes the report to stdout.
func (r *truncateReport) print(p *process) error {
	var t table
	removed := "removed"
	if r.DryRun {
		removed = "to remove"
	}
	for _, gone := range r.Removed {
		t.add(removed, goneText(gone))
	}
	if len(r.Removed) == 0 {
		t.add(removed, "nothing")
	}
	t.add("records", recordsText(uint64(r.LastLSN-r.FirstLSN+1), r.FirstLSN, r.LastLSN))
	return t.print(p.out)
}

// goneText returns a run of records that go, and how many they are.
func goneText(gone wal.Range) string {
	return fmt.Sprintf("%s, %s", plural(uint64(gone.Last-gone.First+1), "record"), lsnText(gone.First, gone.Last))
}

// willRemove says what is about to go, and what stays.
func (r *truncateReport) willRemove() string {
	return fmt.Sprintf("%s: this removes %s for good; what stays: %s", r.Dir, goneText(r.Removed[0]),
		recordsText(uint64(r.LastLSN-r.FirstLSN+1), r.FirstLSN, r.LastLSN))
}
