//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// crashReplayCommand returns `seawall crash replay`.
func crashReplayCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "show again what a campaign has found",
		ArgsUsage: "TOKEN",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "keep", DefaultText: "nothing is kept", Usage: "leave the files that show it in `DIR`"},
			dirFlag(),
			jsonFlag(),
		},
		Description: "TOKEN is one word, which the campaign has printed, or the name of a file\n" +
			"in which it has left a long one. It exits with 1 if the finding shows\n" +
			"again, with 0 if nothing is broken any more, and with 3 if what the token\n" +
			"tells cannot be done again here.\n\n" +
			"What a model's token tells is the same each time, and so is a power cut:\n" +
			"its token carries what the disk held. A blind kill depends on its\n" +
			"instant, and a changed file on what else goes on: these are tried some\n" +
			"twenty times.\n\n" +
			"--keep leaves the state of the files that is broken, as the crash left\n" +
			"it and before any recovery, in a new directory; of a power cut the disk's\n" +
			"image, and it mounted read-only until you unmount it. What was not read\n" +
			"to show the finding may be missing in a large one.",
		Action: p.reporting(p.crashReplay),
	}
}

// replays are how the tokens of each campaign are replayed. Where nothing is
// found, the result says so.
var replays = map[string]func(ctx context.Context, p *process, o *replayOptions) (*campaign.Result, error){
	"kill":     replayKill,
	"model":    replayModel,
	"truncate": replayTruncate,
	"power":    replayPower,
	"fault":    replayFault,

	brokenDisk: replayBrokenDisk,
}

// replayOptions are what `crash replay` was told.
type replayOptions struct{ token, dir, keep string }

// crashReplay runs `seawall crash replay`.
func (p *process) crashReplay(c *cli.Context) (reporter, error) {
	if n := c.Args().Len(); n != 1 {
		return nil, usage("crash replay: one token, please, not %d: the word that a campaign has printed", n)
	}
	o := replayOptions{keep: c.String("keep")}
	var err error
	if o.token, err = tokenOf(c.Args().First()); err != nil {
		return nil, err
	}
	if o.dir, err = scratchOf(c); err != nil {
		return nil, err
	}
	if c.IsSet("keep") {
		if err = mayKeep(o.keep); err != nil {
			return nil, err
		}
	}
	name, err := campaign.TokenCampaign(o.token)
	if err != nil {
		return nil, err
	}
	replay := replays[name]
	if replay == nil {
		return nil, usage("crash replay: the token is of a campaign %q, which this seawall does not know", name)
	}
	if (name == "power" || name == "fault" || name == brokenDisk) && o.keep == "" { // what is kept has to stay mounted
		if err = isolate(); err != nil {
			return nil, err
		}
	}
	ctx, stop := untilSignal()
	defer stop()
	r, err := replay(ctx, p, &o)
	switch {
	case ctx.Err() != nil:
		return nil, ended(ctx, ctx.Err())
	case r == nil:
		return nil, err
	}
	report := &replayReport{Result: r, Shown: len(r.Findings) > 0}
	if report.Shown {
		report.Kept = o.keep
	}
	if err != nil {
		return report, err
	}
	r.Missing = nil // one state is no campaign
	return report, crashCode(r)
}

// tokenOf returns the token that an argument is, or that is in the file that it names.
func tokenOf(arg string) (string, error) {
	if st, err := os.Stat(arg); err != nil || !st.Mode().IsRegular() {
		return arg, nil
	}
	b, err := os.ReadFile(arg)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// mayKeep refuses a directory that is there, or has nowhere to be.
func mayKeep(dir string) error {
	if dir == "" {
		return usage("--keep: the directory's name is empty")
	}
	if _, err := os.Lstat(dir); err == nil {
		return usage("--keep %s: it is there already; name a new one", dir)
	}
	if _, err := os.Stat(filepath.Dir(dir)); err != nil {
		return usage("--keep %s: %w", dir, err)
	}
	return nil
}

// replayKill replays a token of `crash kill`.
func replayKill(ctx context.Context, _ *process, o *replayOptions) (*campaign.Result, error) {
	opts := kill.Options{Limits: campaign.Limits{Dir: o.dir}, Subject: &seawall.Log{}}
	var r *kill.Result
	var err error
	if o.keep == "" {
		r, err = kill.Replay(ctx, o.token, opts)
	} else {
		r, err = kill.Keep(ctx, o.token, o.keep, opts)
	}
	if r == nil {
		return nil, err
	}
	return r.Result, err
}

// replayModel replays a token of `crash model`.
func replayModel(ctx context.Context, p *process, o *replayOptions) (*campaign.Result, error) {
	var f *campaign.Finding
	var err error
	if o.keep == "" {
		f, err = model.Replay(ctx, o.token, o.dir, p.findSubject)
	} else {
		f, err = model.Keep(ctx, o.token, o.dir, o.keep, p.findSubject)
	}
	r := &campaign.Result{Campaign: "model", States: 1, Distinct: 1, Stopped: "done", Findings: []campaign.Finding{}}
	switch {
	case errors.Is(err, model.ErrNotFound):
		r.Notes = append(r.Notes, "the state was made again, and nothing is broken in it")
		return r, nil
	case err != nil:
		return nil, err
	}
	r.Seed, r.Stopped, r.Findings = f.Seed, "finding", append(r.Findings, *f)
	return r, nil
}

// replayReport is what `crash replay` says.
type replayReport struct {
	outcome
	*campaign.Result
	Shown bool   `json:"shown"` // the finding showed again
	Kept  string `json:"kept,omitempty"`
}

// print implements reporter.
func (r *replayReport) print(p *process) error {
	var t table
	command := r.Campaign
	if command == brokenDisk {
		command = "fault --" + brokenDisk
	}
	t.add("replay", fmt.Sprintf("of a finding of `seawall crash %s`", command))
	t.findings(r.Result)
	for _, note := range r.Notes {
		t.add("note", note)
	}
	if r.Kept != "" {
		t.add("kept", "the files that show it are in "+r.Kept)
	}
	return t.print(p.out)
}
