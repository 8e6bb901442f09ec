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
	r     *recording
	judge *judge
	rng   *rand.Rand
	nest  func(*state) error // lives on from a state; nil where it goes no deeper

	journal *journal

	m       *durabilitytest.Moment
	known   campaign.Known
	mark    int
	where   string // the situation at the moment
	at      int
	changed []int // pieces that are not newest
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
	fresh, err := e.judge.check(s, key)
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

// all checks every state of the moment.
func (e *explorer) all() error {
	defer e.renew()
	pieces := e.m.Pieces()
	for choice := range e.m.States() {
		for i := range pieces {
			n := int64(pieces[i].Options)
			e.set(i, int(choice%n))
			choice /= n
		}
		if err := e.check(e.nature()); err != nil {
			return err
		}
	}
	return nil
}

// nature returns the class of the chosen state by what it lacks.
func (e *explorer) nature() class {
	lacks, oldest := map[durabilitytest.PieceKind]int{}, 0
	pieces := e.m.Pieces()
	for i := range pieces {
		if o := e.m.Option(i); o < pieces[i].Options-1 {
			lacks[pieces[i].Kind]++
			if o == 0 {
				oldest++
			}
		}
	}
	n := 0
	for _, count := range lacks {
		n += count
	}
	sectors := lacks[durabilitytest.SectorPiece] + lacks[durabilitytest.CutPiece]
	switch {
	case n == 0:
		return prefixes
	case oldest == len(pieces):
		return unsynced
	case lacks[durabilitytest.WordPiece] > 0:
		return tornWords
	case n == 1 && sectors == 1:
		return oneSector
	case n == 1 && lacks[durabilitytest.NamePiece] == 1:
		return oneName
	case sectors == n:
		return sectorSubsets
	case lacks[durabilitytest.NamePiece] > 0:
		return nameSubsets
	}
	return sizes
}

// dropped checks what is left if nothing unsynced is.
func (e *explorer) dropped() error {
	defer e.renew()
	for i := range e.m.Pieces() {
		e.set(i, 0)
	}
	return e.check(unsynced)
}

// one checks states in which one piece is not as new as the others.
func (e *explorer) one() error {
	most := singles
	if e.r.depth > 0 {
		most = fewSingles
	}
	try := func(c class, list []int) error {
		for n, i := range e.some(list, most) {
			options := e.m.Pieces()[i].Options
			// Its oldest content, and one of those between.
			for _, o := range []int{0, e.rng.IntN(options - 1)} {
				e.set(i, o)
				err := e.check(c)
				e.renew()
				if err != nil {
					return err
				}
				if options == 2 || n > most/4 {
					break
				}
			}
		}
		return nil
	}
	return errors.Join(try(oneSector, e.sectors), try(tornWords, e.words), try(oneName, e.names), try(sizes, e.other))
}

// some returns so many of a list, chosen anew each time; all, where they are no
// more.
func (e *explorer) some(list []int, n int) []int {
	if len(list) <= n {
		return list
	}
	some := make([]int, n)
	for i := range some {
		some[i] = list[e.rng.IntN(len(list))]
	}
	return some
}

// stores checks states in which one store is missing, wherever it was stored to.
func (e *explorer) stores() error {
	if len(e.sectors) == 0 {
		return nil
	}
	tried := map[int]bool{}
	for _, i := range e.some(e.sectors, singles/4) {
		event := e.m.Pieces()[i].Event
		if tried[event] {
			continue
		}
		tried[event] = true
		n := 0
		for _, k := range e.sectors {
			if p := &e.m.Pieces()[k]; p.Event == event {
				e.set(k, 0)
				n++
			}
		}
		err := e.check(oneStore)
		e.renew()
		if err != nil {
			return err
		}
	}
	return nil
}

// subsetsOf checks seeded subsets.
func (e *explorer) subsetsOf() error {
	rounds := subsets
	if e.r.depth > 0 {
		rounds = fewSubsets
	}
	for range rounds {
		for _, make := range []struct {
			class class
			do    func() bool
		}{
			{pageSubsets, e.pages}, {sectorSubsets, e.mixed}, {tornWords, e.someWords}, {nameSubsets, e.someNames},
		} {
			if !make.do() {
				continue
			}
			err := e.check(make.class)
			e.renew()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pages holds whole pages back, each at random.
func (e *explorer) pages() bool {
	const page = 4096
	type place struct {
		name string
		page int64
	}
	held := map[place]bool{}
	pieces := e.m.Pieces()
	odds := 2 + e.rng.IntN(3)
	for _, i := range e.sectors {
		p := place{pieces[i].Name, pieces[i].Offset / page}
		back, known := held[p]
		if !known {
			back = e.rng.IntN(odds) == 0
			held[p] = back
		}
		if back {
			e.set(i, 0)
		}
	}
	return len(held) > 1
}

// mixed gives every sector, size and name one of its options.
func (e *explorer) mixed() bool {
	odds := 1 + e.rng.IntN(3)
	for _, list := range [][]int{e.sectors, e.other, e.names} {
		for _, i := range list {
			if e.rng.IntN(odds) == 0 {
				e.set(i, e.rng.IntN(e.m.Pieces()[i].Options))
			}
		}
	}
	return len(e.sectors) > 1
}

// someWords tears what is in flight into words, with all else there or mixed.
func (e *explorer) someWords() bool {
	if len(e.words) < 2 {
		return false
	}
	for _, i := range e.words {
		e.set(i, e.rng.IntN(2))
	}
	if e.rng.IntN(2) == 0 {
		e.mixed()
	}
	return true
}

// someNames leaves directory operations out, with all content there or mixed.
func (e *explorer) someNames() bool {
	if len(e.names) < 2 {
		return false
	}
	for _, i := range e.names {
		e.set(i, e.rng.IntN(2))
	}
	if e.rng.IntN(2) == 0 {
		e.mixed()
	}
	return true
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
