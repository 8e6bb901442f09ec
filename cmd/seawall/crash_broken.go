//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// brokenDisk is the name of campaigns on broken disks, and the flag that asks for one.
const brokenDisk = "broken-disk"

// brokenHelp tells what --broken-disk does.
const brokenHelp = "With --broken-disk the device breaks its promises instead, and returns no\n" +
	"error: a flush lies, once or from then on, and the power is cut; a cut\n" +
	"tears a sector, whose rest is old or garbage; a bit flips at rest, or in\n" +
	"what is read, once; a write is lost, or lies at another place. All but\n" +
	"the flushes are aimed at the log's files. Nothing can keep what such a\n" +
	"device loses, and that is no finding. The table says what came of it:\n\n" +
	"refused   the filesystem is not mounted\n" +
	"harmless  all that was acknowledged is there\n" +
	"told      verify, open or reading report damage, or fail\n" +
	"torn      something acknowledged is missing at the end, and open\n" +
	"          reports a torn end\n" +
	"older     the log is as it was at an earlier moment, and nothing on\n" +
	"          the device tells of a later one\n" +
	"believed  a record is served that was never appended so, or one is\n" +
	"          missing and nothing is told, though it could be known\n\n" +
	"What is believed is a finding. It is about Seawall's own log alone."

// runBrokenDisk runs `seawall crash fault --broken-disk`.
func runBrokenDisk(o powerloss.Options, filesystems []powerloss.Filesystem, done func()) (reporter, error) {
	ctx, stop := untilSignal()
	defer stop()
	r, err := powerloss.RunBroken(ctx, o, filesystems)
	done()
	return filesystemsReport(ctx, &brokenReport{BrokenResult: r}, r.Results, r.Result, err)
}

// replayBrokenDisk replays a token of `crash fault --broken-disk`.
func replayBrokenDisk(ctx context.Context, _ *process, o *replayOptions) (*campaign.Result, error) {
	return powerloss.ReplayBroken(ctx, o.token, o.keep, powerloss.Options{Limits: campaign.Limits{Dir: o.dir}, Subject: &seawall.Log{}})
}

// brokenReport is what `crash fault --broken-disk` says.
type brokenReport struct {
	outcome
	*powerloss.BrokenResult
}

// print implements reporter.
func (r *brokenReport) print(p *process) error {
	var t table
	t.add("broken", fmt.Sprintf("%s of broken disks, with seed %d in %s on %s",
		plural(uint64(r.Distinct), "state"), r.Seed, seconds(r.Seconds), plural(uint64(r.Cores), "core")))
	for _, one := range r.Results {
		for i, note := range one.Notes {
			t.add(map[bool]string{true: one.Filesystem}[i == 0], note)
		}
		t.add("disks", "on "+one.Filesystem+", how they are broken, and what came of it:")
		var rows [][]string
		for _, o := range r.Outcomes {
			if o.Filesystem == one.Filesystem {
				rows = append(rows, []string{
					o.Fault, count(o.States), count(o.Refused), count(o.Harmless), count(o.Told), count(o.Torn), count(o.RolledBack), count(o.Believed),
				})
			}
		}
		for _, line := range columns([]string{"fault", "states", "refused", "harmless", "told", "torn", "older", "believed"}, rows) {
			t.lines = append(t.lines, "  "+line)
		}
	}
	t.findings(r.Result)
	return t.print(p.out)
}
