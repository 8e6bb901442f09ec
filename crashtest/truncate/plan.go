//go:build linux

package truncate

import (
	"math/rand/v2"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

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

// moment is a kind of moments at which a file is changed.
type moment struct {
	name string
	who  string // writer, follower or lab

	// doing is what the writer is at, or "" for anything.
	doing string
	// of reports whether a call is such a moment. A store is a call with an Op alone.
	of func(c *durabilitytest.Call) bool
	// many is how many of them there are in a life, about.
	many int
}

// Who makes the change.
const (
	byWriter   = "writer"
	byFollower = "follower"
	byLab      = "lab"
)

// What the writer is at.
const (
	doingAppend = "append"
	doingSync   = "sync"
	doingCut    = "cut"
	doingRead   = "read"
	doingClose  = "close"
	doingOpen   = "open"
)

// moments are all of them, in the order in which they have their turns. A life that
// does not come to its own changes the file between two calls, in the end.
var moments = []moment{
	{name: "before a store", who: byWriter, many: 70, of: at(durability.OpStore, durability.Before)},
	{name: "before a sync", who: byWriter, many: 20, of: at(durability.OpMsync, durability.Before)},
	{name: "after a sync", who: byWriter, many: 20, of: at(durability.OpMsync, durability.After)},
	{name: "as files are made or removed", who: byWriter, many: 30, of: func(c *durabilitytest.Call) bool {
		switch c.Op {
		case durability.OpCreate, durability.OpWrite, durability.OpAllocate, durability.OpRename, durability.OpRemove, durability.OpSyncDir:
			return true
		}
		return false
	}},
	{name: "during a cut", who: byWriter, doing: doingCut, many: 40, of: anyCall},
	{name: "during close", who: byWriter, doing: doingClose, many: 25, of: anyCall},
	{name: "during recovery", who: byWriter, doing: doingOpen, many: 60, of: anyCall},
	{name: "as a follower reads", who: byFollower, many: 30, of: anyCall},
	{name: "between two calls", who: byWriter, many: 60},
	{name: "at an instant", who: byLab},
}

func at(op durability.Op, phase durability.Phase) func(*durabilitytest.Call) bool {
	return func(c *durabilitytest.Call) bool { return c.Op == op && c.Phase == phase }
}

func anyCall(*durabilitytest.Call) bool { return true }

// momentNamed returns the moment of a name, or nil.
func momentNamed(name string) *moment {
	for i := range moments {
		if moments[i].name == name {
			return &moments[i]
		}
	}
	return nil
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
