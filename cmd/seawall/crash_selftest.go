//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/selftest"
)

// crashSelftestCommand returns `seawall crash selftest`.
func crashSelftestCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "selftest",
		Usage: "show that the lab finds what is wrong, and only that",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "only", DefaultText: "all", Usage: "search these wrong logs: `NAME,NAME...`"},
			numberFlag("states", "search each in at most `N` states", 0, "100000"),
			&cli.StringFlag{Name: "seed", DefaultText: "1", Usage: "choose by `N`"},
			dirFlag(),
			jsonFlag(),
		},
		Description: "It has `crash model`, or `crash truncate` where files are changed,\n" +
			"search logs that are wrong in one known way each: a sync is left out, a\n" +
			"check is taken away, a cut is made in another order. Each must be found,\n" +
			"for the promise that it breaks, and nothing may be found in its twin, the\n" +
			"same log with the fault mended. No campaign is told which log it has.\n\n" +
			"The table names the promise (C1 to C10), how many states were searched\n" +
			"until the fault was found, and in how many its twin was clean. Below it\n" +
			"stands the smallest counterexample of each. Some break a promise while\n" +
			"they run, before any crash: these took 0 states.\n\n" +
			"It exits with 0 if all of it is so, and with 1 if the lab failed. With\n" +
			"--json each has the token by which `crash replay` shows it again.\n\n" +
			"With the same seed the model does the same each time, on any number of\n" +
			"cores, and works in memory where TMPDIR is not set.",
		Action: p.reporting(p.crashSelftest),
	}
}

// crashSelftest runs `seawall crash selftest`.
func (p *process) crashSelftest(c *cli.Context) (reporter, error) {
	if c.Args().Present() {
		return nil, usage("crash selftest: it takes no arguments, only flags: %q", c.Args().Slice())
	}
	o := selftest.Options{States: int64(min(numberOf(c, "states"), math.MaxInt64)), Seed: 1}
	if c.IsSet("states") && o.States == 0 {
		return nil, usage("--states 0: it must be above zero")
	}
	var err error
	if text := c.String("seed"); text != "" {
		if o.Seed, err = parseNumber(text); err != nil {
			return nil, usage("--seed %s: it is a number", text)
		}
	}
	if o.Dir, err = scratchOf(c); err != nil {
		return nil, err
	}
	if !c.IsSet("dir") && os.Getenv("TMPDIR") == "" {
		o.Dir = "" // in memory
	}
	variants, err := chosenVariants(c.String("only"))
	if err != nil {
		return nil, err
	}
	if !c.Bool("json") && isTerminal(p.err) {
		bar := progressbar.NewOptions(len(variants), progressbar.OptionSetWriter(p.err),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish())
		defer func() { _ = bar.Clear() }()
		o.Progress = func(_, _ int, v *selftest.Outcome) {
			bar.Describe(v.Name)
			_ = bar.Add(1) // there is nobody to tell that it failed
		}
	}
	ctx, stop := untilSignal()
	defer stop()
	began := time.Now()
	defer collectLess()()
	outcomes, err := selftest.Run(ctx, variants, o)
	if err != nil && len(outcomes) == 0 && ctx.Err() == nil {
		return nil, err
	}
	report := &selftestReport{Campaign: "selftest", Seed: o.Seed, Variants: outcomes, Passed: len(outcomes) == len(variants), Seconds: time.Since(began).Seconds()}
	for i := range outcomes {
		report.Passed = report.Passed && outcomes[i].Passed()
	}
	switch {
	case ctx.Err() != nil:
		return report, ended(ctx, ctx.Err())
	case err != nil:
		return report, err
	case !report.Passed:
		return report, &codeError{code: exitTorn}
	}
	return report, nil
}

// chosenVariants returns the wrong logs of those names, or all.
func chosenVariants(names string) (chosen []selftest.Variant, err error) {
	all := selftest.Variants()
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(v selftest.Variant) bool { return v.Name == name })
		if i < 0 {
			var known []string
			for _, v := range all {
				known = append(known, v.Name)
			}
			return nil, usage("--only %s: there is no such wrong log: it is one of %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// selftestReport is what `crash selftest` says.
type selftestReport struct {
	outcome
	Campaign string             `json:"campaign"`
	Seed     uint64             `json:"seed"`
	Passed   bool               `json:"passed"`
	Seconds  float64            `json:"seconds"`
	Variants []selftest.Outcome `json:"variants"`
}

// print implements reporter.
func (r *selftestReport) print(p *process) error {
	var t table
	found, clean := 0, 0
	var rows [][]string
	for i := range r.Variants {
		v := &r.Variants[i]
		how := "NOT FOUND"
		switch {
		case v.Found:
			found++
			how = "found"
		case v.Finding != nil:
			how = "AS " + string(v.Finding.Clause)
		}
		twin := "NOT CLEAN"
		if v.TwinClean {
			clean++
			twin = "clean"
		}
		rows = append(rows, []string{v.Name, string(v.Clause), v.Campaign, count(v.States), how, count(v.TwinStates), twin})
	}
	t.add("selftest", fmt.Sprintf("%d of %s found, %s clean, with seed %d in %s",
		found, plural(uint64(len(r.Variants)), "wrong log"), plural(uint64(clean), "twin"), r.Seed, seconds(r.Seconds)))
	for _, line := range columns([]string{"wrong log", "breaks", "campaign", "states", "", "twin's", ""}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
	for i := range r.Variants {
		t.searched(&r.Variants[i])
	}
	return t.print(p.out)
}

// searched adds what was found in a wrong log, and in its twin.
func (t *table) searched(v *selftest.Outcome) {
	t.add("wrong", v.Name+": "+v.What)
	if f := v.Finding; f != nil {
		t.add("", f.Summary)
		for _, piece := range f.Lost {
			t.add("", "lost by it: "+piece)
		}
	}
	if f := v.TwinFinding; f != nil {
		t.add("mended", f.Summary)
		t.add("token", f.Token)
	}
}
