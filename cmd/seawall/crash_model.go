//go:build linux

package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/crashtest/selftest"
)

// crashModelCommand returns `seawall crash model`.
func crashModelCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "model",
		Usage: "check the states that a power loss could leave, in memory",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "keep", DisableDefaultText: true, Usage: "keep the files that show what is found"},
		}, limitFlags()...),
		Description: "It records lives of Seawall's own log, under options and workloads that\n" +
			"the seed chooses: every store, sync and directory operation. From each\n" +
			"moment of a life it makes states that a power loss or a kill could have\n" +
			"left: sectors, pages, stores, words, sizes and directory operations that\n" +
			"were not synced are missing, one by one and in subsets. Each is recovered\n" +
			"and checked; some are lived on from, and crash again during recovery.\n\n" +
			"At moments anywhere in a life the process dies and another one goes on,\n" +
			"before the power fails during its recovery or later: what the dead one\n" +
			"had not synced is lost then, or not. Up to three die in a row.\n\n" +
			"Every other life is a busy one: appends, which go on in the next\n" +
			"segments, come between the syncs of cuts, checkpoints and Close, and\n" +
			"run ahead of the names that segments get. The report counts the states\n" +
			"of each of these situations, too.\n\n" +
			"A state counts as distinct by the content of its files. All are recovered\n" +
			"by the function of bytes that the log's Open asks, and one in 500 by Open\n" +
			"on real files too, which then has to append, sync and close.\n\n" +
			"Where TMPDIR is not set, it works in memory.\n\n" +
			mutateHelp("the log", "the campaign") + "\n" +
			"With --seed and --states it does the same each time, on any number of\n" +
			"cores. With a time alone, some lives are left to the clock and to chance.\n" +
			"A third of these have each call of the log come during each other one, at\n" +
			"an operation of it that the seed chooses: what the two return has to be\n" +
			"explained by one order of them, and what a crash leaves by one, too. In\n" +
			"the same lives each call comes where there are no descriptors, no memory\n" +
			"for a mapping or no space, and may fail, but lose nothing.\n\n" +
			"A class of states, or a situation, that had its turn and of which none\n" +
			"could be made, makes it exit with 3. A campaign that was too short for\n" +
			"some says so.",
		Action: p.reporting(p.crashModel),
	}
}

// subjects returns what campaigns in this process are about: the log, unless a
// test has planted others.
func (p *process) subjects() []campaign.Subject {
	if len(p.planted) > 0 {
		return p.planted
	}
	return seawall.Subjects()
}

// findSubject returns the subject that a token names, one of the self-test too, or nil.
func (p *process) findSubject(name string) campaign.Subject {
	for _, s := range p.subjects() {
		if s.Name() == name {
			return s
		}
	}
	return selftest.Find(name)
}

// crashModel runs `seawall crash model`.
func (p *process) crashModel(c *cli.Context) (reporter, error) {
	limits, done, err := p.limitsOf(c, "trace")
	if err != nil {
		return nil, err
	}
	defer done()
	if !c.IsSet("dir") && os.Getenv("TMPDIR") == "" {
		limits.Dir = "" // in memory: no state there has to outlive anything
	}
	ctx, stop := untilSignal()
	defer stop()
	defer collectLess()()
	r, err := model.Run(ctx, p.subjects(), model.Options{Limits: limits, Keep: c.Bool("keep")})
	done()
	if r == nil {
		return nil, err
	}
	report := &modelReport{Result: r}
	switch {
	case err != nil:
		return report, err
	case ctx.Err() != nil:
		return report, ended(ctx, ctx.Err())
	}
	return report, crashCode(r)
}

// modelReport is what `crash model` says.
type modelReport struct {
	outcome
	*campaign.Result
}

// printSituations tells how many states were of which situation.
func (r *modelReport) printSituations(t *table) {
	if len(r.Situations) == 0 {
		return
	}
	t.add("during", "what went on before the crash in some of these states:")
	var rows [][]string
	for _, s := range r.Situations {
		rows = append(rows, []string{s.Name, count(s.States), count(s.Count)})
	}
	for _, line := range columns([]string{"situation", "states", "distinct"}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
}

// print implements reporter.
func (r *modelReport) print(p *process) error {
	var t table
	t.add("model", fmt.Sprintf("%s of %s that were made, with seed %d in %s: %s a second on %s",
		plural(uint64(r.Distinct), "distinct state"), count(r.States), r.Seed, seconds(r.Seconds), count(int64(r.Rate)), plural(uint64(r.Cores), "core")))
	k := r.Checks
	t.add("checked", fmt.Sprintf("%s by the recovery of Open in memory, %s by Open itself on real files, on %s",
		count(k.Pure), count(k.Real), r.Filesystem))
	t.add("lives", fmt.Sprintf("%s, with crashes of recoveries; the shortest that began with nothing had %s; %s, of %s every state was checked",
		count(r.Lives), plural(uint64(k.Shortest), "event"), plural(uint64(k.Moments), "moment"), count(k.Whole)))
	t.add("classes", "the states by what they lack, and how many of them have content of their own:")
	var rows [][]string
	for _, class := range r.Classes {
		rows = append(rows, []string{class.Name, count(class.States), count(class.Count), share(class.Count, r.Classes)})
	}
	for _, line := range columns([]string{"class", "states", "distinct", ""}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
	r.printSituations(&t)
	for _, note := range r.Notes {
		t.add("note", note)
	}
	t.findings(r.Result)
	return t.print(p.out)
}
