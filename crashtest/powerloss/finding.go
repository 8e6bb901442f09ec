//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// foundLife reports what a workload ran into, where no power was cut, or after an earlier cut.
func (l *lab) foundLife(dev *blockdev.Disk, own *life) error {
	b := own.broken
	if !l.marks.take(b) {
		return nil // another disk was first
	}
	f := campaign.Finding{Kind: b.Kind, Clause: b.Clause, Seed: own.seed, Subject: l.subject.Name()}
	when := "a life without a power cut"
	if own.from != nil {
		when = "a life that goes on from a power cut"
		if err := l.name(dev, own.from); err != nil {
			return err
		}
		f.Lost = l.words(own.from)
	}
	f.Summary = b.What + ": " + when
	var err error
	if f.Token, err = l.token(&f, details{Life: true, When: when}, own.view, own.first, nil); err != nil {
		return err
	}
	l.report(f)
	return nil
}

// mostShrinking is how many states are checked to make a finding smaller.
const mostShrinking = 200

// foundState shrinks what was found in a state, and reports it.
func (l *lab) foundState(d *blockdev.Disk, s *state, b *campaign.Broken) error {
	if b.Kind == Refused {
		return l.refused(d, s, b)
	}
	if !l.marks.take(b) {
		return nil // another disk was first
	}
	// Whatever comes in between, what was found is reported.
	s, b, err := l.shrink(d, s, b)
	f, terr := l.tell(d, s, b)
	l.report(f)
	return errors.Join(err, terr)
}

// shrink returns the state with the fewest missing requests, and of these the
// fewest sectors, that still shows the same.
func (l *lab) shrink(d *blockdev.Disk, s *state, b *campaign.Broken) (*state, *campaign.Broken, error) {
	var err error
	left := mostShrinking
	fails := func(lost []blockdev.Lost) bool {
		if left--; err != nil || left < 0 || l.run.Context().Err() != nil {
			return false
		}
		var now *campaign.Broken
		smaller := newState(s.life, s.class, s.epoch, lost)
		if now, err = l.again(d, smaller, like(b)); err != nil || now == nil || !like(b)(now) {
			return false
		}
		s, b = smaller, now
		return true
	}
	all := slices.Clone(s.lost)
	if len(all) > 0 {
		fewest := campaign.Shrink(all, fails)
		if len(fewest) == 1 && fewest[0].Sectors != nil { // a whole request is more plain than a part of it
			l.shrinkSectors(fewest[0], fails)
		}
	}
	return s, b, err
}

// shrinkSectors loses fewer sectors of the one request that is missing.
func (l *lab) shrinkSectors(lost blockdev.Lost, fails func([]blockdev.Lost) bool) {
	campaign.Shrink(lost.Sectors, func(part []int) bool {
		return len(part) > 0 && fails([]blockdev.Lost{{Event: lost.Event, Sectors: part}})
	})
}

// tell returns the finding of a state, with an error as far as it can be told.
func (l *lab) tell(d *blockdev.Disk, s *state, b *campaign.Broken) (campaign.Finding, error) {
	when := s.when(l.fs.Name)
	f := campaign.Finding{Kind: b.Kind, Clause: b.Clause, Seed: s.life.seed, Subject: l.subject.Name(), Summary: b.What + ": " + when}
	if err := l.name(d, s); err != nil {
		return f, err
	}
	f.Lost = l.words(s)
	var err error
	f.Token, err = l.token(&f, details{When: when}, s.view(), campaign.After(s.life.known(s.brokenBy), false), d)
	return f, err
}

// when says when the power was cut.
func (s *state) when(filesystem string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "power cut on %s", filesystem)
	flushes := 0
	for _, e := range s.life.rec.Events[:s.life.epochs[s.epoch].From] {
		if e.Op == blockdev.Flush {
			flushes++
		}
	}
	if flushes > 0 {
		fmt.Fprintf(&b, " after flush %d", flushes)
	}
	if s.epoch+1 < len(s.life.epochs) {
		fmt.Fprintf(&b, " and before flush %d was answered", flushes+1)
	}
	if s.life.from != nil {
		fmt.Fprintf(&b, ", while going on from an earlier power cut")
	}
	known := "nothing was acknowledged"
	if k := s.life.known(s.brokenBy); k != nil {
		known = fmt.Sprint(k)
	}
	fmt.Fprintf(&b, "; %s", known)
	requests := len(s.life.requests(s.epoch))
	switch {
	case requests == 0:
		fmt.Fprintf(&b, "; nothing was written since the flush before")
	case len(s.lost) == 0 && requests == 1:
		fmt.Fprintf(&b, "; the disk has what was written since the flush before, one request: what is gone was not written yet")
	case len(s.lost) == 0:
		fmt.Fprintf(&b, "; the disk has all %s since the flush before: what is gone was not written yet", counted(requests, "request"))
	default:
		fmt.Fprintf(&b, "; of %s since the flush before, %d %s missing", counted(requests, "request"), len(s.lost), map[bool]string{true: "is", false: "are"}[len(s.lost) == 1])
	}
	return b.String()
}

// counted returns a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
