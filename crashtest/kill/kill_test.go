//go:build linux

package kill_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// subjects are those of this binary's own.
func subjects() map[string]campaign.Subject {
	list := make(map[string]campaign.Subject)
	for _, s := range []campaign.Subject{
		&seawall.Log{},
		&seawall.Log{Label: "buffering", Before: func(l *wal.Log) seawall.Appender { return &buffering{to: l} }},
		&seawall.Log{Label: "halving", Before: func(l *wal.Log) seawall.Appender { return halving{l} }},
		misjudging{&seawall.Log{Label: "misjudging"}},
		campaign.Checked("lines", linesWorkload(false), linesCheck, linesLegal),
		campaign.Checked("lines, acked before they are written", linesWorkload(true), linesCheck, linesLegal),
	} {
		list[s.Name()] = s
	}
	return list
}

// linesWorkload appends numbered lines to a file, by write(2).
func linesWorkload(early bool) func(*campaign.Life, func(string)) error {
	return func(l *campaign.Life, ack func(string)) (err error) {
		d, err := durability.OpenDir(l.Dir, l.Tracer)
		if err != nil {
			return err
		}
		defer d.Close()
		old, err := os.ReadFile(filepath.Join(l.Dir, "lines"))
		var f *durability.File
		if errors.Is(err, os.ErrNotExist) {
			f, err = d.Create("lines", 0o600)
		} else if err == nil {
			f, err = d.Open("lines", true)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		end := int64(len(old))
		for n, life := bytes.Count(old, []byte("\n")), 0; life < 300; n, life = n+1, life+1 {
			if early {
				ack(fmt.Sprint(n))
			}
			line := fmt.Appendln(nil, n)
			if _, err := f.WriteAt(line, end); err != nil {
				return err
			}
			end += int64(len(line))
			if !early {
				ack(fmt.Sprint(n))
			}
			if n%10 == 9 {
				if err := f.Sync(); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// linesCheck checks what linesWorkload left.
func linesCheck(dir string, acks []string) error {
	data, err := os.ReadFile(filepath.Join(dir, "lines"))
	if err != nil && (len(acks) > 0 || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	lines := strings.Fields(string(data))
	for i, line := range lines {
		if line != fmt.Sprint(i) {
			return fmt.Errorf("line %d is %q", i, line)
		}
	}
	if len(acks) > len(lines) {
		return fmt.Errorf("%d lines", len(lines))
	}
	return nil
}

// linesLegal accepts what no acknowledgement is needed to accept.
func linesLegal(dir string) error { return linesCheck(dir, nil) }

// TestLog kills the log: nothing is found, in any place.
func TestLog(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	r, err := kill.Run(t.Context(), kill.Options{
		Limits:  campaign.Limits{Seed: seed, Dir: fastDir(t), States: int64(times(40, 1000)), All: true},
		Subject: &seawall.Log{},
	})
	must(t, err)
	for _, f := range r.Findings {
		t.Errorf("%s %s: %s\nseawall crash replay %s", f.Kind, f.Clause, f.Summary, f.Token)
	}
	mustTrace(t, r)
	if missing := append(r.Missing, r.Unreached...); len(missing) > 0 {
		t.Errorf("no kill in %v of %v", missing, r.Classes)
	}
	if r.Survival.Exact == 0 || r.Survival.Blind == 0 || r.Survival.Survived == 0 || r.Survival.Survived > r.Survival.Unacked {
		t.Errorf("survival %+v", r.Survival)
	}
	t.Logf("%d verified kills, %.0f a second: %v; making %v", r.Distinct, r.Rate, r.Classes, r.Survival.InProgress)
}

// TestExact aims: each place is met, a copy is met within.
func TestExact(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	for _, place := range []kill.Place{kill.Copy, kill.Sync, kill.Rotation, kill.Cut, kill.Recovery} {
		met := 0
		ctx, enough := context.WithCancel(t.Context())
		defer enough()
		r, err := kill.Run(ctx, kill.Options{
			Limits: campaign.Limits{Seed: seed, Dir: fastDir(t), States: 100, Cores: 1},
			Aims:   []kill.Place{place}, Subject: &seawall.Log{},
			OnKill: func(k kill.Kill) {
				if k.Aim == "" || k.Place != place || place == kill.Copy && k.Begun > k.Appended+1 {
					return // within a batch, a step between two records will do
				}
				if met++; met == int(times(2, 20)) {
					enough()
				}
				if place == kill.Copy && (k.Found <= 0 || k.Found >= k.Of || k.Begun == k.Appended || *k.Recovered >= k.Begun) {
					t.Errorf("killed %s, and found %+v", k.Aim, k)
				}
			},
		})
		must(t, err)
		mustTrace(t, r)
		if met == 0 || len(r.Findings) > 0 {
			t.Errorf("%s: %d kills, findings %v", place, met, r.Findings)
		}
		t.Logf("%s: %d of %d kills at a step", place, met, r.Distinct)
	}
}

// TestPlanted: a campaign finds what is wrong, from each of some seeds; from many,
// where there is time.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		subject string
		seeds   uint64
		blind   bool
		kinds   []campaign.Kind
	}{
		{"buffering", times(8, 100), false, []campaign.Kind{campaign.Lost, campaign.Illegal}},
		{"halving", times(2, 5), false, []campaign.Kind{campaign.Illegal}},
		{"misjudging", times(2, 10), false, []campaign.Kind{campaign.Illegal}},
		{"lines, acked before they are written", times(2, 5), true, []campaign.Kind{campaign.Lost}},
		{"lines, acked before they are written", times(1, 2), false, []campaign.Kind{campaign.Lost}},
	} {
		t.Run(fmt.Sprintf("%s, blind %t", c.subject, c.blind), func(t *testing.T) {
			t.Parallel()
			dir := fastDir(t)
			for seed := range c.seeds {
				o := kill.Options{
					Limits:  campaign.Limits{Seed: seed, Dir: dir, States: 2000},
					Subject: subjects()[c.subject], Blind: c.blind,
				}
				r, err := kill.Run(t.Context(), o)
				must(t, err)
				if len(r.Findings) != 1 || !slices.Contains(c.kinds, r.Findings[0].Kind) {
					t.Fatalf("seed %d: %d states, findings %+v", seed, r.Distinct, r.Findings)
				}
				if seed%10 == 0 {
					mustReplay(t, o, r.Findings[0])
				}
			}
		})
	}
}

// TestReplay: the tokens of aimed kills show the same again, at once or nearly so.
func TestReplay(t *testing.T) {
	t.Parallel()
	o := kill.Options{
		Limits:  campaign.Limits{Seed: newSeed(t), Dir: fastDir(t), States: int64(times(40, 150)), All: true},
		Subject: subjects()["misjudging"],
	}
	r, err := kill.Run(t.Context(), o)
	must(t, err)
	aimed := 0
	o.Tries = 4
	for _, f := range r.Findings {
		if strings.Contains(f.Summary, "blindly") {
			continue
		}
		if aimed++; aimed > int(times(5, 100)) {
			break
		}
		again, err := kill.Replay(t.Context(), f.Token, o)
		must(t, err)
		if len(again.Findings) != 1 || again.Findings[0].Kind != f.Kind || again.Findings[0].Clause != f.Clause {
			t.Errorf("%s: its replay found %+v", f.Summary, again.Findings)
		}
	}
	if aimed == 0 {
		t.Errorf("of %d findings none is of an aimed kill", len(r.Findings))
	}
	for token, want := range map[string]error{"": campaign.ErrToken, "kill1.AAAA": campaign.ErrToken, "model1.AAAAAAAA": campaign.ErrToken} {
		if _, err := kill.Replay(t.Context(), token, o); !errors.Is(err, want) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	o.Subject = subjects()["lines"]
	if _, err := kill.Replay(t.Context(), r.Findings[0].Token, o); !errors.Is(err, campaign.ErrSubject) {
		t.Errorf("the token of another subject: %v", err)
	}
}

// mustReplay has a token find the same again. A kill at no certain place depends on
// its instant, which nothing makes the same twice: it shows what the same fault
// shows then, or its replay says that it found nothing.
func mustReplay(t *testing.T, o kill.Options, f campaign.Finding) {
	t.Helper()
	o.Limits = campaign.Limits{Dir: o.Dir}
	o.Tries = 100
	r, err := kill.Replay(t.Context(), f.Token, o)
	must(t, err)
	blind := strings.Contains(f.Summary, "blindly")
	silent := len(r.Findings) == 0 && slices.Contains(r.Notes, "the finding did not show again in 100 tries")
	if blind && silent {
		return
	}
	if len(r.Findings) != 1 || !blind && (r.Findings[0].Kind != f.Kind || r.Findings[0].Clause != f.Clause) {
		t.Errorf("%s (%s): its replay found %+v, %v", f.Kind, f.Summary, r.Findings, r.Notes)
	}
}

// TestChecked: a subject that only acknowledges is killed as well, and is clean.
func TestChecked(t *testing.T) {
	t.Parallel()
	r, err := kill.Run(t.Context(), kill.Options{
		Limits:  campaign.Limits{Seed: newSeed(t), Dir: fastDir(t), States: 60, Cores: 1},
		Subject: subjects()["lines"],
	})
	must(t, err)
	if len(r.Findings) > 0 || r.Distinct != 60 || r.Survival.Acked == 0 || r.Survival.Exact == 0 {
		t.Errorf("%+v, %+v", r.Result, r.Survival)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []kill.Options{
		{Program: kill.Program{Workload: "true"}},
		{Program: kill.Program{Check: "true"}},
		{Program: kill.Program{Workload: "true", Check: "true"}, Subject: &seawall.Log{}},
		{},
		{Aims: []kill.Place{kill.Between}, Subject: &seawall.Log{}},
	} {
		if _, err := kill.Run(context.Background(), o); !errors.Is(err, kill.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestArgs: a test needs no hook in TestMain for a subject of its own.
func TestArgs(t *testing.T) {
	subject := campaign.Checked("of this test alone", linesWorkload(false), linesCheck, linesLegal)
	dir := "" // a child has no use for one
	if !kill.IsChild() {
		dir = fastDir(t)
	}
	o := kill.Options{Limits: campaign.Limits{Dir: dir, States: 5, Cores: 1}, Subject: subject, Args: kill.TestArgs(t.Name())}
	r, err := kill.Run(t.Context(), o)
	must(t, err)
	if len(r.Findings) > 0 || r.Distinct < 5 {
		t.Errorf("%+v", r.Result)
	}
	o.Args = kill.TestArgs("TestOptions") // comes to other campaigns, or to none
	if r, err = kill.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "this campaign is not about the subject") {
		t.Errorf("%v, %+v", err, r)
	}
}
