//go:build linux

package powerloss

import (
	"math/rand/v2"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// class is a class of states.
type class int

const (
	atFlush class = iota
	oneMissing
	readMissing
	someMissing
	tornSector
	secondCut
	classes
)

// className are their names, in results.
var className = [classes]string{
	"what a flush left", "one request missing", "some of those read missing", "some missing", "sectors missing", "second cut, in recovery",
}

// state is what a power cut could leave.
type state struct {
	life  *life
	class class
	epoch int
	// lost are the requests of the epoch that are missing, wholly or by sectors, in
	// order. All others before the next flush are there.
	lost []blockdev.Lost
	key  uint64 // of its content

	atlas    *atlas // what lay where, once something was found
	brokenBy int    // how many acknowledgements had been heard by which it is
}

// newState returns a state with its key.
func newState(l *life, c class, epoch int, lost []blockdev.Lost) *state {
	s := &state{life: l, class: c, epoch: epoch, lost: lost}
	torn := make(map[int][]int)
	var kept []int
	for _, n := range l.requests(epoch) {
		i := slices.IndexFunc(lost, func(x blockdev.Lost) bool { return x.Event == n })
		if i >= 0 && lost[i].Sectors == nil {
			continue
		}
		if i >= 0 {
			torn[n] = lost[i].Sectors
		}
		kept = append(kept, n)
	}
	s.key = l.key ^ l.index.Key(l.epochs[epoch].From, kept, torn)
	return s
}

// requests returns the requests of an epoch that change something.
func (l *life) requests(epoch int) []int {
	var list []int
	for n := l.epochs[epoch].From; n < l.epochs[epoch].To; n++ {
		if l.rec.Events[n].Length > 0 {
			list = append(list, n)
		}
	}
	return list
}

// view returns what the disk holds.
func (s *state) view() blockdev.View {
	return blockdev.View{Layer: s.life.rec.ID, Cut: s.life.epochs[s.epoch].To, Lost: s.lost}
}

// least returns how many acknowledgements had been heard at the first moment at
// which the state could be left: when the last request that is there was handled.
func (s *state) least() int {
	e := s.life.epochs[s.epoch]
	last := e.From - 1
	for _, n := range s.life.requests(s.epoch) {
		if !slices.ContainsFunc(s.lost, func(l blockdev.Lost) bool { return l.Event == n && l.Sectors == nil }) {
			last = n
		}
	}
	if last < 0 {
		return 0
	}
	return s.life.rec.Events[last].Acks
}

// most returns how many had been heard at the last such moment: when the next
// flush was asked for.
func (s *state) most() int {
	if to := s.life.epochs[s.epoch].To; to < len(s.life.rec.Events) {
		return s.life.rec.Events[to].Acks
	}
	return len(s.life.rec.Acks)
}

// maker makes the states of a life. It is not safe for concurrent use.
type maker struct {
	life    *life
	rng     *rand.Rand
	streams []stream
	turn    int
}

// stream makes states one by one. One that cannot make any now returns nil; done
// says that it never will again.
type stream func() (s *state, done bool)

// newMaker returns what makes the states of a life: the classes take turns, the
// exhaustive ones until they are through, the seeded ones as often as those.
func newMaker(l *life, rng *rand.Rand) *maker {
	m := &maker{life: l, rng: rng}
	flushes, singles := m.atFlush(), m.oneMissing()
	total := 0
	for e := range l.epochs {
		total += 1 + len(l.requests(e))
	}
	m.streams = []stream{
		flushes, singles, m.times(total, m.readMissing), flushes, singles, m.times(total, m.someMissing), m.times(total, m.torn),
	}
	return m
}

// next returns the next state, or nil after the last.
func (m *maker) next() *state {
	for len(m.streams) > 0 {
		m.turn = (m.turn + 1) % len(m.streams)
		s, done := m.streams[m.turn]()
		if done {
			m.streams = slices.Delete(m.streams, m.turn, m.turn+1)
		}
		if s != nil {
			return s
		}
	}
	return nil
}

// times makes a stream that tries n times to make a state.
func (m *maker) times(n int, make func() *state) stream {
	return func() (*state, bool) {
		n--
		return make(), n <= 0
	}
}

// all loses all of these requests.
func all(requests []int) []blockdev.Lost {
	var lost []blockdev.Lost
	for _, n := range requests {
		lost = append(lost, blockdev.Lost{Event: n})
	}
	return lost
}

// atFlush makes what each flush left, and all that came before the next one.
func (m *maker) atFlush() stream {
	order := m.rng.Perm(2 * len(m.life.epochs))
	return func() (*state, bool) {
		if len(order) == 0 {
			return nil, true
		}
		n := order[0]
		order = order[1:]
		var lost []blockdev.Lost
		if n%2 == 0 {
			lost = all(m.life.requests(n / 2))
		}
		return newState(m.life, atFlush, n/2, lost), false
	}
}

// oneMissing makes each state in which one request of an epoch is missing.
func (m *maker) oneMissing() stream {
	type place struct{ epoch, event int }
	var places []place
	for e := range m.life.epochs {
		for _, n := range m.life.requests(e) {
			places = append(places, place{e, n})
		}
	}
	m.rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	return func() (*state, bool) {
		if len(places) == 0 {
			return nil, true
		}
		p := places[0]
		places = places[1:]
		return newState(m.life, oneMissing, p.epoch, all([]int{p.event})), false
	}
}

// anEpoch chooses an epoch with requests, and returns them.
func (m *maker) anEpoch() (epoch int, requests []int) {
	for range 8 {
		epoch = m.rng.IntN(len(m.life.epochs))
		if requests = m.life.requests(epoch); len(requests) > 0 {
			return epoch, requests
		}
	}
	return 0, nil
}

// subset returns a part of the requests, in order.
func (m *maker) subset(requests []int) []int {
	var part []int
	odds := 1 + m.rng.IntN(4)
	for _, n := range requests {
		if m.rng.IntN(5) < odds {
			part = append(part, n)
		}
	}
	return part
}

// readMissing makes a state in which some of the requests are missing whose
// blocks a check of the epoch has read.
func (m *maker) readMissing() *state {
	epoch, ok := m.life.aReadEpoch(m.rng)
	if !ok {
		return nil
	}
	var read []int
	for _, n := range m.life.requests(epoch) {
		if m.life.wasRead(epoch, n) {
			read = append(read, n)
		}
	}
	part := m.subset(read)
	if len(part) == 0 {
		return nil
	}
	return newState(m.life, readMissing, epoch, all(part))
}

// someMissing makes a state in which some requests are missing, and mostly all
// those after some point.
func (m *maker) someMissing() *state {
	epoch, requests := m.anEpoch()
	if len(requests) == 0 {
		return nil
	}
	cut := m.rng.IntN(len(requests) + 1)
	lost := m.subset(requests[:cut])
	if m.rng.IntN(3) > 0 {
		lost = append(lost, requests[cut:]...)
	}
	if len(lost) == 0 {
		return nil
	}
	return newState(m.life, someMissing, epoch, all(lost))
}

// torn makes a state in which some sectors of a request are missing.
func (m *maker) torn() *state {
	epoch, requests := m.anEpoch()
	if len(requests) == 0 {
		return nil
	}
	n := requests[m.rng.IntN(len(requests))]
	sectors := m.life.rec.Events[n].Sectors()
	if sectors < 2 {
		return nil
	}
	var lost []int
	if at := 1 + m.rng.IntN(sectors-1); m.rng.IntN(2) == 0 { // its end, or its beginning
		for i := at; i < sectors; i++ {
			lost = append(lost, i)
		}
	} else {
		for i := range at {
			lost = append(lost, i)
		}
	}
	if m.rng.IntN(3) == 0 {
		if lost = m.subset(lost); len(lost) == 0 {
			return nil
		}
	}
	return newState(m.life, tornSector, epoch, []blockdev.Lost{{Event: n, Sectors: lost}})
}
