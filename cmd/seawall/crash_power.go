//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// crashPowerCommand returns `seawall crash power`.
func crashPowerCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "power",
		Usage: "cut the power of ext4, xfs and btrfs, under any program",
		Flags: append(powerFlags("record"), mutateFlag(),
			&cli.BoolFlag{Name: "no-bystander", DisableDefaultText: true, Usage: "sync no unrelated file beside it"}),
		Description: "It records a workload on a real filesystem, on a device that remembers\n" +
			"every request, and makes the states that a power cut could have left:\n" +
			"what each flush left, and of what came between two flushes some\n" +
			"requests, or sectors of them, missing. Each is mounted, so that the\n" +
			"filesystem recovers, and checked. From some the workload goes on, and\n" +
			"the power is cut again. Programs run as they are, in any language; what\n" +
			"they store into mappings counts as what they write.\n\n" +
			"Without commands it is about Seawall's own log, under options and\n" +
			"workloads that the seed chooses. With --workload and --check it is about\n" +
			"any program:\n\n" +
			"seawall crash power --workload './go {dir}' --check './see {dir} {acks}'\n\n" +
			"The commands are those of `seawall crash kill`, with the contract that\n" +
			"`seawall crash kill --help` tells, but for this: the workload may end by\n" +
			"itself, with exit code 0, or is ended by SIGKILL after --run. Before any\n" +
			"power is cut, the checks have to accept what the first one left; one that\n" +
			"fails after a cut is a finding. A workload may acknowledge nothing: then\n" +
			"--check is asked whether what is there is legal.\n\n" +
			"seawall crash power --workload 'cd {dir}; test -e .git || git init -q;\n" +
			"  git commit -q --allow-empty -m x' --check 'git -C {dir} fsck'\n\n" +
			"Who has no check says --check files: a file that the workload has synced\n" +
			"may not be empty, short, filled with zeros or otherwise changed\n" +
			"afterwards, and one that it has renamed into place is the old or the new\n" +
			"one. System calls are watched for it. io_uring and Linux AIO fail with\n" +
			"ENOSYS meanwhile.\n\n" +
			mutateHelp("the log, or the program,", "your check") + "\n" +
			"The report says on which filesystems each of two marks was missed: that\n" +
			"what was acknowledged is there (--check), and that what is there is legal\n" +
			"(--legal). A program may pass one and fail the other.\n\n" +
			"With --fs ext4,xfs,btrfs,posix a program is asked on posix, too, which\n" +
			"there is not: what was synced is there, as POSIX promises, and of all\n" +
			"else anything may be lost. What shows on posix alone no filesystem of\n" +
			"today has to show. It runs in a scratch directory, watched by its system\n" +
			"calls.\n\n" +
			"A flush that another file causes may bring a name to the disk before the\n" +
			"data that belongs to it. So beside half of the workloads an unrelated\n" +
			"file is created and synced at moments that the seed chooses, and some\n" +
			"are followed by the filesystem's own commit.\n\n" +
			"Long tokens are left in files in $TMPDIR.\n\n" +
			"It needs root, FUSE, loop devices and the mkfs programs, which `seawall\n" +
			"crash doctor` looks for. Everything is mounted where nobody else sees it.",
		Action: p.reporting(p.crashPower),
	}
}

// crashPower runs `seawall crash power`.
func (p *process) crashPower(c *cli.Context) (reporter, error) {
	o, filesystems, done, err := p.powerOptions(c)
	if err != nil {
		return nil, err
	}
	defer done()
	o.NoBystander = c.Bool("no-bystander")
	ctx, stop := untilSignal()
	defer stop()
	r, err := powerloss.RunAll(ctx, o, filesystems)
	done()
	return filesystemsReport(ctx, &powerReport{Result: r}, r.Results, r.Result, err)
}

// filesystemsReport returns what a campaign on filesystems says, and how the command ends: with no
// report where it has come to none of them.
func filesystemsReport(ctx context.Context, report reporter, each []*campaign.Result, sum *campaign.Result, err error) (reporter, error) {
	switch {
	case len(each) == 0:
		return nil, err
	case err != nil:
		return report, err
	case ctx.Err() != nil:
		return report, ended(ctx, ctx.Err())
	}
	return report, crashCode(sum)
}

// powerFlags are those of a campaign on filesystems, which does something with the workload.
func powerFlags(does string) []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "fs", DefaultText: "all three", Usage: "on each `FS` of a list, by commas"},
		&cli.StringFlag{Name: "mkfs", DefaultText: "a small one", Usage: "make it by `COMMAND` and the device"},
		&cli.StringFlag{Name: "mount", DefaultText: "none", Usage: "mount it with `OPTIONS` as of mount(8)"},
	}, programFlags(does), []cli.Flag{
		&cli.DurationFlag{Name: "run", DefaultText: "5s", Usage: "end a workload after a `TIME`"},
		&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "go on after a finding"},
	}, withoutMutate(limitFlags()))
}

// powerOptions reads the flags of a campaign on filesystems, and has the command go on where nobody
// else sees what it mounts.
func (p *process) powerOptions(c *cli.Context) (o powerloss.Options, filesystems []powerloss.Filesystem, done func(), err error) {
	limits, done, err := p.limitsOf(c, "workload")
	if err != nil {
		return o, nil, done, err
	}
	limits.All = c.Bool("all")
	o = powerloss.Options{Limits: limits, Long: c.Duration("run")}
	if c.IsSet("run") && o.Long <= 0 {
		return o, nil, done, usage("--run %s: it must be above zero", o.Long)
	}
	if o.Program, err = programOf(c); err != nil {
		return o, nil, done, err
	}
	if o.Program.Workload == "" {
		if c.IsSet("run") {
			return o, nil, done, usage("crash %s: --run is about a program: --workload says which", c.Command.Name)
		}
		o.Subject = &seawall.Log{}
	}
	if filesystems, err = filesystemsOf(c); err != nil {
		return o, nil, done, err
	}
	for _, f := range filesystems {
		if f.IsPOSIX() && (o.Program.Workload == "" || c.Command.Name != "power") {
			return o, nil, done, usage("--fs posix: it is for `crash power` with --workload; `seawall crash model` asks the same of the log")
		}
	}
	return o, filesystems, done, isolate()
}

// isolate has the command go on where nobody else sees what it mounts.
func isolate() error {
	if err := blockdev.Ready(); err != nil {
		return err
	}
	return blockdev.Isolate()
}

// filesystemsOf reads --fs, --mkfs and --mount.
func filesystemsOf(c *cli.Context) ([]powerloss.Filesystem, error) {
	list := powerloss.Filesystems()
	if c.IsSet("fs") {
		list = nil
		for name := range strings.SplitSeq(c.String("fs"), ",") {
			f, err := powerloss.FindFilesystem(strings.TrimSpace(name))
			if err != nil {
				return nil, usage("--fs %s: %w", c.String("fs"), err)
			}
			list = append(list, f)
		}
	}
	for _, name := range []string{"mkfs", "mount"} {
		switch {
		case !c.IsSet(name):
		case len(list) != 1 || list[0].IsPOSIX():
			return nil, usage("--%s: it is for one filesystem: say by --fs which", name)
		case strings.TrimSpace(c.String(name)) == "":
			return nil, usage("--%s: it is empty", name)
		}
	}
	if c.IsSet("mkfs") {
		list[0].Make = strings.Fields(c.String("mkfs"))
	}
	if c.IsSet("mount") {
		list[0].Mount = strings.Trim(list[0].Mount+","+c.String("mount"), ",")
	}
	return list, nil
}

// powerReport is what `crash power` says.
type powerReport struct {
	outcome
	*powerloss.Result
}

// print implements reporter.
func (r *powerReport) print(p *process) error {
	var t table
	t.add("power", fmt.Sprintf("%s of %s that were made, with seed %d in %s on %s",
		plural(uint64(r.Distinct), "distinct state"), count(r.States), r.Seed, seconds(r.Seconds), plural(uint64(r.Cores), "core")))
	for _, one := range r.Results {
		t.add(one.Filesystem, fmt.Sprintf("%s in %s: %s a second; %s",
			plural(uint64(one.Distinct), "state"), seconds(one.Seconds), count(int64(one.Rate)), plural(uint64(one.Lives), "workload")))
		for _, note := range one.Notes {
			t.add("", note)
		}
	}
	t.add("classes", "the states by what they lack, and how many of them have content of their own:")
	var rows [][]string
	for _, class := range r.Classes {
		rows = append(rows, []string{class.Name, count(class.States), count(class.Count), share(class.Count, r.Classes)})
	}
	for _, line := range columns([]string{"class", "states", "distinct", ""}, rows) {
		t.lines = append(t.lines, "  "+line)
	}
	t.marks(r.Marks)
	t.findings(r.Result.Result)
	return t.print(p.out)
}

// marks adds on which filesystems each mark was missed.
func (t *table) marks(marks []powerloss.MarkResult) {
	if len(marks) == 0 || len(marks[0].Shows) == 0 {
		return
	}
	head, rows := []string{"mark"}, [][]string(nil)
	for _, s := range marks[0].Shows {
		head = append(head, s.Filesystem)
	}
	for _, m := range marks {
		row := []string{string(m.Mark)}
		for _, s := range m.Shows {
			row = append(row, fmt.Sprintf("%s %s", map[bool]string{true: "MISSED at", false: "kept in"}[s.Missed], count(s.States)))
		}
		rows = append(rows, row)
	}
	t.add("shows on", "on which filesystem a mark was missed, at which state:")
	for _, line := range columns(head, rows) {
		t.lines = append(t.lines, "  "+line)
	}
}

// replayPower replays a token of `crash power`.
func replayPower(ctx context.Context, _ *process, o *replayOptions) (*campaign.Result, error) {
	opts := powerloss.Options{Limits: campaign.Limits{Dir: o.dir}, Subject: &seawall.Log{}}
	if o.keep == "" {
		return powerloss.Replay(ctx, o.token, opts)
	}
	return powerloss.Keep(ctx, o.token, o.keep, opts)
}

// crashCleanupCommand returns `seawall crash cleanup`.
func crashCleanupCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:  "cleanup",
		Usage: "remove what a killed campaign has left",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", DefaultText: "everywhere", Usage: "look below `DIR` only"},
			jsonFlag(),
		},
		Description: "Campaigns clean up behind themselves, also when they are interrupted.\n" +
			"What `seawall crash power` or `crash fault` leaves that was killed with\n" +
			"SIGKILL, and the server of its disks too, is known by its name, and by a\n" +
			"lock that a campaign holds as long as it lives: mounted filesystems, loop\n" +
			"devices, processes and directories. Nothing else is touched. It needs\n" +
			"root.",
		Action: p.reporting(p.crashCleanup),
	}
}

// crashCleanup runs `seawall crash cleanup`.
func (p *process) crashCleanup(c *cli.Context) (reporter, error) {
	if c.Args().Present() {
		return nil, usage("crash cleanup: it takes no arguments, only flags: %q", c.Args().Slice())
	}
	dir, err := scratchOf(c)
	if err != nil {
		return nil, err
	}
	if !c.IsSet("dir") {
		dir = "" // everywhere
	}
	removed, err := blockdev.Cleanup(dir)
	if removed == nil {
		removed = []string{} // a list in JSON, not null
	}
	return &cleanupReport{Removed: removed}, err
}

// cleanupReport is what `crash cleanup` says.
type cleanupReport struct {
	outcome
	Removed []string `json:"removed"`
}

// print implements reporter.
func (r *cleanupReport) print(p *process) error {
	var t table
	for _, what := range r.Removed {
		t.add("removed", what)
	}
	if len(r.Removed) == 0 {
		t.add("cleanup", "nothing was left")
	}
	return t.print(p.out)
}
