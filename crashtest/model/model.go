//go:build linux

package model

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// Options say how a campaign is run.
type Options struct {
	campaign.Limits

	// Depth is how many crashes follow one another; 0 is 4: a life, the crash of
	// it, and crashes of three recoveries. 1 crashes no recovery.
	Depth int

	// Keep leaves the files of findings, shrunk, and names them in the notes: not
	// every life can be lived again.
	Keep bool

	// Real is of how many distinct states one is recovered on real files as well
	// as in memory; 0 is 500. Subjects that need a directory always get one.
	Real int64
}

const (
	defaultDepth = 4
	defaultReal  = 500
)

// MinOperations is how many events the lives of a subject should have: shorter
// ones have few states.
const MinOperations = 500

// lab is a campaign on its way.
type lab struct {
	run      *campaign.Run
	subjects []campaign.Subject
	opts     Options
	scratch  string
	met      contents

	mu    sync.Mutex
	notes []string
	tally tally
	next  uint64
	err   error
}

// Run checks lives of the subjects until its limits, and returns what it did;
// also with an error, which says why the campaign could not go on. The lives'
// seeds follow from Limits.Seed; the subjects take turns.
func Run(ctx context.Context, subjects []campaign.Subject, o Options) (*campaign.Result, error) {
	if len(subjects) == 0 {
		return nil, errors.New("model: no subject")
	}
	if o.Depth == 0 {
		o.Depth = defaultDepth
	}
	if o.Real == 0 {
		o.Real = defaultReal
	}
	scratch, err := scratchDir(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &lab{run: campaign.Begin(ctx, o.Limits), subjects: subjects, opts: o, scratch: scratch}
	var work sync.WaitGroup
	for range l.run.Cores() {
		work.Go(l.work)
	}
	work.Wait()
	if err := os.RemoveAll(scratch); err != nil {
		l.err = errors.Join(l.err, err)
	}
	return l.result(), l.err
}

// work lives lives until the campaign is over.
func (l *lab) work() {
	for !l.run.Over() {
		l.mu.Lock()
		n, failed := l.next, l.err != nil
		l.next++
		l.mu.Unlock()
		if failed {
			return
		}
		s := l.subjects[int(n%uint64(len(l.subjects)))]
		err := l.life(s, lifeSeed(l.opts.Seed, n), begin{})
		if err != nil && !errors.Is(err, errOver) {
			l.mu.Lock()
			l.err = errors.Join(l.err, err)
			l.mu.Unlock()
			return
		}
	}
}

// lifeSeed returns the seed of the n-th life.
func lifeSeed(seed, n uint64) uint64 { return rand.New(rand.NewPCG(seed, n)).Uint64() >> 1 }

// life lives a life and checks its crash states.
func (l *lab) life(s campaign.Subject, seed uint64, b begin) error {
	l.run.Live()
	r, err := live(s, seed, l.scratch, b)
	if r == nil {
		return err
	}
	defer remove(r.root)
	if err != nil {
		f, terr := tellLife(r, campaign.AsBroken(err, campaign.Stuck))
		return l.broken(f, terr, func(to string) error { return os.CopyFS(to, os.DirFS(r.root)) })
	}
	scratch, err := os.MkdirTemp(l.scratch, "judge-")
	if err != nil {
		return err
	}
	defer remove(scratch)
	j := newJudge(s, scratch, l.opts.Real, &l.met)
	j.found = func(s *state, b *campaign.Broken) error {
		f, terr := tell(s, b)
		if terr = l.broken(f, terr, func(to string) error { return s.content().WriteTo(to) }); terr != nil {
			return terr
		}
		return errNextLife
	}
	t := tally{}
	if r.depth == 0 {
		t.operations = int64(len(r.events))
		t.fewest = t.operations
	}
	over := l.over(&t)
	e := &explorer{
		r: r, judge: j, rng: rand.New(rand.NewPCG(seed, 0xe3)), tally: &t, over: over,
	}
	if r.depth+1 < l.opts.Depth {
		e.nest = func(st *state) error { return l.nest(st, seed) }
	}
	err = e.explore()
	over() // what it has not been told yet
	t.pure, t.real = j.count, j.real
	l.mu.Lock()
	l.tally.add(&t)
	l.mu.Unlock()
	if errors.Is(err, errNextLife) {
		return nil
	}
	return err
}

// errNextLife ends a life in which something was found: more of the same would
// only be another shape of it.
var errNextLife = errors.New("model: found")

// broken tells of a finding, and keeps the files that show it.
func (l *lab) broken(f campaign.Finding, err error, write func(to string) error) error {
	if err != nil {
		return err
	}
	l.run.Found(f)
	if !l.opts.Keep {
		return nil
	}
	to, err := os.MkdirTemp(filepath.Dir(l.scratch), "seawall-model-found-")
	if err == nil {
		err = write(filepath.Join(to, "state"))
	}
	if err != nil {
		return fmt.Errorf("model: keep what was found: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, "kept what was found in "+to)
	return nil
}

// over returns what brings the campaign's counts up to date with a tally, and
// says whether it is over.
func (l *lab) over(t *tally) func() bool {
	var states, distinct int64
	return func() bool {
		l.run.Add(t.states-states, t.distinct-distinct)
		states, distinct = t.states, t.distinct
		return l.run.Over()
	}
}

// nest lives on from a state.
func (l *lab) nest(s *state, seed uint64) error {
	files := durabilitytest.Files{}
	for name, content := range s.content() {
		files[name] = append([]byte(nil), content...)
	}
	st := s.step()
	return l.life(s.e.r.subject, nestedSeed(seed, &st), begin{
		files: files, known: campaign.After(s.e.known, s.killed), killed: s.killed, path: append(s.e.r.path[:len(s.e.r.path):len(s.e.r.path)], st),
	})
}

// nestedSeed returns the seed of the life that goes on from a crash.
func nestedSeed(seed uint64, s *step) uint64 {
	return rand.New(rand.NewPCG(seed, uint64(s.At)<<20^uint64(len(s.Choices)))).Uint64() >> 1
}

// result returns what the campaign did.
func (l *lab) result() *campaign.Result {
	r := l.run.Result("model")
	if d, err := durability.OpenDir(filepath.Dir(l.scratch), nil); err == nil {
		if fsys, ferr := d.Filesystem(); ferr == nil {
			r.Filesystem = fsys.Name
		}
		_ = d.Close() // nothing was written
	}
	l.tally.into(r)
	r.Finish(l.run.Began())
	t := &l.tally
	r.Notes = append(r.Notes, l.notes...)
	if r.Lives > 0 && t.fewest < MinOperations && t.fewest > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the shortest life had %d events only; %d give more states", t.fewest, MinOperations))
	}
	if t.distinct > 0 && 2*t.by[prefixes] > t.distinct {
		r.Missing = append(r.Missing, "states that are no plain prefixes: fewer than half")
	}
	return r
}
