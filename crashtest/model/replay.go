//go:build linux

package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// ErrDiverged reports a life that did not take the turns it took when its token
// was made: the subject, or its workload, is not what it was then. Replay the
// token with the version that has found it.
var ErrDiverged = errors.New("model: the life took other turns than it did")

// ErrNotFound reports a token whose finding did not show again: the fault was
// repaired, or the subject is not what it was.
var ErrNotFound = errors.New("model: the finding does not show: nothing is broken in that state")

// A replay is begun again when a life takes other turns, for replayTime. A life
// that can follow its turns, and does something else, so many times in a row, is
// another one.
const (
	replayTime = time.Minute
	mostOthers = 20
)

// errLost reports a life that could not follow its turns: who was to make one
// waited for another one.
var errLost = fmt.Errorf("%w: a goroutine waits", ErrDiverged)

// Replay lives a token's lives again, crash by crash, and checks the last state.
// It returns the finding, ErrNotFound, or why that state could not be reached.
// find returns the subject of a name, or nil.
func Replay(ctx context.Context, token, dir string, find func(name string) campaign.Subject) (*campaign.Finding, error) {
	return replay(ctx, token, dir, find, nil)
}

// Keep is Replay, and writes the state that breaks the promise into the
// directory keep, which must not exist, so that a person can inspect it.
func Keep(ctx context.Context, token, dir, keep string, find func(name string) campaign.Subject) (*campaign.Finding, error) {
	return replay(ctx, token, dir, find, func(files durabilitytest.Files) error {
		if _, err := os.Stat(keep); err == nil {
			return fmt.Errorf("model: %s is there already", keep)
		}
		return files.WriteTo(keep)
	})
}

func replay(ctx context.Context, token, dir string, find func(string) campaign.Subject, keep func(durabilitytest.Files) error) (*campaign.Finding, error) {
	var d details
	if err := campaign.ParseToken(token, "model", &d); err != nil {
		return nil, err
	}
	if err := d.Mutate.Check(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	s := find(d.Subject)
	if s == nil {
		return nil, fmt.Errorf("%w: %q", campaign.ErrSubject, d.Subject)
	}
	scratch, err := scratchDir(dir)
	if err != nil {
		return nil, err
	}
	defer remove(scratch)
	tries, others := 0, 0
	for began := time.Now(); others < mostOthers && time.Since(began) < replayTime; tries++ {
		if err = ctx.Err(); err != nil {
			return nil, err
		}
		p := player{subject: s, d: &d, scratch: scratch, keep: keep}
		var f *campaign.Finding
		if f, err = p.play(); !errors.Is(err, ErrDiverged) {
			return f, err
		}
		if others++; errors.Is(err, errLost) {
			others = 0
		}
	}
	return nil, fmt.Errorf("%w, in %d tries", ErrDiverged, tries)
}

// player plays a token once.
type player struct {
	subject campaign.Subject
	d       *details
	scratch string
	keep    func(durabilitytest.Files) error
}

// play lives the lives.
func (p *player) play() (*campaign.Finding, error) {
	b := begin{exact: p.d.Exact, mutate: p.d.Mutate}
	for i := range p.d.Steps {
		st := &p.d.Steps[i]
		s, broken, err := p.crash(st, b, i == len(p.d.Steps)-1 && !p.d.Broken)
		if s != nil {
			defer remove(s.e.r.root)
		}
		if err != nil || broken != nil {
			return broken, err
		}
		b = s.next(st)
	}
	if !p.d.Broken {
		return nil, ErrNotFound
	}
	r, err := live(p.subject, p.d.Life, p.scratch, b)
	if r == nil {
		return nil, err
	}
	defer remove(r.root)
	if err == nil {
		return nil, ErrNotFound
	}
	f, terr := tellLife(r, placeless(campaign.AsBroken(err, campaign.Stuck), r.root))
	return &f, terr
}

// crash lives one life up to its crash, and checks that state if it is the last.
func (p *player) crash(st *step, b begin, last bool) (*state, *campaign.Finding, error) {
	b.script = st.Script
	r, err := live(p.subject, st.Seed, p.scratch, b)
	if r == nil {
		return nil, nil, err
	}
	if len(r.events) < st.At || shape(r.events[:st.At]) != st.Shape {
		return nil, nil, errors.Join(ErrDiverged, r.discard())
	}
	e := &explorer{r: r, checker: newChecker(p.subject, p.scratch, 0, nil), at: st.At}
	e.known, e.mark = r.known(st.At)
	s := &state{e: e, killed: st.Killed, torn: st.Torn}
	if st.Killed {
		s.files = r.rec.Killed(r.root, st.At, st.Torn)
	} else {
		e.m = r.rec.Moment(r.root, st.At)
		for _, c := range st.Choices {
			if c[0] >= len(e.m.Pieces()) || c[1] >= e.m.Pieces()[c[0]].Options {
				return s, nil, ErrDiverged
			}
			e.m.Set(c[0], c[1])
		}
	}
	if !last {
		return s, nil, nil
	}
	broken := e.checker.recheck(s.content(), e.known, s.killed, false)
	if broken == nil {
		broken = e.checker.recheck(s.content(), e.known, s.killed, true)
	}
	if broken == nil {
		return s, nil, ErrNotFound
	}
	if p.keep != nil {
		if kerr := p.keep(s.content()); kerr != nil {
			return s, nil, kerr
		}
	}
	f, err := tell(s, broken)
	return s, &f, err
}
