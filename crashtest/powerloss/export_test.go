//go:build linux

package powerloss

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// Words records a life, and tells of each of its requests what it was to write.
func Words(ctx context.Context, o Options) (words []string, err error) {
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	d := l.disks.Disks[0]
	own, err := l.record(ctx, d, 1, l.begin())
	if err != nil {
		return nil, err
	}
	for e := range own.epochs {
		requests := own.requests(e)
		if len(requests) == 0 || e > 12 {
			continue
		}
		s := newState(own, atFlush, e, all(requests))
		if err = l.name(d, s); err != nil {
			return nil, err
		}
		words = append(words, l.words(s)...)
	}
	return words, nil
}

// States records a life, and returns what is wrong with the states that are made
// of it: one that lacks what was flushed, or has what came after the next flush.
func States(ctx context.Context, o Options) (made int, wrong []View, err error) {
	l, err := open(ctx, o)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	own, err := l.record(ctx, l.disks.Disks[0], 1, l.begin())
	if err != nil {
		return 0, nil, err
	}
	m := newMaker(own, newRand(1))
	for s := m.next(); s != nil; s = m.next() {
		made++
		for _, n := range own.requests(s.epoch) { // as a check would
			own.sawReads(s.epoch, []int64{own.rec.Events[n].Off / blockdev.BlockBytes})
		}
		v := s.view()
		flush := -1 // the last one before the cut
		for i, e := range own.rec.Events[:v.Cut] {
			if e.Op == blockdev.Flush {
				flush = i
			}
		}
		bad := v.Cut < len(own.rec.Events) && own.rec.Events[v.Cut].Op != blockdev.Flush
		for _, x := range v.Lost {
			bad = bad || x.Event <= flush || x.Event >= v.Cut
		}
		if made%25 == 0 { // that takes some time
			key, kerr := l.keyOf(v, own)
			bad = bad || kerr != nil || key != s.key
		}
		if bad {
			wrong = append(wrong, View{v, flush})
		}
	}
	return made, wrong, nil
}

// View is a view, and the flush before its cut.
type View struct {
	blockdev.View
	Flush int
}

// keyOf reads a view, and returns the key of what it differs in from the base.
func (l *lab) keyOf(v blockdev.View, own *life) (key uint64, err error) {
	done := make(map[int64]bool)
	for i := range own.rec.Events {
		e := &own.rec.Events[i]
		for n := range e.Sectors() {
			sector := e.Off/blockdev.SectorBytes + int64(n)
			if done[sector] {
				continue
			}
			done[sector] = true
			p, err := l.disks.ReadView(v, sector*blockdev.SectorBytes, blockdev.SectorBytes)
			if err != nil {
				return 0, err
			}
			key ^= own.rec.Below[sector] ^ blockdev.SectorSum(sector, p)
		}
	}
	return key, nil
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
