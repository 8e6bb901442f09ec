//go:build linux

package model

import "github.com/seawall-wal/seawall/crashtest/campaign"

// class is a kind of crash state.
type class int

// The classes, in the order of reports. A state counts in the first class that it
// was made for.
const (
	prefixes class = iota
	unsynced
	tornBytes
	tornSectors
	tornWords
	oneSector
	oneStore
	pageSubsets
	sectorSubsets
	oneName
	nameSubsets
	sizes
	recoveries
	recoveries2
	recoveries3
	goneOn
	deathPower
	deathGoneOn
	deathsPower
	classes // how many there are
)

// classNames are what reports call them.
var classNames = [classes]string{
	prefixes:      "all that was done",
	unsynced:      "only what was synced",
	tornBytes:     "store torn at a byte",
	tornSectors:   "store torn at a sector",
	tornWords:     "store torn into words",
	oneSector:     "one sector held back",
	oneStore:      "one store dropped",
	pageSubsets:   "subset of pages",
	sectorSubsets: "subset of sectors",
	oneName:       "one directory operation missing",
	nameSubsets:   "subset of directory operations",
	sizes:         "another size",
	recoveries:    "crash during recovery",
	recoveries2:   "crash during recovery of that",
	recoveries3:   "crash during recovery, three deep",
	goneOn:        "crash after going on",
	deathPower:    "power loss during recovery from a kill",
	deathGoneOn:   "power loss after going on from a kill",
	deathsPower:   "power loss after kills in a row",
}

// tally counts states: all, and distinct ones by class.
type tally struct {
	states, distinct int64
	by, made         [classes]int64 // distinct ones, and all
	pure, real       int64          // recoveries in memory, and on real files
	moments          int64
	whole            int64 // moments of which every state was checked
	operations       int64 // of lives that began in an empty directory
	fewest           int64 // operations of the shortest of those

	where map[string]*campaign.Class // by situation
}

// situate counts a state of a situation, and whether it is a distinct one.
func (t *tally) situate(name string, distinct int64) {
	if name == "" {
		return
	}
	c := t.where[name]
	if c == nil {
		c = &campaign.Class{Name: name}
		t.where[name] = c
	}
	c.States++
	c.Count += distinct
}

// situations enters the situations that the subjects have into a result, and
// returns those that none of the states was of.
func (t *tally) situations(r *campaign.Result, subjects []campaign.Subject) (missing []string) {
	for _, s := range subjects {
		names, ok := s.(campaign.Situations)
		if !ok {
			continue
		}
		for _, name := range names.Situations() {
			c := campaign.Class{Name: name}
			if known := t.where[name]; known != nil {
				c = *known
			}
			if r.Situations = append(r.Situations, c); c.States == 0 {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

// into enters the classes into a result.
func (t *tally) into(r *campaign.Result) {
	for i, n := range t.by {
		r.Classes = append(r.Classes, campaign.Class{Name: classNames[i], Count: n, States: t.made[i]})
	}
	r.Checks = &campaign.Checks{
		Pure: t.pure, Real: t.real, Moments: t.moments, Whole: t.whole, Events: t.operations, Shortest: t.fewest,
	}
}
