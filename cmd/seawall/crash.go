//go:build linux

package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// crashBudget is how long a campaign goes on that was given no limit.
const crashBudget = 10 * time.Second

// crashCommand returns `seawall crash` with its subcommands.
func crashCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "crash",
		Usage:     "crash a log or a program, see what is left",
		ArgsUsage: "CAMPAIGN",
		Description: "A campaign crashes what is under test again and again, and asks each\n" +
			"time whether all that was acknowledged is there, and nothing that may\n" +
			"not be. What it finds has a token, one word that shows it again.",
		Subcommands: []*cli.Command{
			crashKillCommand(p),
			crashModelCommand(p),
			crashTruncateCommand(p),
			crashPowerCommand(p),
			crashFaultCommand(p),
			crashReplayCommand(p),
			crashSelftestCommand(p),
			crashDoctorCommand(p),
			crashCleanupCommand(p),
		},
		Action: noCampaign,
	}
}

// noCampaign deals with arguments that name no campaign.
func noCampaign(c *cli.Context) error {
	var names []string
	for _, sub := range c.Command.Subcommands {
		if !sub.Hidden && sub.Name != "help" {
			names = append(names, sub.Name)
		}
	}
	said := "crash: which campaign?"
	if name := c.Args().First(); name != "" {
		said = "there is no `crash " + name + "`:"
	}
	return usage("%s it is one of %s; see `seawall crash --help`", said, strings.Join(names, ", "))
}

// limitFlags are the flags of every campaign.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "budget", DefaultText: crashBudget.String() + " without --states", Usage: "go on for a `TIME`"},
		mutateFlag(),
		numberFlag("states", "check `N` states, each one crash", 0, "no limit"),
		&cli.StringFlag{Name: "seed", DefaultText: "at random", Usage: "choose as a campaign that printed `N`"},
		dirFlag(),
		jsonFlag(),
	}
}

// mutateFlag is the flag of campaigns that weaken what they are about.
func mutateFlag() cli.Flag {
	return &cli.StringFlag{Name: "mutate", DefaultText: "nothing", Usage: "skip calls: `NAMES`, by commas"}
}

// withoutMutate returns the flags of a campaign that weakens nothing.
func withoutMutate(flags []cli.Flag) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "mutate") })
}

// dirFlag is the flag for the place of scratch files.
func dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", DefaultText: "$TMPDIR", Usage: "work below `DIR`, and clean up"}
}

// scratchOf reads dirFlag.
func scratchOf(c *cli.Context) (string, error) {
	switch dir := c.String("dir"); {
	case dir != "":
		return dir, nil
	case c.IsSet("dir"):
		return "", usage("--dir: the directory's name is empty")
	}
	return os.TempDir(), nil
}

// limitsOf reads limitFlags. Progress is shown on a terminal, until done is
// called; life is what it calls one life.
func (p *process) limitsOf(c *cli.Context, life string) (l campaign.Limits, done func(), err error) {
	done = func() {}
	l = campaign.Limits{Seed: uint64(rand.Uint32()), Budget: c.Duration("budget"), States: int64(min(numberOf(c, "states"), math.MaxInt64))}
	if c.Args().Present() {
		return l, done, usage("crash %s: it takes no arguments, only flags: %q", c.Command.Name, c.Args().Slice())
	}
	switch {
	case l.Budget < 0 || c.IsSet("budget") && l.Budget == 0:
		return l, done, usage("--budget %s: it must be above zero", l.Budget)
	case c.IsSet("states") && l.States == 0:
		return l, done, usage("--states %d: it must be above zero", l.States)
	case !c.IsSet("budget") && !c.IsSet("states"):
		l.Budget = crashBudget
	}
	if l.Dir, err = scratchOf(c); err != nil {
		return l, done, err
	}
	if text := c.String("seed"); text != "" {
		if l.Seed, err = parseNumber(text); err != nil {
			return l, done, usage("--seed %s: it is a number that a campaign has printed", text)
		}
	}
	if l.Mutate, err = mutationsOf(c); err != nil {
		return l, done, err
	}
	if c.Bool("json") || !isTerminal(p.err) {
		return l, done, nil
	}
	line := newProgressLine(p, life)
	l.Progress = line.show
	return l, line.clear, nil
}

// mutateHelp tells what --mutate is for, in the description of a campaign.
func mutateHelp(what, who string) string {
	text := strings.Join(breakLines("--mutate weakens "+what+" on purpose, so that you see whether "+who+
		" would find it. The calls are not made, and succeed:", 73), "\n") + "\n\n"
	names, does := campaign.AllMutations()
	for i, name := range names {
		text += fmt.Sprintf("%-11s %s\n", name, does[i])
	}
	return text
}

// mutationsOf reads --mutate.
func mutationsOf(c *cli.Context) (campaign.Mutations, error) {
	if !c.IsSet("mutate") {
		return nil, nil
	}
	m := campaign.Mutations(strings.Split(c.String("mutate"), ","))
	if err := m.Check(); err != nil {
		return nil, usage("--mutate %s: %w", c.String("mutate"), err)
	}
	return m, nil
}

// findings adds what was found to a report for people. Where nothing was verified
// there is no verdict, and so not that of nothing found.
func (t *table) findings(r *campaign.Result) {
	if errors.Is(r.Verdict(), campaign.ErrUnverified) {
		t.add("found", "no verdict: nothing was verified")
		return
	}
	if len(r.Mutated) > 0 {
		t.add("mutated", strings.Join(r.Mutated, ", "))
	}
	if len(r.Findings) == 0 {
		t.add("found", "nothing")
	}
	for _, f := range r.Findings {
		clause := ""
		if f.Clause != "" {
			clause = " (" + string(f.Clause) + ")"
		}
		t.add("found", string(f.Kind)+clause+": "+strings.TrimPrefix(f.Summary, string(f.Kind)+": "))
		for _, piece := range f.Lost {
			t.add("", "lost by it: "+piece)
		}
		if len(f.Shows) > 0 {
			t.add("", "by rule it can show on: "+strings.Join(f.Shows, ", "))
		}
		t.add("token", shortToken(f.Token))
	}
}

// longToken is how long a token is that people are not asked to copy.
const longToken = 1000

// shortToken returns a token, or the name of a file that holds it, where it is long.
func shortToken(token string) string {
	if len(token) <= longToken {
		return token
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("seawall-%08x.token", crc32.ChecksumIEEE([]byte(token))))
	if err := os.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
		return token
	}
	return name
}

// histogram adds classes with their shares.
func (t *table) histogram(classes []campaign.Class) {
	for _, class := range classes {
		line := fmt.Sprintf("  %11s  %-34s %s", count(class.Count), class.Name, share(class.Count, classes))
		t.lines = append(t.lines, strings.TrimRight(line, " "))
	}
}

// share returns a bar for a class's share.
func share(n int64, all []campaign.Class) string {
	total := int64(0)
	for _, c := range all {
		total += c.Count
	}
	if total == 0 {
		return ""
	}
	return strings.Repeat("#", int((n*20+total-1)/total))
}

// crashCode returns the exit code of a campaign, and what is to be said. Whether it
// has shown what it is for is the campaign's to say.
func crashCode(r *campaign.Result) error {
	if len(r.Findings) > 0 {
		return &codeError{code: exitTorn}
	}
	return r.Verdict() // exit code 3, by exitCode
}

// collectLess has the garbage collector wait until the heap has grown fivefold, unless GOGC
// says something else: what a campaign in memory keeps is small, what it throws away is not,
// and collecting that took a fifth of its time. restore ends it.
func collectLess() (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	old := debug.SetGCPercent(400)
	return func() { debug.SetGCPercent(old) }
}
