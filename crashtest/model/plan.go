//go:build linux

package model

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
)

// How many states of one life are checked. A campaign of a modest number of states
// is to reach several lives, and in each of them all classes of states. So the moments
// are spread over the whole life, and not taken one after the other from its beginning.
const (
	lifeStates = 4000 // states of new content, until the next life is begun
	rounds     = 24   // each round checks every 24th moment; rounds differ in where they begin

	firstNested = 20   // states of the tour, at most, until one is lived on from
	nextNested  = 3000 // states from one that is lived on from to the next
	deepNested  = 20   // the same in a nested life
	nestedEach  = 10   // moments of a recovery, and as many behind it

	tourDeaths  = 2  // moments behind the tour at which the process dies
	whereEach   = 1  // situations in each of which it dies once more
	whereEarly  = 48 // events of a situation in which it does, but for writes
	roundDeaths = 12 // of so many moments of the rounds one is such a moment, too
	whereDeaths = 4  // the same of moments in a situation of the subject's
	deathRow    = 3  // of so many lives after a death one ends in another one
	deathEach   = 20 // moments of a recovery after a death; behind it as ever
	quickEach   = 6  // moments of a recovery after a death that is one of many
	quickBehind = 2  // and behind it
)

// explore checks states of a life. First comes a tour, by which each class of
// states has its turn, also those of crashes of recoveries; then the rounds.
func (e *explorer) explore() error {
	if e.r.depth > 0 {
		return e.nested()
	}
	seen := map[int]bool{}
	visit := func(at int) error {
		if seen[at] {
			return nil
		}
		seen[at] = true
		return e.moment(at)
	}
	tour, situated := e.tour()
	for i, at := range tour {
		if i == len(tour)*3/4 { // what shows without a nested life is told without one
			e.nestIn = 1 + e.rng.IntN(firstNested)
		}
		if err := visit(at); err != nil {
			return err
		}
	}
	all := upTo(0, len(e.r.events))
	for _, at := range append(pick(e.rng, all, tourDeaths), e.oneOfEach(situated, whereEach)...) {
		if err := errors.Join(visit(at), e.dieAt(at, false)); err != nil {
			return err
		}
	}
	for _, at := range e.oneOfEach(situated, len(situated)) {
		if err := e.dieAt(at, true); err != nil {
			return err
		}
	}
	if err := e.journal.add(entry{kind: entryPlanned}); err != nil {
		return err
	}
	for _, round := range e.rng.Perm(rounds) {
		for at := round; at <= len(e.r.events); at += rounds {
			if e.nestIn <= 0 {
				e.nestIn = nextNested/2 + e.rng.IntN(nextNested)
			}
			if err := visit(at); err != nil {
				return err
			}
			if e.rng.IntN(roundDeaths) == 0 || e.where != "" && e.rng.IntN(whereDeaths) == 0 {
				if err := e.dieAt(at, false); err != nil {
					return err
				}
			}
			if e.journal.states >= lifeStates {
				return nil
			}
		}
	}
	return nil
}

// nested checks states of a life that began with a crash: some of its recovery, of
// which one is lived on from, and some behind it. Where that was the death of a
// process, there are more of them, and now and then the next one dies, too.
func (e *explorer) nested() error {
	e.nestIn = 1 + e.rng.IntN(deepNested)
	died, each, behind, diesAt := deaths(e.r.path), nestedEach, nestedEach, -1
	switch {
	case e.quick:
		each, behind, e.nestIn = quickEach, quickBehind, -1
	case died > 0:
		each = deathEach
	}
	if died > 0 && e.nest != nil && !e.quick {
		if e.rng.IntN(deathRow) == 0 || died > 1 || !e.journal.row {
			diesAt = e.rng.IntN(each)
		}
	}
	n, recovered := len(e.r.events), e.r.recovered()
	moments := pick(e.rng, upTo(e.r.inherited, recovered), each)
	if died > 0 {
		moments = e.withNames(moments, recovered, each)
	}
	for i, at := range moments {
		if err := e.moment(at); err != nil {
			return err
		}
		if i == min(diesAt, len(moments)-1) && diesAt >= 0 {
			e.journal.row = true
			if err := e.dieAt(at, false); err != nil {
				return err
			}
		}
	}
	for _, at := range pick(e.rng, upTo(recovered+1, n), behind) {
		if err := e.moment(at); err != nil {
			return err
		}
	}
	return nil
}

// withNames puts moments of a recovery, up to so many, in the place of the first ones
// of a list: those next to operations on names, which are few, and cannot be taken
// back once a later one is durable.
func (e *explorer) withNames(list []int, recovered, n int) []int {
	var names []int
	for at := e.r.inherited + 1; at <= recovered; at++ {
		switch e.r.events[at-1].Op {
		case durability.OpRename, durability.OpRemove, durability.OpSyncDir:
			names = append(names, at)
		}
	}
	names = pick(e.rng, names, n/2)
	list = append(names, list[min(len(list), len(names)):]...)
	slices.Sort(list)
	return slices.Compact(list)
}

// tour returns moments of which states of every class can be made, where the life
// has any: in large stores, behind many stores that no sync has covered, and with
// changes of names and sizes that are not durable. It returns those in situations of
// the subject's, too, by situation, those of each time that the life came to it.
func (e *explorer) tour() (tour []int, situated map[string][][]int) {
	var stores, syncs, names, sizes, anywhere []int
	situated = map[string][][]int{}
	last := ""
	for i := range e.r.events {
		ev, at := &e.r.events[i], i+1
		k, _ := e.r.known(at)
		where := campaign.SituationOf(e.r.subject, k)
		if where != "" {
			anywhere = append(anywhere, at)
			if where != last {
				situated[where] = append(situated[where], nil)
			}
			// What is written is a segment that nobody uses yet.
			if n := len(situated[where]) - 1; ev.Op != durability.OpWrite && ev.Op != durability.OpAllocate {
				situated[where][n] = append(situated[where][n], at)
			}
		}
		last = where
		switch ev.Op {
		case durability.OpStore:
			if len(ev.Data)+len(ev.Data2) >= 1024 {
				stores = append(stores, at)
			}
		case durability.OpMsync, durability.OpDatasync, durability.OpSync:
			if ev.Phase == durability.Before {
				syncs = append(syncs, at)
			}
		case durability.OpWrite, durability.OpAllocate:
			sizes = append(sizes, at)
		default:
			names = append(names, at)
		}
	}
	all := upTo(0, len(e.r.events))
	for _, list := range [][]int{stores, syncs, names, sizes, anywhere, all} {
		tour = append(tour, pick(e.rng, list, 4)...)
	}
	tour = append(tour, len(e.r.events)) // all is acknowledged that ever is
	slices.Sort(tour)
	return slices.Compact(tour), situated
}

// oneOfEach returns a moment in each of so many situations, not long after one began:
// what is rare, or short, has its turn as often as the rest.
func (e *explorer) oneOfEach(situated map[string][][]int, n int) (moments []int) {
	all := slices.Sorted(maps.Keys(situated))
	for _, i := range e.rng.Perm(len(all))[:min(n, len(all))] {
		times := situated[all[i]]
		if once := times[e.rng.IntN(len(times))]; len(once) > 0 {
			moments = append(moments, once[e.rng.IntN(min(len(once), whereEarly))])
		}
	}
	return moments
}

// upTo returns the numbers from first to last.
func upTo(first, last int) (list []int) {
	for i := first; i <= last; i++ {
		list = append(list, i)
	}
	return list
}

// pick returns so many of a list, in its order; all, where they are no more.
func pick(rng *rand.Rand, list []int, n int) []int {
	if len(list) <= n {
		return list
	}
	some := make([]int, 0, n)
	for _, i := range rng.Perm(len(list))[:n] {
		some = append(some, list[i])
	}
	slices.Sort(some)
	return some
}
