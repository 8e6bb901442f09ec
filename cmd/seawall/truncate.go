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
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "front", DefaultText: "none", Usage: "`LSN` becomes the first record"},
			&cli.Uint64Flag{Name: "back", DefaultText: "none", Usage: "`LSN` becomes the last record"},
			jsonFlag(),
		},
		Description: "The removed records are gone for good: unlike a repair, nothing is\n" +
			"saved. --front removes segments that are not needed any more; one LSN\n" +
			"behind the last record removes all. --back takes the number back: the\n" +
			"next append gets the LSN behind it; one LSN before the first record\n" +
			"removes all. A crash leaves the log as it was or truncated. The log\n" +
			"must not be open for appending; a torn tail is trimmed first.",
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
	front, back := wal.LSN(c.Uint64("front")), wal.LSN(c.Uint64("back"))
	if c.IsSet("front") == c.IsSet("back") {
		return nil, usage("truncate: give one of --front LSN and --back LSN; see `seawall truncate --help`")
	}
	begin := time.Now()
	l, err := wal.Open(dir, wal.Options{MustExist: true, Logger: newTalk(p)})
	if err != nil {
		return nil, err
	}
	first, last := l.FirstLSN(), l.LastLSN()
	if c.IsSet("front") {
		err = l.TruncateFront(front)
	} else {
		err = l.TruncateBack(back)
	}
	r := &truncateReport{Dir: dir, FirstLSN: l.FirstLSN(), LastLSN: l.LastLSN(), Removed: []wal.Range{}}
	if r.FirstLSN > first && err == nil {
		r.Removed = append(r.Removed, wal.Range{First: first, Last: r.FirstLSN - 1})
	}
	if r.LastLSN < last && err == nil {
		r.Removed = append(r.Removed, wal.Range{First: r.LastLSN + 1, Last: last})
	}
	if cerr := l.Close(); cerr != nil && !errors.Is(err, wal.ErrPoisoned) {
		err = besides(cerr, err)
	}
	r.DurableLSN, r.Seconds = l.DurableLSN(), time.Since(begin).Seconds()
	return r, err
}

// truncateReport is what truncate says.
type truncateReport struct {
	outcome
	Dir        string      `json:"dir"`
	FirstLSN   wal.LSN     `json:"first_lsn"`
	LastLSN    wal.LSN     `json:"last_lsn"` // first_lsn - 1 where no record is left
	DurableLSN wal.LSN     `json:"durable_lsn"`
	Removed    []wal.Range `json:"removed"`
	Seconds    float64     `json:"seconds"`
}

// print writes the report to stdout.
func (r *truncateReport) print(p *process) error {
	var t table
	for _, gone := range r.Removed {
		t.add("removed", fmt.Sprintf("%s, %s", plural(uint64(gone.Last-gone.First+1), "record"), lsnText(gone.First, gone.Last)))
	}
	if len(r.Removed) == 0 {
		t.add("removed", "nothing")
	}
	t.add("records", recordsText(uint64(r.LastLSN-r.FirstLSN+1), r.FirstLSN, r.LastLSN))
	return t.print(p.out)
}
