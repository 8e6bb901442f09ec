//go:build linux

package model

import (
	"errors"
	"math/rand/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// Bounds of what is checked of one moment.
const (
	wholeMoment = 128 // all states, where they are no more than that
	singles     = 48  // sectors, and words, by themselves
	subsets     = 12  // of each kind of subset
	tornPlaces  = 4   // of a store
	fewSingles  = 12  // of a moment in a nested life
	fewSubsets  = 2   // of a moment in a nested life

	wholeStore = 1 << 30 // bytes of a store that is not torn
)

// errOver ends an exploration whose campaign is over.
var errOver = errors.New("model: the campaign is over")

// explorer makes the states of one life, and has them checked.
type explorer struct {
	r       *recording
	checker *checker
	rng     *rand.Rand
	nest    func(*state) error // lives on from a state; nil where it goes no deeper

	journal *journal

	m       *durabilitytest.Moment
	known   campaign.Known
	mark    int
	where   string // the situation at the moment
	at      int
	changed []int // pieces that are not newest
	quick   bool  // it is one of many after a death
	nestIn  int   // so many states from here one is lived on from; below 0 never
	sectors []int // pieces of that kind, by index
	words   []int
	names   []int
	other   []int
}

// state is one crash state, as it was made.
type state struct {
	e      *explorer
	class  class
	files  durabilitytest.Files
	killed bool
	torn   int
	quick  bool // the life that goes on from it is one of many
}

// enter makes a moment the current one, without its pieces.
func (e *explorer) enter(at int) {
	e.at = at
	e.known, e.mark = e.r.known(at)
	e.where = campaign.SituationOf(e.r.subject, e.known)
}

// moment checks states of one moment.
func (e *explorer) moment(at int) error {
	e.enter(at)
	if err := e.kills(at); err != nil {
		return err
	}
	e.m = e.r.rec.Moment(e.r.root, at)
	e.changed = e.changed[:0]
	e.sort()
	if err := e.journal.add(entry{kind: entryMoment}); err != nil {
		return err
	}
	// What a crash leaves with nothing missing, and with all of it.
	if err := e.check(prefixes); err != nil {
		return err
	}
	if err := e.dropped(); err != nil {
		return err
	}
	if e.m.States() <= wholeMoment {
		return errors.Join(e.journal.add(entry{kind: entryWhole}), e.all())
	}
	for _, make := range []func() error{e.one, e.stores, e.subsetsOf} {
		if err := make(); err != nil {
			return err
		}
	}
	return nil
}

// sort sorts the pieces by kind.
func (e *explorer) sort() {
	e.sectors, e.words, e.names, e.other = e.sectors[:0], e.words[:0], e.names[:0], e.other[:0]
	for i := range e.m.Pieces() {
		switch e.m.Pieces()[i].Kind {
		case durabilitytest.SectorPiece, durabilitytest.CutPiece:
			e.sectors = append(e.sectors, i)
		case durabilitytest.WordPiece:
			e.words = append(e.words, i)
		case durabilitytest.NamePiece:
			e.names = append(e.names, i)
		default:
			e.other = append(e.other, i)
		}
	}
}

// set chooses an option, to be taken back by renew.
func (e *explorer) set(piece, option int) {
	if e.m.Option(piece) == e.m.Pieces()[piece].Options-1 {
		e.changed = append(e.changed, piece)
	}
	e.m.Set(piece, option)
}

// renew makes the newest state again.
func (e *explorer) renew() {
	for _, i := range e.changed {
		e.m.Set(i, e.m.Pieces()[i].Options-1)
	}
	e.changed = e.changed[:0]
}

// check has the chosen state checked.
func (e *explorer) check(c class) error {
	return e.take(&state{e: e, class: e.classOf(c, false), files: nil})
}

// classOf is the class of states of this life: those of later lives have their
// own.
func (e *explorer) classOf(c class, killed bool) class {
	died := deaths(e.r.path)
	switch {
	case e.r.depth == 0:
		return c
	case died > 1 && !killed:
		return deathsPower
	case died == 1 && !killed && e.at > e.r.recovered():
		return deathGoneOn
	case died == 1 && !killed:
		return deathPower
	case e.at > e.r.recovered():
		return goneOn
	}
	return min(recoveries+class(e.r.depth)-1, recoveries3)
}

// take has a state checked, and lives on from some.
func (e *explorer) take(s *state) error {
	key := s.key()
	fresh, err := e.checker.check(s, key)
	made := entry{kind: entryKnown, class: s.class, where: e.where}
	if fresh {
		made.kind, made.n = entryFresh, key[0]
	}
	if jerr := e.journal.add(made); jerr != nil || err != nil {
		return errors.Join(err, jerr)
	}
	if e.nestIn--; e.nest == nil || e.nestIn != 0 {
		return nil
	}
	return e.nest(s)
}

// kills checks what a kill leaves: everything that was done, and of a store in
// flight some of its bytes.
func (e *explorer) kills(at int) error {
	take := func(c class, torn int) error {
		files := e.r.rec.Killed(e.r.root, at, torn)
		return e.take(&state{e: e, class: e.classOf(c, true), files: files, killed: true, torn: torn})
	}
	if err := take(prefixes, wholeStore); err != nil {
		return err
	}
	if at == 0 {
		return nil
	}
	ev := &e.r.events[at-1]
	n := len(ev.Data) + len(ev.Data2)
	if n < 2 || ev.Op != durability.OpStore && (ev.Op != durability.OpWrite || ev.Phase != durability.Before) {
		return nil
	}
	for range min(tornPlaces, n-1) {
		if err := take(tornBytes, 1+e.rng.IntN(n-1)); err != nil {
			return err
		}
	}
	const sector = 512
	for off := sector - int(ev.Offset%sector); off < n; off += sector * (1 + n/(sector*tornPlaces)) {
		if err := take(tornSectors, off); err != nil {
			return err
		}
	}
	return nil
}

// choices returns the choice of options, as a step has them.
func (e *explorer) choices() [][2]int {
	var c [][2]int
	for i := range e.m.Pieces() {
		if o := e.m.Option(i); o != e.m.Pieces()[i].Options-1 {
			c = append(c, [2]int{i, o})
		}
	}
	return c
}

// step returns how the state came about.
func (s *state) step() step {
	e := s.e
	st := step{
		Seed: e.r.seed, At: e.at, Shape: shape(e.r.events[:e.at]), Killed: s.killed, Torn: s.torn, Cache: s.killed,
	}
	if !e.r.exact {
		st.Script = e.r.dir.until(e.r.turns(e.at))
	}
	if !s.killed {
		st.Choices = e.choices()
	}
	return st
}
