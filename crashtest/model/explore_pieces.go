//go:build linux

package model

import (
	"errors"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

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

// some returns so many of a list, chosen again each time; all, where they are no
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
