//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// crashKillCommand returns `seawall crash kill`.
func crashKillCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "kill",
		Usage: "kill processes with SIGKILL while they write",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "workload", DefaultText: "the log's own", Usage: "kill this `COMMAND` of the shell"},
			&cli.StringFlag{Name: "check", DefaultText: "the log's own", Usage: "and look by this `COMMAND` at what it left"},
			&cli.BoolFlag{Name: "blind", DisableDefaultText: true, Usage: "kill at instants only, not at single steps"},
			&cli.BoolFlag{Name: "keep", DisableDefaultText: true, Usage: "keep the directories of what is found"},
		}, limitFlags()...),
		Description: "Without commands it kills Seawall's own log, under options and workloads\n" +
			"that the seed chooses: at instants, between the steps of a sync, a\n" +
			"rotation, a cut and a recovery, and within the copy of a record.\n\n" +
			"With them it kills any program. {dir} is replaced by a directory,\n" +
			"{acks} by a file with the tokens that were acknowledged, one a line.\n" +
			"The workload prints a line `ack TOKEN` when it holds something durable\n" +
			"(the lines of `seawall append --ack` will do), and writes each out at\n" +
			"once. The check exits with 0 unless one is missing or something is\n" +
			"there that may not be:\n\n" +
			"seawall crash kill --workload './go {dir}' --check './see {dir} {acks}'\n\n" +
			"A kill counts if a record was appended and the process was at work.\n\n" +
			"With a seed the lives and the steps they are aimed at are the same each\n" +
			"time. The instants of blind kills are not, nor what they meet.",
		Action: p.reporting(p.crashKill),
	}
}

// crashKill runs `seawall crash kill`.
func (p *process) crashKill(c *cli.Context) (reporter, error) {
	limits, done, err := p.limitsOf(c, "death")
	if err != nil {
		return nil, err
	}
	defer done()
	for _, name := range []string{"workload", "check"} {
		if c.IsSet(name) && c.String(name) == "" {
			return nil, usage("--%s: the command is empty", name)
		}
	}
	if c.IsSet("workload") != c.IsSet("check") {
		return nil, usage("crash kill: --workload and --check belong together")
	}
	ctx, stop := untilSignal()
	defer stop()
	o := kill.Options{
		Limits: limits, Blind: c.Bool("blind"), Keep: c.Bool("keep"),
		Program: kill.Program{Workload: c.String("workload"), Check: c.String("check")},
	}
	if o.Program.Workload == "" {
		o.Subject = &seawall.Log{}
	}
	r, err := kill.Run(ctx, o)
	done()
	if r == nil {
		return nil, err
	}
	report := &killReport{Dir: limits.Dir, Result: r}
	switch {
	case err != nil:
		return report, err
	case ctx.Err() != nil:
		return report, ended(ctx, ctx.Err())
	}
	return report, crashCode(r.Result)
}

// killReport is what `crash kill` says.
type killReport struct {
	outcome
	Dir string `json:"dir"`
	*kill.Result
}

// print implements reporter.
func (r *killReport) print(p *process) error {
	s := r.Survival
	var t table
	t.add("kill", fmt.Sprintf("%s with seed %d in %s, on %s: %s a second on %s", plural(uint64(r.Distinct), "verified kill"),
		r.Seed, seconds(r.Seconds), r.Filesystem, count(int64(r.Rate)), plural(uint64(r.Cores), "core")))
	t.add("", fmt.Sprintf("%s blind, %s at a step; %s not counted: without a record, or with the work done",
		count(s.Blind), count(s.Exact), plural(uint64(s.Uncounted), "death")))
	t.add("places", classText(r.Classes))
	t.survivors(&s)
	var rows [][]string
	for _, k := range s.Kills[max(0, len(s.Kills)-8):] {
		making := ""
		if k.Of > 0 {
			making = fmt.Sprintf("%d of %d B", k.Found, k.Of)
		}
		rows = append(rows, []string{string(k.Place), fmt.Sprint(k.Acked), fmt.Sprint(k.Appended), fmt.Sprint(k.Recovered), making})
	}
	if len(rows) > 0 {
		t.add("last", "the last record that was acked, appended, recovered:")
		for _, line := range columns([]string{"place", "acked", "appended", "recovered", "in the making"}, rows) {
			t.lines = append(t.lines, "  "+line)
		}
	}
	for _, note := range r.Notes {
		t.add("note", note)
	}
	t.findings(r.Result.Result)
	return t.print(p.out)
}

// survivors adds which writes survived. A program says only what it acknowledges.
func (t *table) survivors(s *kill.Survival) {
	t.add("acked", plural(uint64(s.Acked), "record"))
	made := false
	for _, class := range s.Making {
		made = made || class.Count > 0
	}
	if s.Unacked > 0 {
		t.add("not acked", fmt.Sprintf("%s that had been appended: %s survived, %s were in a cut under way",
			plural(uint64(s.Unacked), "record"), count(s.Survived), count(s.CutAway)))
	}
	if !made {
		return
	}
	t.add("making", "bytes of the record in the making that were in the file:")
	t.histogram(s.Making)
}

// classText lists classes.
func classText(classes []campaign.Class) string {
	words := make([]string, 0, len(classes))
	for _, c := range classes {
		words = append(words, c.Name+" "+count(c.Count))
	}
	return strings.Join(words, ", ")
}
