//go:build linux

package powerloss

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Result is what campaigns on several filesystems did: in sum, and each.
type Result struct {
	*campaign.Result
	Results []*campaign.Result `json:"results"`

	// Marks say on which filesystems each mark was missed. One that nobody asked for is left out.
	Marks []MarkResult `json:"marks"`
}

// MarkResult says where a mark was missed.
type MarkResult struct {
	Mark  Mark        `json:"mark"`
	Shows []MarkShows `json:"shows"`
}

// MarkShows says whether a mark was missed on a filesystem, and in how many states: until it was
// found, or all that were checked.
type MarkShows struct {
	Filesystem string `json:"filesystem"`
	Missed     bool   `json:"missed"`
	States     int64  `json:"states"`
}

// RunAll runs a campaign on each filesystem, one after the other, with an equal
// share of the limits. What is found on one does not keep the others from running.
func RunAll(ctx context.Context, o Options, filesystems []Filesystem) (*Result, error) {
	var asked []Mark
	all, err := runEach(ctx, o, filesystems, func(ctx context.Context, o Options) (*campaign.Result, error) {
		r, marks, err := runCuts(ctx, o)
		asked = append(asked, marks...)
		return r, err
	})
	all.marks(asked)
	return all, err
}

// runEach runs campaigns on the filesystems.
func runEach(ctx context.Context, o Options, filesystems []Filesystem, run func(context.Context, Options) (*campaign.Result, error)) (*Result, error) {
	began := time.Now()
	all := &Result{Result: &campaign.Result{Campaign: campaignName, Seed: o.Seed, Stopped: "done"}}
	budget, states := o.Budget, o.States
	for i := range filesystems {
		if err := filesystems[i].ready(); err != nil {
			return all, err
		}
	}
	var err error
	for i, f := range filesystems {
		left := len(filesystems) - i
		if o.Filesystem = f; budget > 0 {
			o.Budget = max(time.Millisecond, (budget-time.Since(began))/time.Duration(left))
		}
		if states > 0 {
			o.States = max(1, (states-all.Distinct)/int64(left))
		}
		r, rerr := run(ctx, o)
		err = errors.Join(err, rerr)
		if r != nil {
			all.add(r)
		}
		if err != nil || ctx.Err() != nil {
			break
		}
	}
	all.Finish(began)
	all.Missing = nil // of the sum; each filesystem's own counts
	for _, r := range all.Results {
		for _, name := range r.Missing {
			all.Missing = append(all.Missing, r.Filesystem+": "+name)
		}
	}
	return all, err
}

// marks fills in the marks that were asked for.
func (r *Result) marks(asked []Mark) {
	for _, mark := range []Mark{Whole, Acknowledged} {
		m := MarkResult{Mark: mark}
		for _, one := range r.Results {
			s := MarkShows{Filesystem: one.Filesystem, States: one.Distinct}
			for _, f := range one.Findings {
				if markOf(f.Kind) == mark && !s.Missed {
					s.Missed, s.States = true, f.States
				}
			}
			m.Shows = append(m.Shows, s)
		}
		if slices.Contains(asked, mark) {
			r.Marks = append(r.Marks, m)
		}
	}
}

// add adds one filesystem's result.
func (r *Result) add(one *campaign.Result) {
	r.Results = append(r.Results, one)
	r.Filesystem = strings.Trim(r.Filesystem+","+one.Filesystem, ",")
	r.States += one.States
	r.Distinct += one.Distinct
	r.Lives += one.Lives
	r.Cores, r.Stopped, r.Mutated = one.Cores, one.Stopped, one.Mutated
	r.Findings = append(r.Findings, one.Findings...)
	for _, why := range one.Unverified {
		r.Unverified = append(r.Unverified, one.Filesystem+": "+why)
	}
	for _, c := range one.Classes {
		r.Count(c.Name, c.Count)
		for i := range r.Classes {
			if r.Classes[i].Name == c.Name {
				r.Classes[i].States += c.States
			}
		}
	}
}
