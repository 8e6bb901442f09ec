//go:build linux

package campaign

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what a campaign did and found. Where there are several (of the
// commands' totals), they are in Results.
type Result struct {
	Campaign   string `json:"campaign"` // kill, model, ...
	Filesystem string `json:"filesystem,omitempty"`
	Seed       uint64 `json:"seed"`

	// States were generated. Distinct ones have content that the campaign had not
	// seen before, and were really checked.
	States   int64 `json:"states"`
	Distinct int64 `json:"distinct_states"`

	Seconds float64 `json:"seconds"` // wall
	Cores   int     `json:"cores"`
	Rate    float64 `json:"states_per_second"` // distinct ones, over all cores

	Lives int64 `json:"lives"` // workloads that were run

	// Classes counts the distinct states of each class, by name, in the order
	// that the campaign has them. One that has to have members and has none is in
	// Missing: the campaign has not shown what it is for. Where states are checked
	// that are not new by their content, that is a member, too.
	Classes []Class  `json:"classes,omitempty"`
	Missing []string `json:"missing,omitempty"`

	// Situations counts the same states once more, by what went on in the subject
	// before the crash, where it tells.
	Situations []Class `json:"situations,omitempty"`

	// Unreached are those without members that have not had their turn: the
	// campaign was too short for them.
	Unreached []string `json:"unreached,omitempty"`

	// Checks say by which way states were checked, where there are several.
	Checks *Checks `json:"checks,omitempty"`

	// Mutated says how package durability was weakened: what was not found then, the
	// campaign cannot find.
	Mutated Mutations `json:"mutated,omitempty"`

	// Stopped says why it ended: budget, states, finding, interrupted or done.
	Stopped string `json:"stopped"`

	Findings []Finding `json:"findings"`

	// Unverified says why nothing was verified, where that is so: see Verdict.
	Unverified []string `json:"unverified,omitempty"`

	// Notes are in words what the numbers do not say.
	Notes []string `json:"notes,omitempty"`
}

// Class is how many states of a kind there were.
type Class struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`

	// States are all that were checked, where they are more than the distinct ones.
	States int64 `json:"states,omitempty"`
}

// Checks are what a campaign over recorded traces has checked, and by which way.
type Checks struct {
	// Pure are states that were recovered in memory, by a function of bytes; Real
	// are those that were recovered on real files, by all that the subject does
	// when it starts. Some were recovered both ways.
	Pure int64 `json:"pure"`
	Real int64 `json:"real"`

	// Moments are the places of traces of which states were checked; of the Whole
	// ones all states.
	Moments int64 `json:"moments"`
	Whole   int64 `json:"whole_moments"`

	// Events are those of the traces that began in an empty directory, Shortest
	// those of the shortest of them.
	Events   int64 `json:"events"`
	Shortest int64 `json:"shortest_trace"`
}

// Count adds n to a class.
func (r *Result) Count(name string, n int64) {
	i := slices.IndexFunc(r.Classes, func(c Class) bool { return c.Name == name })
	if i < 0 {
		r.Classes = append(r.Classes, Class{Name: name})
		i = len(r.Classes) - 1
	}
	r.Classes[i].Count += n
}

// Finish completes what follows from the counts. Every class must have had its
// Count, be it 0.
func (r *Result) Finish(began time.Time) {
	r.Seconds = time.Since(began).Seconds()
	if r.Seconds > 0 {
		r.Rate = float64(r.Distinct) / r.Seconds
	}
	for _, c := range r.Classes {
		if c.Count == 0 && c.States == 0 {
			r.Missing = append(r.Missing, c.Name)
		}
	}
	if r.Findings == nil {
		r.Findings = []Finding{} // a list in JSON, not null
	}
	if r.Distinct == 0 && len(r.Findings) == 0 {
		r.Unverified = r.whyUnverified()
	}
}

// NotReached says of the classes without a member, once the result is finished,
// that they have not had their turn.
func (r *Result) NotReached() {
	if len(r.Missing) == 0 {
		return
	}
	r.Unreached = append(r.Unreached, r.Missing...)
	r.Missing = nil
	r.Notes = append(r.Notes, fmt.Sprintf("%d states are too few to come to: %s", r.Distinct, strings.Join(r.Unreached, ", ")))
}
