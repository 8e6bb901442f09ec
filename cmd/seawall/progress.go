//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// progressLine shows how far a campaign has come, in one line on a terminal.
type progressLine struct {
	bar  *progressbar.ProgressBar
	life string // what it calls a life
}

// newProgressLine returns a line that appears with the first progress.
func newProgressLine(p *process, life string) *progressLine {
	return &progressLine{life: life, bar: progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(p.err), progressbar.OptionSpinnerType(9), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish())}
}

// show implements campaign.Limits.Progress.
func (l *progressLine) show(now campaign.Progress) {
	l.bar.Describe(fmt.Sprintf("%s: %s, %s, %s", now.Elapsed.Round(time.Second),
		plural(uint64(now.Lives), l.life), plural(uint64(now.Distinct), "state"), plural(uint64(now.Findings), "finding")))
	_ = l.bar.Add(1) // there is nobody to tell that it failed
}

// clear takes the line away.
func (l *progressLine) clear() { _ = l.bar.Clear() }
