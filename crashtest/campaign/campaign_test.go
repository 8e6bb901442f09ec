//go:build linux

package campaign_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

func TestShrink(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		items := rng.Perm(1 + rng.IntN(60))
		need := items[:rng.IntN(min(5, len(items)+1))]
		asked := 0
		got := campaign.Shrink(items, func(part []int) bool {
			asked++
			return !slices.ContainsFunc(need, func(n int) bool { return !slices.Contains(part, n) })
		})
		if !cmp.Equal(slices.Clone(got), slices.Clone(need)) && len(got)+len(need) > 0 {
			t.Fatalf("seed %d: %d of %d, want %d", seed, got, items, need)
		}
		if asked > 8*(len(need)+1)*12 {
			t.Errorf("seed %d: %d questions for %d of %d", seed, asked, len(need), len(items))
		}
	}
}

// TestShrinkMinimal shrinks what fails in more than one way: whatever is left,
// nothing can be left out of it.
func TestShrinkMinimal(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		items := rng.Perm(40)
		weight := rng.IntN(200)
		fails := func(part []int) bool {
			sum := 0
			for _, n := range part {
				sum += n
			}
			return sum >= weight
		}
		got := campaign.Shrink(items, fails)
		if !fails(got) {
			t.Fatalf("seed %d: %d does not fail", seed, got)
		}
		for i := range got {
			if fails(slices.Delete(slices.Clone(got), i, i+1)) {
				t.Errorf("seed %d: %d can be left out of %d", seed, got[i], got)
			}
		}
	}
}

func TestToken(t *testing.T) {
	type details struct {
		Subject string
		Lost    []int
	}
	want := details{"log each", []int{1, 700, 3}}
	token, err := campaign.Token("model", want)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(token, " \n\t") {
		t.Errorf("more than a word: %q", token)
	}
	var got details
	if err := campaign.ParseToken(token, "model", &got); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%+v, %v", got, err)
	}
	if name, err := campaign.TokenCampaign(token); err != nil || name != "model" {
		t.Errorf("%q, %v", name, err)
	}
	wrong := map[string]string{
		"empty": "", "no dot": "model1", "cut off": token[:len(token)-3], "other campaign": "kill" + token[5:],
		"other version": "model9" + token[6:], "changed": strings.Replace(token, token[9:10], "-", 1), "word": "hello.world",
	}
	for name, token := range wrong {
		if err := campaign.ParseToken(token, "model", &got); !errors.Is(err, campaign.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name   string
		ctx    context.Context
		limits campaign.Limits
		do     func(*campaign.Run)
		over   bool
		why    string
	}{
		{"nothing", t.Context(), campaign.Limits{}, func(*campaign.Run) {}, false, "done"},
		{"budget", t.Context(), campaign.Limits{Budget: 1}, func(r *campaign.Run) { time.Sleep(time.Millisecond); r.AddOne() }, true, "budget"},
		{"budget, and nothing is verified yet", t.Context(), campaign.Limits{Budget: 1}, func(r *campaign.Run) { time.Sleep(time.Millisecond); r.Live() }, false, "done"},
		{"budget, and nothing can be verified", t.Context(), campaign.Limits{Budget: 1}, func(r *campaign.Run) {
			time.Sleep(time.Millisecond)
			for range 20 {
				r.Live()
			}
		}, true, "budget"},
		{"states", t.Context(), campaign.Limits{States: 3}, func(r *campaign.Run) { r.Add(9, 3) }, true, "states"},
		{"not yet", t.Context(), campaign.Limits{States: 3}, func(r *campaign.Run) { r.Add(9, 2) }, false, "done"},
		{"finding", t.Context(), campaign.Limits{}, func(r *campaign.Run) { r.Found(campaign.Finding{}) }, true, "finding"},
		{"all findings", t.Context(), campaign.Limits{All: true}, func(r *campaign.Run) { r.Found(campaign.Finding{}) }, false, "done"},
		{"interrupted", ctx, campaign.Limits{Budget: 1}, func(*campaign.Run) {}, true, "interrupted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := campaign.Begin(tt.ctx, tt.limits)
			tt.do(r)
			if r.Over() != tt.over || r.Result("x").Stopped != tt.why {
				t.Errorf("over %v, %s", r.Over(), r.Result("x").Stopped)
			}
		})
	}
}

func TestSameFindingOnce(t *testing.T) {
	r := campaign.Begin(t.Context(), campaign.Limits{All: true})
	f := campaign.Finding{Kind: campaign.Lost, Clause: "C2", Summary: "record 7"}
	r.Found(f)
	f.Token = "another"
	r.Found(f)
	f.Summary = "record 8"
	r.Found(f)
	if res := r.Result("x"); len(res.Findings) != 2 {
		t.Errorf("%+v", res.Findings)
	}
}

// TestMissingClass finishes a result with a class that no state was of.
func TestMissingClass(t *testing.T) {
	r := campaign.Begin(t.Context(), campaign.Limits{}).Result("x")
	r.Count("prefix", 3)
	r.Count("torn", 0)
	r.Finish(time.Now())
	if diff := cmp.Diff([]string{"torn"}, r.Missing); diff != "" {
		t.Error(diff)
	}
}

func TestChecked(t *testing.T) {
	check := func(_ string, acks []string) error {
		if len(acks) == 0 {
			t.Error("the check is asked without acknowledgements")
		}
		if slices.Contains(acks, "lost") {
			return errors.New("it is not there")
		}
		return nil
	}
	workload := func(*campaign.Life, func(string)) error { return nil }
	s := campaign.Checked("x", workload, check, nil)
	f, err := s.Recover("dir")
	if err != nil {
		t.Fatal(err)
	}
	if b := campaign.Check(f, campaign.Acks{"a"}, false); b != nil {
		t.Error(b)
	}
	if b := campaign.Check(f, campaign.Acks{"a", "lost"}, false); b == nil || b.Kind != campaign.Lost {
		t.Error(b)
	}
	if b := campaign.Check(f, nil, false); b != nil {
		t.Error(b)
	}
	s = campaign.Checked("x", workload, check, func(string) error { return errors.New("nobody wrote that") })
	if f, err = s.Recover("dir"); err != nil {
		t.Fatal(err)
	}
	for _, acks := range []campaign.Known{nil, campaign.Acks{"a"}} {
		if b := campaign.Check(f, acks, false); b == nil || b.Kind != campaign.Illegal {
			t.Errorf("%v: %v", acks, b)
		}
	}
}
