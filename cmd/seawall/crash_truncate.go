//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/truncate"
)

// crashTruncateCommand returns `seawall crash truncate`.
func crashTruncateCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "truncate",
		Usage: "change files of a live log from outside",
		Flags: withoutMutate(limitFlags()),
		Description: "A process appends to a log, another one follows it, and one of the log's\n" +
			"files is truncated, extended, replaced, renamed, deleted or overwritten,\n" +
			"or loses its permissions: once in a life, at a store, a sync or another\n" +
			"call, between two calls, or at an instant. In some lives nothing is\n" +
			"changed.\n\n" +
			"No process may die of it. An error has to name the file, and there is\n" +
			"none where nothing was changed. What is acknowledged as durable after\n" +
			"the change has to be there, and what other files held. No reader may be\n" +
			"given other bytes than were appended, or records out of order.\n" +
			"Afterwards verify has to call the log damaged where acknowledged records\n" +
			"are gone and anything is left that proves it, and a log that can be\n" +
			"opened has to go on.\n\n" +
			"A life is a state. With a seed the lives, the changes and the moments at\n" +
			"which they are aimed are the same each time. What followers and the\n" +
			"background of the log do by then is not; a token is tried twenty times.\n\n" +
			"The table says of each change in how many lives a writer, or a reader,\n" +
			"returned an error, and what verify said afterwards: no log is what it\n" +
			"says of a directory that is gone. As root, lives in which permissions are\n" +
			"taken away run as the user nobody.",
		Action: p.reporting(p.crashTruncate),
	}
}

// crashTruncate runs `seawall crash truncate`.
func (p *process) crashTruncate(c *cli.Context) (reporter, error) {
	limits, done, err := p.limitsOf(c, "life")
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, stop := untilSignal()
	defer stop()
	r, err := truncate.Run(ctx, truncate.Options{Limits: limits})
	done()
	if r == nil || err != nil && r.Lives == 0 {
		return nil, err
	}
	report := &crashTruncateReport{Result: r}
	switch {
	case err != nil:
		return report, err
	case ctx.Err() != nil:
		return report, ended(ctx, ctx.Err())
	}
	return report, crashCode(r.Result)
}

// replayTruncate replays a token of `crash truncate`.
func replayTruncate(ctx context.Context, _ *process, o *replayOptions) (*campaign.Result, error) {
	if o.keep != "" {
		return nil, usage("crash replay: --keep is not for a token of `crash truncate`: its state is that of live processes")
	}
	r, err := truncate.Replay(ctx, o.token, truncate.Options{Limits: campaign.Limits{Dir: o.dir}})
	if r == nil {
		return nil, err
	}
	return r.Result, err
}

// crashTruncateReport is what `crash truncate` says.
type crashTruncateReport struct {
	outcome
	*truncate.Result
}

// print implements reporter.
func (r *crashTruncateReport) print(p *process) error {
	var t table
	rate := fmt.Sprintf("%.1f", r.Rate)
	t.add("truncate", fmt.Sprintf("%s, one a life, with seed %d in %s, on %s: %s a second on %s",
		plural(uint64(r.Distinct), "change"), r.Seed, seconds(r.Seconds), r.Filesystem, rate, plural(uint64(r.Cores), "core")))
	t.add("changes", "who had an error of it, and what verify said afterwards:")
	var rows [][]string
	for _, o := range r.Changes {
		rows = append(rows, []string{
			o.Change, count(o.Lives), count(o.WriterFailed), count(o.ReaderFailed),
			count(o.Clean), count(o.Torn), count(o.Damaged), count(o.NoLog),
		})
	}
	for _, line := range columns([]string{"change", "lives", "writer", "reader", "clean", "torn", "damaged", "no log"}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
	t.add("moments", "when it was made:")
	t.histogram(r.Situations)
	for _, note := range r.Notes {
		t.add("note", note)
	}
	t.findings(r.Result.Result)
	return t.print(p.out)
}
