//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// crashFaultCommand returns `seawall crash fault`.
func crashFaultCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "fault",
		Usage: "have the disk fail under ext4, xfs and btrfs",
		Flags: append(powerFlags("run"),
			&cli.BoolFlag{Name: "broken-disk", DisableDefaultText: true, Usage: "break the disk's promises instead"}),
		Description: "It runs a workload on a real filesystem, on a device that fails one\n" +
			"request, or all from one on: a write of data, of the journal or of other\n" +
			"metadata with EIO, any write with ENOSPC, as a device that is provisioned\n" +
			"thinly, a flush, or a read while the program recovers. Then the device\n" +
			"works again. In half of the lives the program recovers at once, where\n" +
			"the page cache may hold what the device does not, and then the power is\n" +
			"cut; in the others the filesystem is unmounted before the device works\n" +
			"again. Each time what was acknowledged has to be there, also by what was\n" +
			"told after the failure. Errors are what the program should return.\n\n" +
			"Without commands it is about Seawall's own log, whose errors have to name\n" +
			"the file, too. With --workload and --check it is about any program, with\n" +
			"the contract of `seawall crash power --help`; its workload may fail.\n\n" +
			"The table says of each fault how many lives met it, in how many of them\n" +
			"the program returned an error, after how many the filesystem took no more\n" +
			"writes, or was not mounted again, and what was found. A state is a life\n" +
			"in which the device has failed. It needs what `crash power` needs.\n\n" +
			brokenHelp,
		Action: p.reporting(p.crashFault),
	}
}

// crashFault runs `seawall crash fault`.
func (p *process) crashFault(c *cli.Context) (reporter, error) {
	if c.Bool("broken-disk") && c.IsSet("workload") {
		return nil, usage("crash fault: --broken-disk is about Seawall's own log: a program cannot be asked what it believes")
	}
	o, filesystems, done, err := p.powerOptions(c)
	if err != nil {
		return nil, err
	}
	defer done()
	if c.Bool("broken-disk") {
		return runBrokenDisk(o, filesystems, done)
	}
	ctx, stop := untilSignal()
	defer stop()
	r, err := powerloss.RunFaults(ctx, o, filesystems)
	done()
	return filesystemsReport(ctx, &faultReport{FaultResult: r}, r.Results, r.Result, err)
}

// replayFault replays a token of `crash fault`.
func replayFault(ctx context.Context, _ *process, o *replayOptions) (*campaign.Result, error) {
	if o.keep != "" {
		return nil, usage("crash replay: --keep is not for a token of `crash fault`: its state is that of a cache")
	}
	return powerloss.ReplayFault(ctx, o.token, powerloss.Options{Limits: campaign.Limits{Dir: o.dir}, Subject: &seawall.Log{}})
}

// faultReport is what `crash fault` says.
type faultReport struct {
	outcome
	*powerloss.FaultResult
}

// print implements reporter.
func (r *faultReport) print(p *process) error {
	var t table
	t.add("fault", fmt.Sprintf("%s, one a life, with seed %d in %s on %s",
		plural(uint64(r.Distinct), "fault"), r.Seed, seconds(r.Seconds), plural(uint64(r.Cores), "core")))
	for _, one := range r.Results {
		for i, note := range one.Notes {
			t.add(map[bool]string{true: one.Filesystem}[i == 0], note)
		}
		t.add("faults", "on "+one.Filesystem+", and how the lives ended that met them:")
		var rows [][]string
		for _, o := range r.Faults {
			if o.Filesystem == one.Filesystem {
				rows = append(rows, []string{o.Fault, count(o.Met), count(o.Noticed), count(o.Stopped), count(o.Refused), count(o.Broken)})
			}
		}
		for _, line := range columns([]string{"fault", "met", "error", "read-only", "not mounted", "found"}, rows) {
			t.lines = append(t.lines, "  "+line)
		}
	}
	t.findings(r.Result)
	return t.print(p.out)
}
