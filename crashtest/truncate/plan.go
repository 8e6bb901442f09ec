//go:build linux

package truncate

import "math/rand/v2"

// Plan is one life: all that a replay needs.
type Plan struct {
	Log    string `json:"log,omitempty"` // which of subjects; empty is the log
	Seed   uint64 `json:"seed"`          // of what the writer does
	Change string `json:"change"`
	Target string `json:"target"`
	File   int    `json:"file"`   // which of several such files
	At     uint16 `json:"at"`     // an offset, as a share of the file's size
	Moment string `json:"moment"` // and at which of these:
	Nth    int    `json:"nth"`
	Wait   int    `json:"wait,omitempty"` // microseconds until an instant
}

// newPlan returns the life with a number. As many lives as there are pairs of a change
// and a moment come to each pair once, and the first few to each change.
func newPlan(log string, seed, number uint64) *Plan {
	rng := rand.New(rand.NewPCG(seed, number))
	n := uint64(len(changes))
	c, m := &changes[number%n], &moments[(number/n+number)%uint64(len(moments))]
	p := &Plan{
		Log: log, Seed: rng.Uint64(), Change: c.name, Target: targets[rng.IntN(len(targets))],
		File: rng.IntN(16), At: uint16(rng.Uint32()), Moment: m.name,
	}
	if m.many > 0 {
		p.Nth = rng.IntN(m.many)
	} else {
		p.Wait = rng.IntN(20_000)
	}
	return p
}
