//go:build linux

package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/doctor"
)

// crashDoctorCommand returns `seawall crash doctor`.
func crashDoctorCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "tell what of the crash lab runs here",
		Flags: []cli.Flag{dirFlag(), jsonFlag()},
		Description: "It kills a process, checks a state of the model, traces a child, makes a\n" +
			"memory cgroup, and looks for the rest. Each gets yes, or the one line\n" +
			"that enables it. Nothing is left behind.\n\n" +
			"kill, model        campaigns that run everywhere\n" +
			"exact              kills within the copy of a record, by ptrace\n" +
			"ext4, xfs, btrfs   filesystems for `crash power` and `crash fault`\n" +
			"cgroups            limits of memory\n" +
			"fuse, loop         devices of the lab's own, below a filesystem\n\n" +
			"It exits with 0 if kill and model run, else with 3.",
		Action: p.reporting(p.crashDoctor),
	}
}

// crashDoctor runs `seawall crash doctor`.
func (p *process) crashDoctor(c *cli.Context) (reporter, error) {
	if c.Args().Present() {
		return nil, usage("crash doctor: it takes no arguments, only flags: %q", c.Args().Slice())
	}
	dir, err := scratchOf(c)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilSignal()
	defer stop()
	checks, err := doctor.Examine(ctx, dir)
	if err != nil {
		return nil, ended(ctx, err)
	}
	report := &doctorReport{Checks: checks}
	if missing := doctor.Missing(checks); len(missing) > 0 {
		return report, usage("crash doctor: %s cannot run here", strings.Join(missing, " and "))
	}
	return report, nil
}

// doctorReport is what `crash doctor` says.
type doctorReport struct {
	outcome
	Checks []doctor.Check `json:"checks"`
}

// print implements reporter.
func (r *doctorReport) print(p *process) error {
	var t table
	for _, c := range r.Checks {
		answer := "yes"
		if !c.OK {
			answer = "no: " + strings.ReplaceAll(c.Enable, "\n", "; ")
		}
		t.add(c.Name, answer)
	}
	return t.print(p.out)
}
