//go:build linux

package model

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// entry is one thing that came of a life, in the order in which things came. A
// campaign counts nothing else: lives that were lived at once are entered one
// after the other, by their numbers, and the campaign ends at the same entry
// however many there were at once.
type entry struct {
	kind  entryKind
	class class
	where string // the situation of the state
	depth int
	n     uint64 // half the key of a new state's content; the events of a life
	found *found
	err   error
}

// entryKind says what an entry is about.
type entryKind int

const (
	entryLife    entryKind = iota // a life, with n events
	entryKnown                    // a state whose content its life has had before
	entryFresh                    // one whose content it has not
	entryPure                     // a recovery in memory
	entryReal                     // a recovery on real files
	entryMoment                   // states of a moment are made
	entryWhole                    // all of them are
	entryPlanned                  // each class has had its turn in this life
	entryFinding                  // something was found
	entryFailed                   // the life could not be lived
)

// found is a finding, and where its files are kept.
type found struct {
	campaign.Finding
	kept string // a directory; empty for none
}

// drop removes what is kept of a finding that does not count.
func (f *found) drop() {
	if f.kept != "" {
		remove(f.kept)
	}
}

// journal are the entries of one life, and of those that went on from it, which
// are not entered yet.
type journal struct {
	lab     *lab
	life    uint64
	entries []entry
	states  int64 // of fresh content
	row     bool  // processes have died in a row
	flushed time.Time
}

// Entries are entered so many at once, or after so long. Which are at once has no
// bearing on what comes of them.
const (
	flushEvery = 256
	flushTime  = 10 * time.Millisecond
)

// add adds an entry. It returns errOver when the campaign is over.
func (j *journal) add(e entry) error {
	j.entries = append(j.entries, e)
	if e.kind == entryFresh {
		j.states++
	}
	if len(j.entries)%flushEvery != 0 && time.Since(j.flushed) < flushTime {
		return nil
	}
	j.flushed = time.Now()
	return j.lab.enter(j, false)
}

// ledger are the entries of a campaign.
type ledger struct {
	mu      sync.Mutex
	next    uint64 // the first life that no worker has begun
	turn    uint64 // the life whose entries are entered now
	waiting map[uint64]*journal
	moved   *sync.Cond // on mu: turn or ended has changed
	ended   bool       // the campaign ended at an entry: later entries do not count
	err     error

	met   map[uint64]struct{} // contents
	dull  int                 // lives in a row that brought no new one
	tally tally
	plans int // lives in which each class has had its turn
	notes []string
}

func newLedger() *ledger {
	g := &ledger{waiting: map[uint64]*journal{}, met: map[uint64]struct{}{}, tally: tally{where: map[string]*campaign.Class{}}}
	g.moved = sync.NewCond(&g.mu)
	return g
}

// begin returns the journal of the next life, or nil when the campaign is over.
// It does not run far ahead of what is entered: most of that is for nothing where
// the campaign ends before.
func (l *lab) begin() *journal {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.next
	g.next++
	for ahead := uint64(2 * l.run.Cores()); n >= g.turn+ahead && !g.ended && !l.run.Over(); {
		g.moved.Wait()
	}
	if g.ended || l.run.Over() {
		return nil
	}
	return &journal{lab: l, life: n}
}

// enter enters what a life has come to, if it is its turn. It returns errOver when
// the campaign is over.
func (l *lab) enter(j *journal, done bool) error {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	if done {
		g.waiting[j.life] = j
	}
	if j.life == g.turn {
		l.enterAll(j)
	}
	for next := g.waiting[g.turn]; next != nil; next = g.waiting[g.turn] {
		l.enterAll(next)
		delete(g.waiting, g.turn)
		g.turn++
	}
	over := l.run.Over() || g.ended
	if done || over {
		g.moved.Broadcast()
	}
	if over {
		return errOver
	}
	return nil
}

// enterRest enters, when all are done, what is left of a campaign that has ended
// by its time: everything that was checked.
func (l *lab) enterRest() {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	for ; g.turn < g.next; g.turn++ {
		if j := g.waiting[g.turn]; j != nil {
			l.enterAll(j)
		}
	}
}

// enterAll enters all entries of a journal. The caller holds mu.
func (l *lab) enterAll(j *journal) {
	for i := range j.entries {
		e := &j.entries[i]
		switch {
		case !l.ledger.ended:
			l.enterOne(e)
		case e.found != nil:
			e.found.drop()
		}
	}
	j.entries = j.entries[:0]
}

// enterOne enters one entry. The caller holds mu.
func (l *lab) enterOne(e *entry) {
	g, t := l.ledger, &l.ledger.tally
	switch e.kind {
	case entryLife:
		l.run.Live()
		if e.depth == 0 {
			g.dull++
			l.dull()
			t.operations += int64(e.n)
			t.fewest = min(t.fewest, int64(e.n))
			if t.fewest == 0 {
				t.fewest = int64(e.n)
			}
		}
	case entryKnown, entryFresh:
		before := len(g.met)
		if e.kind == entryFresh {
			g.met[e.n] = struct{}{}
		}
		more := int64(len(g.met) - before)
		if more > 0 {
			g.dull = 0
		}
		t.states++
		t.made[e.class]++
		t.distinct += more
		t.by[e.class] += more
		t.situate(e.where, more)
		l.run.Add(1, more)
		g.ended = l.opts.States > 0 && t.distinct >= l.opts.States
	case entryPure:
		t.pure++
	case entryReal:
		t.real++
	case entryMoment:
		t.moments++
	case entryWhole:
		t.whole++
	case entryPlanned:
		g.plans++
	case entryFinding:
		if l.run.Found(e.found.Finding); e.found.kept != "" {
			g.notes = append(g.notes, "kept what was found in "+e.found.kept)
		}
		g.ended = l.run.Over() && l.run.Stopped() == "finding"
	case entryFailed:
		g.err, g.ended = errors.Join(g.err, e.err), true
	}
}

// dullLives is how many lives in a row bring no new state until there are none.
const dullLives = 50

// dull ends a campaign that is to come to a number of states of which there are
// not so many. The caller holds mu.
func (l *lab) dull() {
	g := l.ledger
	if l.opts.States > 0 && g.dull > dullLives {
		g.ended = true
		g.notes = append(g.notes, fmt.Sprintf("%d states are all that there are: %d lives have brought no other", g.tally.distinct, dullLives))
	}
}

// keep writes the files of a finding, if they are to be kept.
func (l *lab) keep(write func(to string) error) (string, error) {
	if !l.opts.Keep {
		return "", nil
	}
	to, err := os.MkdirTemp(l.keepIn, "seawall-model-found-")
	if err == nil {
		err = write(to + "/state")
	}
	return to, err
}
