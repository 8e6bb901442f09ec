//go:build linux

package seawall_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// liar is a log whose appends are taken for durable as soon as they begin.
type liar struct{ seawall.Log }

// Workload implements campaign.Subject.
func (s *liar) Workload(l *campaign.Life) error {
	lies := *l
	lies.Note = func(k campaign.Known) { l.Note(seawall.Overstate(k)) }
	return s.Log.Workload(&lies)
}

// TestLog checks crash states of the log.
func TestLog(t *testing.T) {
	t.Parallel()
	r := crashtest.Model(t, &seawall.Log{}, model.Options{Limits: campaign.Limits{Seed: 1, States: 3000}})
	if r == nil {
		return
	}
	if missing := append(r.Missing, r.Unreached...); len(missing) > 0 {
		t.Errorf("no state of the classes %q", missing)
	}
	sum := int64(0)
	for _, c := range r.Classes {
		sum += c.Count
	}
	if sum != r.Distinct || r.States < r.Distinct || r.Checks.Pure < r.Distinct || r.Checks.Real == 0 {
		t.Errorf("%d states, %d distinct ones, %d in classes, checks %+v", r.States, r.Distinct, sum, r.Checks)
	}
}

// times returns how often a test does a thing: less, unless SEAWALL_BUDGET gives
// it time.
func times(usually, thoroughly uint64) uint64 {
	if os.Getenv("SEAWALL_BUDGET") != "" {
		return thoroughly
	}
	return usually
}

// TestPlanted plants a fault, and finds it from each seed; the finding is shrunk,
// and its token leads to it again.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for seed := range times(10, 100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := &liar{seawall.Log{Label: "liar"}}
			r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{
				Limits: campaign.Limits{Seed: seed, States: 50_000, Cores: 1}, Depth: 1,
			})
			if err != nil || len(r.Findings) != 1 {
				t.Fatalf("%d findings in %d states, %v", len(r.Findings), r.Distinct, err)
			}
			f := r.Findings[0]
			if f.Kind != campaign.Lost || f.Clause != "C2" || len(f.Lost) > 2 {
				t.Errorf("%+v", f)
			}
			if seed%5 != 0 { // most of the time is spent in lives
				return
			}
			again, err := model.Replay(t.Context(), f.Token, "", func(string) campaign.Subject { return s })
			if err != nil {
				t.Fatalf("%v: %s", err, f.Token)
			}
			if again.Kind != f.Kind || again.Summary != f.Summary || again.Token != f.Token {
				t.Errorf("replayed: %s\nwas: %s", again.Summary, f.Summary)
			}
		})
	}
}

// TestPlantedDeep plants a fault that shows only in the life after a crash, and
// replays it.
func TestPlantedDeep(t *testing.T) {
	t.Parallel()
	s := &deep{liar{seawall.Log{Label: "deep"}}}
	for seed := range times(1, 10) {
		r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{Limits: campaign.Limits{Seed: seed, States: 300_000}})
		if err != nil || len(r.Findings) == 0 {
			t.Fatalf("seed %d: %d findings in %d states, %v", seed, len(r.Findings), r.Distinct, err)
		}
		f := r.Findings[0]
		if !strings.Contains(f.Summary, "earlier crash") {
			t.Errorf("seed %d: %s", seed, f.Summary)
		}
		again, err := model.Replay(t.Context(), f.Token, "", func(string) campaign.Subject { return s })
		if err != nil || again.Summary != f.Summary {
			t.Errorf("seed %d: %v: %+v\nwas: %s", seed, err, again, f.Summary)
		}
	}
}

// deep lies in lives that begin with what a crash left.
type deep struct{ liar }

// Workload implements campaign.Subject.
func (s *deep) Workload(l *campaign.Life) error {
	if l.Known == nil {
		return s.Log.Workload(l)
	}
	return s.liar.Workload(l)
}

// widow lies in lives that go on from the death of a process, whatever came before.
type widow struct{ liar }

// Workload implements campaign.Subject.
func (s *widow) Workload(l *campaign.Life) error {
	if !l.Killed {
		return s.Log.Workload(l)
	}
	return s.liar.Workload(l)
}

// TestPlantedDeath plants a fault that shows only when the power fails after the
// death of a process. The finding says so, and its token leads to it again.
func TestPlantedDeath(t *testing.T) {
	t.Parallel()
	const seeds = 10
	s := &widow{liar{seawall.Log{Label: "widow", Busy: true}}}
	var f campaign.Finding
	for seed := range uint64(seeds) {
		r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{Limits: campaign.Limits{Seed: seed, States: 5000, All: true}})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Findings, func(f campaign.Finding) bool {
			return strings.Contains(f.Summary, "whose unsynced stores were at stake still")
		})
		if i >= 0 {
			f = r.Findings[i]
			break
		}
	}
	if f.Token == "" {
		t.Fatalf("no campaign of %d seeds finds a power loss after a death", seeds)
	}
	again, err := model.Replay(t.Context(), f.Token, "", func(string) campaign.Subject { return s })
	if err != nil || again.Summary != f.Summary || again.Token != f.Token {
		t.Errorf("%v: %+v\nwas: %s", err, again, f.Summary)
	}
}

// TestRepaired replays a token with a subject in which the fault is repaired.
func TestRepaired(t *testing.T) {
	t.Parallel()
	r, err := model.Run(t.Context(), []campaign.Subject{&liar{}}, model.Options{Limits: campaign.Limits{Seed: 7, States: 50_000}, Depth: 1})
	if err != nil || len(r.Findings) == 0 {
		t.Fatal(r, err)
	}
	_, err = model.Replay(t.Context(), r.Findings[0].Token, "", seawall.Find)
	if err == nil || !strings.Contains(err.Error(), model.ErrNotFound.Error()) {
		t.Errorf("%v", err)
	}
}

// TestKeep keeps the state that shows a finding.
func TestKeep(t *testing.T) {
	t.Parallel()
	s := &liar{}
	r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{Limits: campaign.Limits{Seed: 9, States: 50_000}, Depth: 1})
	if err != nil || len(r.Findings) == 0 {
		t.Fatal(r, err)
	}
	keep := filepath.Join(t.TempDir(), "state")
	find := func(string) campaign.Subject { return s }
	if _, err = model.Keep(t.Context(), r.Findings[0].Token, "", keep, find); err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat(filepath.Join(keep, "log")); err != nil {
		t.Error(err)
	}
	if _, err = model.Keep(t.Context(), r.Findings[0].Token, "", keep, find); err == nil {
		t.Error("written over")
	}
}

// TestPairedLog checks what a crash leaves of a log of which two calls are in progress. What
// the lives do is left to chance, so that the campaign's coverage is not looked at.
func TestPairedLog(t *testing.T) {
	t.Parallel()
	o := model.Options{Limits: campaign.Limits{Seed: 7, States: 4000, Dir: fastDir(t)}, Keep: true}
	r, err := model.Run(t.Context(), []campaign.Subject{&seawall.Log{Paired: true}}, o)
	if err != nil || len(r.Findings) > 0 || r.Distinct < 4000 {
		t.Errorf("%d states, findings %+v, notes %q: %v", r.Distinct, r.Findings, r.Notes, err)
	}
}

// TestInterrupted ends a campaign by its context: it says what it did, and leaves
// nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	o := model.Options{Limits: campaign.Limits{Seed: 1, Dir: dir}}
	o.Progress = func(p campaign.Progress) {
		if p.Distinct > 100 {
			cancel()
		}
	}
	r, err := model.Run(ctx, seawall.Subjects(), o)
	if err != nil || r.Stopped != "interrupted" || r.Distinct < 100 {
		t.Errorf("%+v, %v", r, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
