//go:build linux

package crashtest

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
)

// defaultBudget is how long a campaign of a test goes on, where neither its
// options nor SEAWALL_BUDGET say so.
const defaultBudget = 5 * time.Second

// Model checks crash states of the subject, by package model. It fails the test
// for each finding, and where nothing could be checked. It returns what was done,
// or nil after a replay: for states of every class see Missing.
func Model(t testing.TB, s campaign.Subject, o model.Options) *campaign.Result {
	t.Helper()
	if token, mine := replayOf(t, "model"); token != "" {
		if mine {
			replayModel(t, token, s, o)
		}
		return nil
	}
	limits(t, &o.Limits)
	r, err := model.Run(t.Context(), []campaign.Subject{s}, o)
	if r == nil || err != nil {
		t.Fatalf("model: %v", err)
	}
	summarize(t, r)
	return r
}

// replayOf returns the token that is to be replayed in place of a campaign, or
// nothing, and whether it is of such a campaign.
func replayOf(t testing.TB, name string) (token string, mine bool) {
	t.Helper()
	if token = os.Getenv("SEAWALL_REPLAY"); token == "" {
		return "", false
	}
	of, err := campaign.TokenCampaign(token)
	if err != nil {
		t.Fatalf("SEAWALL_REPLAY: %v", err)
	}
	if of != name {
		t.Logf("SEAWALL_REPLAY is of a campaign %s: %s does nothing", of, name)
	}
	return token, of == name
}

// replayModel fails the test for what a token shows again.
func replayModel(t testing.TB, token string, s campaign.Subject, o model.Options) {
	t.Helper()
	f, err := model.Replay(t.Context(), token, o.Dir, func(name string) campaign.Subject {
		if name == s.Name() {
			return s
		}
		return nil
	})
	switch {
	case errors.Is(err, model.ErrNotFound):
		t.Logf("replay: %v", err)
	case err != nil:
		t.Fatalf("replay: %v", err)
	default:
		report(t, f)
	}
}

// limits completes limits from the environment.
func limits(t testing.TB, l *campaign.Limits) {
	t.Helper()
	if s := os.Getenv("SEAWALL_SEED"); s == "random" {
		l.Seed = uint64(rand.Uint32())
	} else if s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SEAWALL_SEED: %v", err)
		}
		l.Seed = seed
	} else if l.Seed == 0 {
		l.Seed = uint64(rand.Uint32())
	}
	if s := os.Getenv("SEAWALL_BUDGET"); s != "" {
		budget, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("SEAWALL_BUDGET: %v", err)
		}
		l.Budget, l.States = budget, 0 // no number of states ends it before
	} else if l.Budget == 0 && l.States == 0 {
		l.Budget = defaultBudget
	}
}

// summarize tells what a campaign did, and fails the test for what it found.
func summarize(t testing.TB, r *campaign.Result) {
	t.Helper()
	t.Logf("%s: seed %d, %d lives, %d states, %d distinct, %.0f a second", r.Campaign, r.Seed, r.Lives, r.States, r.Distinct, r.Rate)
	for _, c := range r.Classes {
		t.Logf("  %-34s %d", c.Name, c.Count)
	}
	if c := r.Checks; c != nil {
		t.Logf("  %d recovered in memory, %d on real files; %d moments, of %d every state", c.Pure, c.Real, c.Moments, c.Whole)
	}
	for _, n := range r.Notes {
		t.Logf("  %s", n)
	}
	for i := range r.Findings {
		report(t, &r.Findings[i])
	}
	if err := r.Verdict(); errors.Is(err, campaign.ErrUnverified) {
		t.Error(err)
	}
}

// report fails the test for a finding.
func report(t testing.TB, f *campaign.Finding) {
	t.Helper()
	t.Errorf("%s\nreplay: SEAWALL_REPLAY=%s", f.Summary, f.Token)
	for _, lost := range f.Lost {
		t.Logf("  lost: %s", lost)
	}
}

// reportReplay fails the test for what a replay has shown again.
func reportReplay(t testing.TB, r *campaign.Result) {
	t.Helper()
	for i := range r.Findings {
		report(t, &r.Findings[i])
	}
	for _, n := range r.Notes {
		t.Logf("replay: %s", n)
	}
}
