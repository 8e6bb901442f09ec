//go:build linux

package kill

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/durability"
)

// Place says what a process was about when it was killed.
type Place string

// The places. Kills can be aimed at the first five; a blind kill within an append that left no part of a record is in Append, whose steps are not
// known then.
const (
	Copy     Place = "copy"     // between the first and the last store of a record
	Sync     Place = "sync"     // making something durable
	Rotation Place = "rotation" // preparing a segment, or going on in it
	Cut      Place = "cut"      // truncating, at the front or the back, or resetting
	Recovery Place = "recovery" // opening
	Append   Place = "append"
	Between  Place = "between" // at work, and in none of these
)

// places are all of them, in the order in which they are shown.
var places = []Place{Copy, Sync, Rotation, Cut, Recovery, Append, Between}

// index returns a place's number, for the board.
func (p Place) index() uint64 { return uint64(slices.Index(places, p)) }

// placeAt returns the place with a number.
func placeAt(n uint64) Place {
	if n < uint64(len(places)) {
		return places[n]
	}
	return Between
}

// Aim is the step at which a life ends.
type Aim struct {
	Place Place            `json:"place"`
	Op    durability.Op    `json:"op,omitempty"` // 0 is any
	Phase durability.Phase `json:"phase"`
	N     int              `json:"n"` // the n-th of these, from 1

	// Share of the record's bytes that are in the file, in thousandths, for Copy.
	Share int `json:"share,omitempty"`
}

// String returns the aim in words.
func (a *Aim) String() string {
	if a.Place == Copy {
		return fmt.Sprintf("at an instruction in the copy of record %d, with %d‰ of its bytes in the file", a.N, a.Share)
	}
	if a.Op == 0 {
		return fmt.Sprintf("%s operation %d of a %s", a.Phase, a.N, a.Place)
	}
	return fmt.Sprintf("%s %s %d of a %s", a.Phase, a.Op, a.N, a.Place)
}

// Plan is one life: what it does, and how it dies.
type Plan struct {
	Seed uint64 `json:"seed"`

	// Aim is the step at which it ends; without one it ends blindly, so long after
	// its first record.
	Aim  *Aim          `json:"aim,omitempty"`
	Wait time.Duration `json:"wait,omitempty"`

	// Acks is how many acknowledgements of a program come before Wait begins.
	Acks int `json:"acks,omitempty"`

	// Inspect leaves what the death left to the next life: it is checked read-only,
	// so that the next life's recovery has something to do.
	Inspect bool `json:"look,omitempty"`
}

// steps are the operations at which a life can be aimed, with the highest count
// that a short life reaches.
var steps = map[Place][]struct {
	op  durability.Op
	max int
}{
	Copy: {{durability.OpStore, 40}},
	Sync: {{durability.OpMsync, 8}, {durability.OpMsync, 3}, {durability.OpSync, 3}},
	Rotation: {
		{durability.OpStore, 2},
		{durability.OpCreate, 2},
		{durability.OpAllocate, 2},
		{durability.OpWrite, 5},
		{durability.OpSync, 2},
		{durability.OpRename, 2},
		{durability.OpSyncDir, 2},
	},
	Cut: {
		{durability.OpStore, 8},
		{durability.OpMsync, 6},
		{durability.OpSync, 3},
		{durability.OpRemove, 3},
		{durability.OpSyncDir, 2},
	},
	Recovery: {
		{durability.OpStore, 5},
		{durability.OpMsync, 3},
		{durability.OpSync, 4},
		{durability.OpWrite, 1},
		{durability.OpRemove, 1},
		{durability.OpSyncDir, 2},
	},
}

// newPlan chooses a life, aimed at a place, or blind where there is none; at any
// operation there, if it is not known which there are, and at one of the first, if
// the life before has missed it. The first one of a chain is not aimed at recovery,
// where there is nothing to recover: it is blind.
func newPlan(rng *rand.Rand, place Place, anyOp, again, first bool) Plan {
	p := Plan{Seed: rng.Uint64(), Inspect: rng.IntN(3) > 0}
	if place == "" {
		p.Wait = time.Duration(rng.Int64N(int64(2 * time.Millisecond)))
		if rng.IntN(4) == 0 {
			p.Wait *= 8
		}
		return p
	}
	if place == Recovery && first {
		return Plan{Seed: p.Seed, Inspect: true, Wait: time.Millisecond}
	}
	a := &Aim{Place: place, Phase: durability.Before}
	step := steps[place][rng.IntN(len(steps[place]))]
	a.Op, a.N = step.op, 1+rng.IntN(step.max)
	if again {
		a.Op, a.N = steps[place][0].op, 1
		if place == Copy || place == Sync {
			a.N = 3 // a kill counts when a record was appended before
		}
	}
	if anyOp && place != Copy {
		a.Op = 0
	}
	if a.Op != durability.OpStore && rng.IntN(2) == 0 {
		a.Phase = durability.After
	}
	if place == Copy {
		a.Share = 1 + rng.IntN(999)
	}
	p.Aim = a
	return p
}

// aims are the places that are aimed at.
type aims struct {
	mu     sync.Mutex
	list   []Place
	misses map[Place]int // -1 for one that was met
	turns  map[Place]int // how often each was aimed at
	keep   bool
}

// mostMisses is how often a place is aimed at in vain until a subject is taken
// never to come there.
const mostMisses = 2

// newAims returns the places of a subject: those that it has to be killed in, if it
// says so. Another one has to say by its Stage that it cuts or recovers, and is tried
// otherwise.
func newAims(o *Options) *aims {
	a := &aims{list: places[:3], misses: make(map[Place]int), turns: make(map[Place]int)}
	if s, ok := o.Subject.(Thorough); ok {
		a.list, a.keep = s.Places(), true
	} else if _, ok := o.Subject.(Placer); ok {
		a.list = places[:5]
	}
	if len(o.Aims) > 0 {
		a.list = o.Aims
	}
	return a
}

// place returns the place of a crew's aim with that number, or nothing. Recovery
// is not the first of any: there is nothing to recover yet.
func (a *aims) place(crew uint64, turn int) Place {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == 0 {
		return ""
	}
	n := uint64(len(a.list))
	at := func(turn uint64) Place { return a.list[(2*crew+turn)%n] }
	if n > 1 && turn < 2 && at(0) == Recovery {
		return at(uint64(1 - turn))
	}
	return at(uint64(turn))
}

// has reports whether a place is aimed at still.
func (a *aims) has(p Place) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.list, p)
}

// hadTurns reports whether each of the places was aimed at often enough that it
// would have been hit.
func (a *aims) hadTurns() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(a.list, func(p Place) bool { return a.turns[p] < enoughTurns })
}

// enoughTurns is how often a campaign has aimed at a place when it could not kill
// there.
const enoughTurns = 4

// count counts an aim, and returns what there is to say of its place.
func (a *aims) count(p Place, hit bool) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turns[p]++
	switch {
	case hit:
		a.misses[p] = -1
	case a.misses[p] >= 0:
		a.misses[p]++
	}
	if a.keep || a.misses[p] != mostMisses {
		return ""
	}
	a.list = slices.DeleteFunc(slices.Clone(a.list), func(q Place) bool { return p == q })
	return fmt.Sprintf("not aimed at: %s (the life's Tracer sees none)", p)
}
