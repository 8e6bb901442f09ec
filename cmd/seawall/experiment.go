//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// experimentVerbs are what `seawall experiment` can do.
var experimentVerbs = []string{"list", "run"}

// experimentCommand returns `seawall experiment`.
func experimentCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "experiment",
		Usage:     "ask the kernel what the log's promises rest on",
		ArgsUsage: "list | run NAME...",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "run: all of them"},
			&cli.StringFlag{
				Name: "dir", DefaultText: "$TMPDIR",
				Usage: "work below `DIR`, and clean up",
			},
			&cli.StringFlag{Name: "seed", DefaultText: "at random", Usage: "choose as the run did that printed `N`"},
			jsonFlag(),
		},
		Description: "Each experiment has a hypothesis, measures, shows a table and gives a\n" +
			"verdict: as expected, differs, cannot run here, or, where others spoilt\n" +
			"each of three measurements, too noisy to tell, with the reason. It is\n" +
			"decided on counts of faults, bytes and signals; times are shown only. The\n" +
			"exit code is 1 where something differs, and 0 with the other verdicts.\n\n" +
			experimentNames(),
		Action: p.reporting(p.experiment),
	}
}

// experimentNames returns the list of names for the help page.
func experimentNames() string {
	var names []string
	for _, e := range experiment.All() {
		names = append(names, e.Name)
	}
	return "NAME is one of\n" + strings.Join(breakLines(strings.Join(names, " "), 70), "\n")
}

// experiment runs `seawall experiment`.
func (p *process) experiment(c *cli.Context) (reporter, error) {
	verb, names := c.Args().First(), c.Args().Tail()
	switch {
	case verb == "list" && len(names) == 0 && !c.Bool("all"):
		return &experimentList{Experiments: experiment.All()}, nil
	case verb == "list":
		return nil, usage("experiment list: it takes no arguments")
	case verb == "run":
		return p.runExperiments(c, names)
	case verb == "":
		return nil, usage("experiment: list or run? see `%s --help`", c.Command.HelpName)
	}
	return nil, usage("experiment %s: it is list or run", verb)
}

// chooseExperiments returns those that were named, each once.
func chooseExperiments(names []string, all bool) ([]experiment.Experiment, error) {
	switch {
	case all && len(names) > 0:
		return nil, usage("experiment run: either names or --all")
	case all:
		return experiment.All(), nil
	case len(names) == 0:
		return nil, usage("experiment run: which one? `seawall experiment list` shows them; --all runs them all")
	}
	var chosen []experiment.Experiment
	seen := make(map[string]bool)
	for _, name := range names {
		e, ok := experiment.Find(name)
		if !ok {
			return nil, usage("there is no experiment %q; `seawall experiment list` shows them", name)
		}
		if !seen[name] {
			chosen = append(chosen, e)
		}
		seen[name] = true
	}
	return chosen, nil
}

// runExperiments runs `seawall experiment run`. People see each result as soon
// as it is there.
func (p *process) runExperiments(c *cli.Context, names []string) (reporter, error) {
	chosen, err := chooseExperiments(names, c.Bool("all"))
	if err != nil {
		return nil, err
	}
	env := experiment.Env{Dir: c.String("dir"), Seed: uint64(rand.Uint32())}
	if env.Dir == "" {
		if c.IsSet("dir") {
			return nil, usage("--dir: the directory's name is empty")
		}
		env.Dir = os.TempDir()
	}
	if text := c.String("seed"); text != "" {
		if env.Seed, err = parseNumber(text); err != nil {
			return nil, usage("--seed %s: it is a number that a run has printed", text)
		}
	}
	ctx, stop := untilSignal()
	defer stop()
	r := &experimentReport{Dir: env.Dir, Seed: env.Seed, Results: []*experiment.Result{}}
	for _, e := range chosen {
		if err := p.runExperiment(ctx, c.Bool("json"), e, env, r); err != nil {
			return r, err
		}
	}
	return r, r.code()
}

// runExperiment runs one and adds its result to the report.
func (p *process) runExperiment(ctx context.Context, silent bool, e experiment.Experiment, env experiment.Env, r *experimentReport) error {
	if isTerminal(p.err) && !silent {
		_, _ = fmt.Fprintf(p.err, "running %s\r", e.Name)
		defer func() { _, _ = fmt.Fprint(p.err, "\x1b[K") }() // what is left of that line
	}
	result, err := e.Run(ctx, env)
	if err != nil {
		return ended(ctx, err)
	}
	r.add(result)
	if silent {
		return nil
	}
	return p.page(experimentText(result))
}

// experimentReport is what `experiment run` says.
type experimentReport struct {
	outcome
	Dir        string               `json:"dir"`
	Seed       uint64               `json:"seed"`
	Expected   int                  `json:"as_expected"`
	Differing  int                  `json:"differs"`
	Impossible int                  `json:"cannot_run"`
	Noisy      int                  `json:"too_noisy"`
	Results    []*experiment.Result `json:"results"`
}

// add counts and keeps a result.
func (r *experimentReport) add(result *experiment.Result) {
	r.Results = append(r.Results, result)
	switch result.Verdict {
	case experiment.AsExpected:
		r.Expected++
	case experiment.Differs:
		r.Differing++
	case experiment.CannotRun:
		r.Impossible++
	case experiment.TooNoisy:
		r.Noisy++
	}
}

// code returns the exit code for the verdicts, which the report has told. What
// cannot run, or cannot be told, is no failure.
func (r *experimentReport) code() error {
	if r.Differing > 0 {
		return &codeError{code: exitTorn}
	}
	return nil
}

// print implements reporter. The results have been printed one by one.
func (r *experimentReport) print(p *process) error {
	if len(r.Results) == 0 {
		return nil
	}
	noisy := ""
	if r.Noisy > 0 {
		noisy = fmt.Sprintf(", %d too noisy to tell", r.Noisy)
	}
	text := fmt.Sprintf("%s in %s with seed %d: %d as expected, %s, %d cannot run here%s",
		plural(uint64(len(r.Results)), "experiment"), shellWord(r.Dir), r.Seed, r.Expected, differText(r.Differing), r.Impossible, noisy)
	_, err := fmt.Fprintln(p.out, strings.Join(breakLines(text, lineWidth), "\n"))
	return err
}

// differText returns how many differ.
func differText(n int) string {
	if n == 1 {
		return "1 differs"
	}
	return fmt.Sprintf("%d differ", n)
}

// experimentList is what `experiment list` says.
type experimentList struct {
	outcome
	Experiments []experiment.Experiment `json:"experiments"`
}

// print implements reporter.
func (r *experimentList) print(p *process) error {
	var t table
	for _, e := range r.Experiments {
		t.add(e.Name, e.Hypothesis)
		t.add("", "relied on by "+strings.Join(e.Clauses, ", "))
	}
	return t.print(p.out)
}

// experimentText returns a result for people.
func experimentText(r *experiment.Result) string {
	var t table
	t.add(r.Name, r.Hypothesis)
	t.add("clauses", strings.Join(r.Clauses, ", "))
	for _, line := range columns(r.Table.Columns, r.Table.Rows) {
		t.lines = append(t.lines, "  "+line)
	}
	if r.Table.Note != "" {
		t.add("note", r.Table.Note)
	}
	for _, part := range r.NotRun {
		t.add("not run", part)
	}
	verdict := string(r.Verdict) + ", in " + seconds(r.Seconds)
	if r.Tries > 1 {
		verdict += fmt.Sprintf(", measured %d times", r.Tries)
	}
	t.add("verdict", verdict)
	for _, why := range r.Why {
		t.add("", why)
	}
	return strings.Join(t.lines, "\n") + "\n\n"
}
