//go:build linux

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// repairCommand returns `seawall repair`.
func repairCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "trim a torn tail; with --force cut at damage",
		ArgsUsage: "DIR",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "cut the log at damage: records are lost"},
			&cli.StringFlag{Name: "save-to", DefaultText: "DIR/lost", Usage: "save what is removed below `PLACE`"},
			&cli.BoolFlag{Name: "no-save", DisableDefaultText: true, Count: new(int), Usage: "save nothing; only where it is said twice"},
			jsonFlag(),
		}, cutFlags()...),
		Description: "A clean log is left alone. What is removed is saved first, in\n" +
			"DIR/lost or, where that has no space, in the PLACE that --save-to\n" +
			"names; where it cannot be saved, nothing is changed. The records that\n" +
			"are lost are reported as ranges of LSNs. Exit code 0: the log is clean\n" +
			"now. 4: it is damaged, and nothing was changed. At a terminal --force\n" +
			"says what will be lost, and asks. --dry-run exits as the repair would.\n\n" +
			"With --force a short file that stays is filled up with zeros, and so is\n" +
			"a block that cannot be read. Where it is unknown how many records are\n" +
			"lost, it says an unknown number; in --json \"lost_unknown\":true.",
		Action: p.reporting(p.repair),
	}
}

// repair runs `seawall repair`. Signals end it where it stands: a crash during
// a repair leaves the old tail or the new one.
func (p *process) repair(c *cli.Context) (reporter, error) {
	dir, err := oneDir(c)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	o := wal.RepairOptions{Force: c.Bool("force"), DryRun: c.Bool("dry-run"), SaveTo: c.String("save-to"), NoSave: c.Bool("no-save")}
	switch {
	case o.NoSave && c.Count("no-save") < 2:
		return nil, usage("--no-save: what is removed is gone for good then; say it twice if that is what you want")
	case o.NoSave && c.IsSet("save-to"):
		return nil, usage("repair: give one of --save-to and --no-save")
	case c.IsSet("save-to") && o.SaveTo == "":
		return nil, usage("--save-to: the directory's name is empty")
	}
	if o.Force && !o.DryRun {
		if err = p.confirmRepair(c, dir); err != nil {
			return nil, err
		}
	}
	rep, err := wal.Repair(dir, o)
	if rep == nil {
		return nil, err
	}
	r := &repairReport{
		Dir: dir, DryRun: o.DryRun, force: o.Force, savedTo: o.SaveTo, Verdict: rep.Verdict, FirstLSN: rep.FirstLSN, LastLSN: rep.LastLSN,
		DurableLSN: rep.DurableLSN, TornBytes: rep.TornBytes, Damage: rep.Damage,
		Trimmed: rep.Trimmed, Lost: rep.Lost, LostUnknown: rep.LostUnknown, Behind: rep.Behind, Saved: rep.Saved,
		Warnings: rep.Warnings, Seconds: time.Since(begin).Seconds(),
	}
	for _, list := range []*[]wal.Range{&r.Lost, &r.Behind} {
		if *list == nil {
			*list = []wal.Range{}
		}
	}
	if r.Saved == nil {
		r.Saved = []string{}
	}
	var damaged *wal.CorruptError
	if errors.As(err, &damaged) {
		err = &codeError{exitDamaged, errors.New(
			"the log is damaged and was not changed: restore it from a copy, or cut it at the damage with --force")}
	}
	return r, err
}

// confirmRepair asks before acknowledged records are given up.
func (p *process) confirmRepair(c *cli.Context, dir string) error {
	if c.Bool("yes") || !isTerminal(p.in) || !isTerminal(p.err) {
		return nil
	}
	rep, err := wal.Repair(dir, wal.RepairOptions{Force: true, DryRun: true})
	if err != nil || rep.Verdict != wal.Damaged {
		return err
	}
	words := fmt.Sprintf("%s: this cuts the log behind LSN %d, and gives up", dir, rep.LastLSN)
	if rep.FirstLSN > rep.LastLSN {
		words = fmt.Sprintf("%s: this leaves no record in the log, and gives up", dir)
	}
	for _, l := range rep.Lost {
		words += fmt.Sprintf("\n%s: acknowledged records", goneText(l))
	}
	switch {
	case rep.LostUnknown:
		words += "\n" + unknownNumber
	case len(rep.Lost) == 0:
		words += "\nno record that is known of"
	}
	switch to := c.String("save-to"); {
	case c.Bool("no-save"):
		words += "\nwhat is removed is not saved"
	case to != "":
		words += "\nwhat is removed is saved in " + to
	default:
		words += "\nwhat is removed is saved in " + filepath.Join(dir, "lost")
	}
	return p.confirm(c, words)
}

// repairReport is what repair says.
type repairReport struct {
	outcome
	Dir         string       `json:"dir"`
	DryRun      bool         `json:"dry_run,omitempty"`
	Verdict     wal.Verdict  `json:"verdict"` // before the repair
	Trimmed     bool         `json:"trimmed"`
	FirstLSN    wal.LSN      `json:"first_lsn"`
	LastLSN     wal.LSN      `json:"last_lsn"`
	DurableLSN  wal.LSN      `json:"durable_lsn"`
	TornBytes   int64        `json:"torn_bytes"`
	Lost        []wal.Range  `json:"lost"`                   // acknowledged records
	LostUnknown bool         `json:"lost_unknown,omitempty"` // and more, of which nobody knows how many
	Behind      []wal.Range  `json:"behind"`                 // intact ones behind the tail or the damage
	Saved       []string     `json:"saved"`
	Damage      []wal.Damage `json:"damage"`
	Warnings    []string     `json:"warnings,omitempty"`
	Seconds     float64      `json:"seconds"`
	force       bool
	savedTo     string
}

// print writes the report to stdout.
func (r *repairReport) print(p *process) error {
	var t table
	found := foundWords(r.Verdict, r.FirstLSN, r.LastLSN, r.DurableLSN, r.Damage)
	if len(r.Lost) > 0 { // the numbers are those behind the repair
		found = verdictWords(r.Verdict)
	}
	t.add("found", found)
	t.damage(r.Damage)
	t.behind(r.Verdict, r.TornBytes, r.Behind)
	lost := "lost"
	switch {
	case r.DryRun && (r.Verdict == wal.Torn || r.Verdict == wal.Damaged && r.force):
		t.add("to do", fmt.Sprintf("cut behind LSN %d", r.LastLSN))
		lost = "to lose"
	case r.Trimmed:
		t.add("done", fmt.Sprintf("cut behind LSN %d", r.LastLSN))
	case r.Verdict == wal.Clean:
		t.add("done", "nothing: there is nothing to repair")
	default:
		t.add("done", "nothing was changed")
	}
	for _, l := range r.Lost {
		t.add(lost, lsnText(l.First, l.Last)+": acknowledged records")
	}
	if r.LostUnknown {
		t.add(lost, unknownNumber)
	}
	for _, s := range r.Saved {
		if r.savedTo == "" {
			s = filepath.Join(r.Dir, s)
		}
		t.add("saved", s)
	}
	t.add("records", recordsText(uint64(r.LastLSN-r.FirstLSN+1), r.FirstLSN, r.LastLSN))
	for _, w := range r.Warnings {
		t.add("warning", w)
	}
	return t.print(p.out)
}
