//go:build linux

package seawall

import (
	"slices"

	"github.com/seawall-wal/seawall/crashtest/kill"
)

// step is one thing that a life does, and how often: in other campaigns than those
// of package kill; there; and there in a life that is aimed at its place.
type step struct {
	name                 string
	weight, kills, aimed int

	place kill.Place
	cuts  bool // it takes something away from what goes on in the background
	wild  bool // what comes of it is by chance: not in calm lives
	do    func(*work) error
}

// steps are all of them. Appends during a sync are in two places at once, so that no
// kill could be aimed, and several writers come in an order that cannot be replayed.
var steps = []step{
	{name: "append", weight: 60, kills: 120, place: kill.Append, do: func(w *work) error { return w.append(w.size()) }},
	{name: "batch", weight: 8, kills: 15, place: kill.Append, do: (*work).batch},
	{name: "sync", weight: 13, kills: 4, aimed: 30, place: kill.Sync, do: func(w *work) error { return w.sync(w.log.Sync(), "sync") }},
	{name: "commit", weight: 4, kills: 2, aimed: 15, place: kill.Sync, do: (*work).commit},
	{name: "append during a sync", weight: 3, wild: true, do: (*work).appendWhileSyncing},
	{name: "checkpoint", weight: 4, kills: 2, aimed: 15, place: kill.Sync, do: func(w *work) error { return w.sync(w.log.Checkpoint(), "checkpoint") }},
	{name: "truncate the front", weight: 3, kills: 3, aimed: 40, place: kill.Cut, cuts: true, do: (*work).truncateFront},
	{name: "truncate the back", weight: 3, kills: 3, aimed: 40, place: kill.Cut, cuts: true, do: (*work).truncateBack},
	{name: "reset", weight: 1, kills: 1, aimed: 20, place: kill.Cut, cuts: true, do: (*work).reset},
	{name: "reopen", weight: 3, kills: 2, aimed: 60, place: kill.Recovery, cuts: true, do: (*work).closeAndReopen},
	{name: "several writers", kills: 4, place: kill.Append, do: (*work).severalWriters},
}

// weightOf returns how often this life does a thing.
func (w *work) weightOf(s *step) int {
	switch {
	case w.stage == nil:
		return s.weight
	case s.aimed > 0 && s.place == w.aim():
		return s.aimed
	}
	return s.kills
}

// doing tells what the life is about to do.
func (w *work) doing(step string) {
	if w.subject.Doing != nil {
		w.subject.Doing(step)
	}
}

// step does one thing at random.
func (w *work) step() error {
	all := steps
	if w.busy {
		all = slices.Concat(steps, busySteps)
	}
	total := 0
	for i := range all {
		total += w.weightOf(&all[i])
	}
	i, n := 0, w.rng.IntN(total)
	for n >= w.weightOf(&all[i]) {
		n -= w.weightOf(&all[i])
		i++
	}
	s := &all[i]
	if s.wild && w.calm {
		s = &steps[0]
	}
	if s.cuts {
		w.settle()
	}
	w.did[s.name]++
	w.doing(s.name)
	if s.place != kill.Recovery { // not all of that is recovery
		defer w.enter(s.place)()
	}
	return s.do(w)
}
