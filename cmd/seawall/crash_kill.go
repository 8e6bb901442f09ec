//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// programContract is what a program and its checks have to do, and may rely on, for
// --help and the man page. The documentation of package kill says it for Go.
const programContract = "With --workload and --check it kills any program:\n\n" +
	"seawall crash kill --workload './go {dir}' --check './see {dir} {acks}'\n\n" +
	"All are commands for /bin/sh, run in this directory, without input. In\n" +
	"each, {dir} and {acks} are replaced by a path, quoted if it has to be.\n\n" +
	"workload  It works in {dir} until it is killed, with its process group.\n" +
	"          For each thing that it holds durable it prints a line\n" +
	"          `ack TOKEN` (`acked TOKEN`, as of `seawall append --ack`, will\n" +
	"          do), and flushes it at once: what is in a buffer at the kill\n" +
	"          was never said. TOKEN is the rest of the line. Other lines\n" +
	"          mean nothing.\n" +
	"lives     {dir} is empty at first. The next life goes on in it with what\n" +
	"          the kill and the checks left, up to twelve in a row. One that\n" +
	"          ends by itself with 0 does not count; with another code it\n" +
	"          ends all.\n" +
	"{acks}    The tokens of all lives in {dir}, one a line, oldest first.\n" +
	"          What was written and not acked before a kill may be there, and\n" +
	"          is not acked later: compare with the last token, not with\n" +
	"          their number.\n" +
	"check     After each kill, if anything was ever acked in {dir}. It exits\n" +
	"          with 0 if all in {acks} is there. It may change {dir}.\n" +
	"legal     After each kill, also with {dir} and {acks} empty. It exits\n" +
	"          with 0 if nothing is there that may not be.\n" +
	"codes     0 accepts. 126, 127 and the death by a signal that others send\n" +
	"          (KILL, TERM, INT, HUP, QUIT, PIPE, XCPU; 128 and more in a\n" +
	"          shell) say that it could not be run: exit code 3. All others,\n" +
	"          SEGV and ABRT too, are a finding, with the last line of its\n" +
	"          output.\n" +
	"timeout   What a life may take to its first ack, and a check to its end.\n\n" +
	"Before the campaign all are tried: the workload is ended by SIGTERM\n" +
	"after two acks, and each check has to accept what is there then; or an\n" +
	"empty {dir} with an empty {acks}; or the former with fewer acks."

// crashKillCommand returns `seawall crash kill`.
func crashKillCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "kill",
		Usage: "kill processes with SIGKILL while they write",
		Flags: append(append(programFlags("kill"),
			&cli.BoolFlag{Name: "blind", DisableDefaultText: true, Usage: "kill at instants only, not at single steps"},
			&cli.BoolFlag{Name: "keep", DisableDefaultText: true, Usage: "keep the directories of what is found"},
		), limitFlags()...),
		Description: "Without commands it kills Seawall's own log, under options and workloads\n" +
			"that the seed chooses: at instants, between the steps of a sync, a\n" +
			"rotation, a cut and a recovery, and within the copy of a record.\n\n" +
			programContract + "\n\n" +
			mutateHelp("the log", "the campaign") +
			"\nA kill takes nothing that was stored: that a sync is missing is found by\n" +
			"`crash model`. It is not for programs.\n\n" +
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
	o := kill.Options{Limits: limits, Blind: c.Bool("blind"), Keep: c.Bool("keep")}
	if o.Program, err = programOf(c); err != nil {
		return nil, err
	}
	if o.Program.Workload == "" {
		o.Subject = &seawall.Log{}
	}
	ctx, stop := untilSignal()
	defer stop()
	r, err := kill.Run(ctx, o)
	done()
	if r == nil || err != nil && r.Lives == 0 {
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

// programFlags are the flags for a program, whose workload is to be killed, say.
func programFlags(does string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "workload", DefaultText: "the log's own", Usage: does + " this `COMMAND` of the shell"},
		&cli.StringFlag{Name: "check", DefaultText: "the log's own", Usage: "check what is left by `COMMAND`"},
		&cli.StringFlag{Name: "legal", DefaultText: "none", Usage: "ask this `COMMAND` if it may be so"},
		&cli.DurationFlag{Name: "timeout", DefaultText: "30s", Usage: "wait a `TIME` for an ack, or a check"},
	}
}

// programOf reads the flags for a program.
func programOf(c *cli.Context) (kill.Program, error) {
	p := kill.Program{Workload: c.String("workload"), Check: c.String("check"), Legal: c.String("legal"), Timeout: c.Duration("timeout")}
	for _, name := range []string{"workload", "check", "legal"} {
		if c.IsSet(name) && c.String(name) == "" {
			return p, usage("--%s: the command is empty", name)
		}
	}
	switch {
	case (p.Workload == "") != (p.Check == ""):
		return p, usage("crash %s: --workload and --check belong together", c.Command.Name)
	case p.Workload != "" && c.IsSet("mutate") && c.Command.Name == "kill":
		return p, usage("crash kill: --mutate is for the log here: a kill takes from a program nothing that it has not synced; try `crash power`")
	case p.Check == files.Check && c.Command.Name == "kill":
		return p, usage("crash kill: --check files is for `crash power` and `crash fault`: a kill takes nothing from files")
	case p.Check == files.Check && p.Legal != "":
		return p, usage("crash %s: --check files asks for both marks: --legal is for a check that is a command", c.Command.Name)
	case p.Workload == "" && (c.IsSet("legal") || c.IsSet("timeout")):
		return p, usage("crash %s: --legal and --timeout are about a program: --workload says which", c.Command.Name)
	case c.IsSet("timeout") && p.Timeout <= 0:
		return p, usage("--timeout %s: it must be above zero", p.Timeout)
	}
	return p, nil
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
	if len(r.Classes) > 0 {
		t.add("places", classText(r.Classes))
	}
	t.survivors(&s)
	t.lastKills(s.Kills[max(0, len(s.Kills)-8):])
	for _, note := range r.Notes {
		t.add("note", note)
	}
	t.findings(r.Result.Result)
	return t.print(p.out)
}

// lastKills adds what was known at the last kills. Of a program it is what was acked:
// nobody has measured how much it had written, and how much of that was there.
func (t *table) lastKills(kills []kill.Kill) {
	if len(kills) == 0 {
		return
	}
	if kills[0].Recovered == nil {
		var acked []string
		for _, k := range kills {
			acked = append(acked, count(k.Acked))
		}
		t.add("last", "records acked before the last kills: "+strings.Join(acked, " "))
		return
	}
	var rows [][]string
	for _, k := range kills {
		progress := ""
		if k.Of > 0 {
			progress = fmt.Sprintf("%d of %d B", k.Found, k.Of)
		}
		rows = append(rows, []string{string(k.Place), fmt.Sprint(k.Acked), fmt.Sprint(k.Appended), fmt.Sprint(*k.Recovered), progress})
	}
	t.add("last", "the last record that was acked, appended, recovered:")
	for _, line := range columns([]string{"place", "acked", "appended", "recovered", "in progress"}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
}

// survivors adds which writes survived. A program says only what it acknowledges.
func (t *table) survivors(s *kill.Survival) {
	t.add("acked", plural(uint64(s.Acked), "record"))
	made := false
	for _, class := range s.InProgress {
		made = made || class.Count > 0
	}
	if s.Unacked > 0 {
		t.add("not acked", fmt.Sprintf("%s that had been appended: %s survived, %s were in a cut under way",
			plural(uint64(s.Unacked), "record"), count(s.Survived), count(s.CutAway)))
	}
	if !made {
		return
	}
	t.add("making", "bytes of the record in progress that were in the file:")
	t.histogram(s.InProgress)
	t.add("survived", "by the place of the kill; and how much there was of a record in progress:")
	var rows [][]string
	for _, p := range s.Places {
		rows = append(rows, []string{
			string(p.Place), count(p.Kills), count(p.Acked), count(p.Unacked), count(p.Survived), count(p.CutAway),
			count(p.None), count(p.Part), count(p.Whole),
		})
	}
	for _, line := range columns([]string{"place", "kills", "acked", "not acked", "survived", "in a cut", "none", "part", "whole"}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
}

// classText lists classes.
func classText(classes []campaign.Class) string {
	words := make([]string, 0, len(classes))
	for _, c := range classes {
		words = append(words, c.Name+" "+count(c.Count))
	}
	return strings.Join(words, ", ")
}
