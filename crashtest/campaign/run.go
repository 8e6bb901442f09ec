//go:build linux

package campaign

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Limits say how long a campaign goes on, and by which choices. The zero value
// goes on until its context ends.
type Limits struct {
	Seed   uint64
	Budget time.Duration // of wall time; 0 is none; longer while nothing is verified yet
	States int64         // distinct ones that are checked; 0 is no limit

	// All goes on after a finding, up to 100 of them; without it the campaign
	// ends with the first.
	All bool

	// Mutate weakens package durability under the subject: what is found then, the
	// campaign can find. It is for subjects, not for other programs.
	Mutate Mutations

	// Dir is where scratch files are made and removed again; empty is $TMPDIR.
	Dir string

	// Cores is how many lives are lived at once; 0 is one for each processor.
	Cores int

	// Progress, if set, is called as the campaign begins and then now and
	// then, by one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far a campaign has come.
type Progress struct {
	Elapsed  time.Duration
	Lives    int64
	Distinct int64
	Findings int
}

// maxFindings is how many findings a campaign reports; it ends with the last.
const maxFindings = 100

// Run is a campaign in progress: its counts, and whether it is over. All methods
// may be called at once from several goroutines.
type Run struct {
	limits Limits
	ctx    context.Context
	began  time.Time
	cores  int

	states, distinct, lives atomic.Int64
	over                    atomic.Pointer[string]

	mu       sync.Mutex
	findings []Finding
	told     time.Time
}

// Begin starts a campaign.
func Begin(ctx context.Context, l Limits) *Run {
	r := &Run{limits: l, ctx: ctx, began: time.Now(), cores: l.Cores}
	if r.cores <= 0 {
		r.cores = runtime.GOMAXPROCS(0)
	}
	return r
}

// Cores returns how many lives are to be lived at once.
func (r *Run) Cores() int { return r.cores }

// Context returns the campaign's context: the one that it was started with, without its
// budget.
func (r *Run) Context() context.Context { return r.ctx }

// Live counts a life.
func (r *Run) Live() { r.lives.Add(1) }

// Add counts states, distinct ones among them.
func (r *Run) Add(states, distinct int64) {
	r.states.Add(states)
	r.distinct.Add(distinct)
}

// AddOne counts a distinct state, unless there are as many as there are to be.
func (r *Run) AddOne() bool {
	if n := r.distinct.Add(1); r.limits.States > 0 && n > r.limits.States {
		r.distinct.Add(-1)
		return false
	}
	r.states.Add(1)
	return true
}

// Distinct returns how many distinct states were checked so far.
func (r *Run) Distinct() int64 { return r.distinct.Load() }

// Over reports whether the campaign is to end, and shows progress.
func (r *Run) Over() bool {
	if r.over.Load() != nil {
		return true
	}
	now := time.Now()
	switch {
	case r.ctx.Err() != nil:
		r.stop("interrupted")
	case r.limits.Budget > 0 && now.Sub(r.began) >= r.limits.Budget && r.hasTried():
		r.stop("budget")
	case r.limits.States > 0 && r.distinct.Load() >= r.limits.States:
		r.stop("states")
	default:
		r.tell(now)
		return false
	}
	return true
}

// hasTried reports whether a budget may end the campaign: something is verified, or
// so much was tried that more of the same would not help.
func (r *Run) hasTried() bool { return r.distinct.Load() > 0 || r.lives.Load() >= leastLives }

// End ends the campaign for what it has found, where it is not the first finding that does.
func (r *Run) End() { r.stop("finding") }

// Stopped returns why the campaign is over, or nothing.
func (r *Run) Stopped() string {
	if why := r.over.Load(); why != nil {
		return *why
	}
	return ""
}

// stop ends the campaign; the first reason counts.
func (r *Run) stop(why string) { r.over.CompareAndSwap(nil, &why) }

// tell shows progress at once, and then five times a second.
func (r *Run) tell(now time.Time) {
	if r.limits.Progress == nil || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if now.Sub(r.told) < time.Second/5 {
		return
	}
	r.told = now
	r.limits.Progress(Progress{
		Elapsed: now.Sub(r.began), Lives: r.lives.Load(), Distinct: r.distinct.Load(), Findings: len(r.findings),
	})
}

// Found adds a finding. One with the same kind, clause and summary counts once.
func (r *Run) Found(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.findings {
		if g.Kind == f.Kind && g.Clause == f.Clause && g.Summary == f.Summary {
			return
		}
	}
	f.States = r.distinct.Load()
	r.findings = append(r.findings, f)
	if !r.limits.All || len(r.findings) >= maxFindings {
		r.stop("finding")
	}
}

// Result returns what the campaign did, to be completed and finished by it.
func (r *Run) Result(name string) *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &Result{
		Campaign: name, Seed: r.limits.Seed, States: r.states.Load(), Distinct: r.distinct.Load(),
		Cores: r.cores, Lives: r.lives.Load(), Findings: r.findings, Stopped: "done", Mutated: r.limits.Mutate,
	}
	if why := r.over.Load(); why != nil {
		res.Stopped = *why
	}
	return res
}

// Began returns when the campaign began.
func (r *Run) Began() time.Time { return r.began }
