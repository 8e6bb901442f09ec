//go:build linux

package seawall

import (
	"math/rand/v2"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// Lived is what one life did.
type Lived struct {
	Options             wal.Options
	Calm                bool
	Did, Situated       map[string]int
	Rotations, Recycled uint64
}

// Live lives a life that begins in an empty directory, as the model does.
func Live(dir string, seed uint64, busy bool, tracer durability.Tracer) (*Lived, error) {
	var logs []*wal.Log
	s := &Log{Busy: busy, OpenLog: func(dir string, o wal.Options) (*wal.Log, error) {
		l, err := wal.Open(dir, o)
		logs = append(logs, l)
		return l, err
	}}
	var mu sync.Mutex // the log's goroutines acknowledge, too
	var known campaign.Known
	situated := map[string]int{}
	w := s.work(&campaign.Life{
		Dir: dir, Seed: seed, Rand: rand.New(rand.NewPCG(seed, 0x11fe)), Tracer: tracer,
		Note: func(k campaign.Known) {
			mu.Lock()
			defer mu.Unlock()
			known = k
			situated[campaign.SituationOf(s, k)]++
		},
		Now: func() campaign.Known {
			mu.Lock()
			defer mu.Unlock()
			return known
		},
	})
	err := w.live()
	lived := &Lived{Options: w.opts, Calm: w.calm, Did: w.did, Situated: situated}
	for _, l := range logs {
		if l != nil {
			st := l.Stats()
			lived.Rotations += st.Rotations
			lived.Recycled += st.Recycled
		}
	}
	return lived, err
}

// Steps returns the names of all that lives do.
func Steps() (names []string) {
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// BusySteps returns the names of what busy lives do beside that.
func BusySteps() (names []string) {
	for _, s := range busySteps {
		names = append(names, s.name)
	}
	return names
}

// Overstate returns a Mark that takes what is about to be appended for durable.
func Overstate(k campaign.Known) campaign.Known {
	m := *markOf(k)
	m.durable = max(m.durable, m.begun)
	if m.or != nil {
		or := *m.or
		or.durable = max(or.durable, or.begun)
		m.or = &or
	}
	return &m
}
