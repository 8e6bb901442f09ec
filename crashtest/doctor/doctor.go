//go:build linux

// Package doctor tells what of the crash lab runs on a machine, and what to do where
// something does not. It tries what it can try without leaving anything behind, and
// looks for the rest.
package doctor

import (
	"context"
	"errors"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/experiment"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// Check is one part of the lab, and whether it runs.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`

	// Required are the parts that run on every machine, unless something is wrong with
	// it.
	Required bool `json:"required"`

	// Enable is the one line that says what to do where it does not run.
	Enable string `json:"enable,omitempty"`
}

// Examine examines this machine. Scratch files are made below dir, $TMPDIR if it is
// empty, and removed again. It runs a campaign of kills, whose processes are this
// binary, started anew: its main function has to call kill.BeChild with the log's
// subject. It returns an error where the context ends.
func Examine(ctx context.Context, dir string) ([]Check, error) {
	limits := campaign.Limits{Seed: 1, States: 1, Cores: 1, Dir: dir}
	checks := []Check{
		required("kill", tryKill(ctx, limits)),
		required("model", tryModel(ctx, limits)),
	}
	checks = append(checks, machine{"/"}.examine(kill.MayTrace(), experiment.MayLimitMemory())...)
	return checks, ctx.Err()
}

// Missing returns the required parts that do not run.
func Missing(checks []Check) (names []string) {
	for _, c := range checks {
		if c.Required && !c.OK {
			names = append(names, c.Name)
		}
	}
	return names
}

// required returns what trying a required part came to.
func required(name string, err error) Check {
	c := Check{Name: name, Required: true, OK: err == nil}
	if err != nil {
		c.Enable = err.Error()
	}
	return c
}

// tryKill kills the log once.
func tryKill(ctx context.Context, l campaign.Limits) error {
	r, err := kill.Run(ctx, kill.Options{Limits: l, Subject: &seawall.Log{}, Blind: true})
	if err != nil {
		return err
	}
	return verified(r.Result)
}

// tryModel checks one state of the log.
func tryModel(ctx context.Context, l campaign.Limits) error {
	r, err := model.Run(ctx, seawall.Subjects(), model.Options{Limits: l})
	if err != nil {
		return err
	}
	return verified(r)
}

// verified returns an error unless the campaign has verified something; which classes
// one state belongs to does not matter.
func verified(r *campaign.Result) error {
	if err := r.Verdict(); errors.Is(err, campaign.ErrUnverified) {
		return err
	}
	return nil
}
