//go:build linux

package selftest

import (
	"context"
	"fmt"
	"hash/fnv"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/truncate"
)

// Options say how the self-test is run.
type Options struct {
	// Seed chooses the lives.
	Seed uint64
	// States bounds how many distinct states are checked of a wrong log; 0 is
	// 100,000.
	States int64
	// TwinStates is how many are checked at least of one that is mended; 0 is 300. It
	// is as many as the fault took to be found, if that is more, up to ten times that.
	TwinStates int64
	// Dir is where scratch files are made and removed again; empty is in memory,
	// where that is to be had.
	Dir string
	// Progress, if set, is told of each variant that is done, one at a time.
	Progress func(done, all int, v *Outcome)
}

const (
	defaultStates     = 100_000
	defaultTwinStates = 300

	// realEvery is of how many states one is recovered on real files: some faults
	// show only there.
	realEvery = 100

	// tries is how many campaigns search for a fault that shows as another one first.
	tries = 4

	// truncateTwinStates is how many lives with a changed file a twin is searched in, where
	// a state takes as long as a hundred of the model's: each change once.
	truncateTwinStates = 18
)

// twinSeed returns the seed of a twin: each has lives of its own.
func twinSeed(seed uint64, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return seed ^ h.Sum64()>>1
}

// Outcome is what became of one variant.
type Outcome struct {
	Name   string          `json:"name"`
	Clause campaign.Clause `json:"clause"`
	What   string          `json:"what"`

	// Campaign is the one that searched for it.
	Campaign string `json:"campaign"`
	// Found says that it was found, for the right clause.
	Found bool `json:"found"`
	// States is how many distinct states were checked until then.
	States int64 `json:"states"`
	// Finding is what was found last, also for a wrong clause.
	Finding *campaign.Finding `json:"finding,omitempty"`
	// Token replays it.
	Token string `json:"token"`

	// TwinClean says that nothing was found in the mended one, in TwinStates.
	TwinClean   bool              `json:"twin_clean"`
	TwinStates  int64             `json:"twin_states"`
	TwinFinding *campaign.Finding `json:"twin_finding,omitempty"`

	Seconds float64 `json:"seconds"`
}

// Passed reports whether the fault was found, and nothing but the fault.
func (o *Outcome) Passed() bool { return o.Found && o.TwinClean }

// Run has the campaigns search each of the variants, and its twin. It returns an
// outcome for each that it came to, also with an error: a campaign could not go on, or
// the context ended. With the same options it does the same each time, except for what
// package truncate searches, whose children are this program: it calls truncate.BeChild.
func Run(ctx context.Context, variants []Variant, o Options) ([]Outcome, error) {
	if o.States == 0 {
		o.States = defaultStates
	}
	if o.TwinStates == 0 {
		o.TwinStates = defaultTwinStates
	}
	// A campaign on one core does not go on with a second life while it shrinks what
	// it found in the first; so each processor has one variant at a time.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done, outs := 0, make([]*Outcome, len(variants))
	var mu sync.Mutex // guards done and outs
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(len(variants), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(variants); i = int(next.Add(1)) - 1 {
				out, err := test(ctx, &variants[i], &o)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				outs[i] = out
				if done++; o.Progress != nil {
					o.Progress(done, len(variants), out)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	var outcomes []Outcome
	for _, out := range outs {
		if out != nil {
			outcomes = append(outcomes, *out)
		}
	}
	return outcomes, context.Cause(ctx)
}

// search has its campaign search a variant, or its twin.
func (v *Variant) search(ctx context.Context, mended bool, l campaign.Limits) (*campaign.Result, error) {
	if v.truncated != "" {
		log := v.truncated
		if mended {
			log = truncate.Mended(log)
		}
		r, err := truncate.Run(ctx, truncate.Options{Limits: l, Log: log})
		if r == nil {
			return nil, err
		}
		return r.Result, err
	}
	s := v.Subject()
	if mended {
		s = v.Twin()
	}
	return model.Run(ctx, []campaign.Subject{s}, model.Options{Limits: l, Real: realEvery})
}

// test searches one variant, and its twin.
func test(ctx context.Context, v *Variant, o *Options) (*Outcome, error) {
	began := time.Now()
	out := &Outcome{Name: v.Name, Clause: v.Clause, What: v.What, Campaign: v.Campaign()}
	search := func(mended bool, seed uint64, states int64) (*campaign.Result, error) {
		r, err := v.search(ctx, mended, campaign.Limits{Seed: seed, States: states, Dir: o.Dir, Cores: 1})
		if err != nil {
			return nil, fmt.Errorf("selftest: %s: %w", v.Name, err)
		}
		return r, nil
	}
	// One fault may show in several ways. A campaign ends with the first that it
	// comes to; if that names another promise, another campaign searches.
	for try := uint64(0); try < tries && !out.Found; try++ {
		r, err := search(false, o.Seed+try<<32, o.States)
		if err != nil {
			return nil, err
		}
		out.States += r.Distinct
		if len(r.Findings) == 0 {
			break
		}
		f := &r.Findings[0]
		out.Finding, out.Token, out.Found = f, f.Token, v.breaks(f.Clause)
	}
	states := max(o.TwinStates, min(out.States, 10*o.TwinStates))
	if v.truncated != "" {
		states = min(states, truncateTwinStates)
	}
	r, err := search(true, twinSeed(o.Seed, v.Name), states)
	if err != nil {
		return nil, err
	}
	out.TwinStates, out.TwinClean = r.Distinct, len(r.Findings) == 0
	if !out.TwinClean {
		out.TwinFinding = &r.Findings[0]
	}
	out.Seconds = time.Since(began).Seconds()
	return out, nil
}
