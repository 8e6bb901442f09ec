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
	"sync/atomic"

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

// lab is a campaign in progress.
type lab struct {
	run      *campaign.Run
	subjects []campaign.Subject
	ordered  []campaign.Subject // those of them whose lives can be lived by order
	opts     Options
	scratch  string
	keepIn   string
	ledger   *ledger

	noted atomic.Bool // a life said what is known of it
}

// Run checks lives of the subjects until its limits, and returns what it did;
// also with an error, which says why the campaign could not go on. The lives'
// seeds follow from Limits.Seed; the subjects take turns.
//
// With a number of states, the campaign is the same for a seed whenever and
// wherever it is run, down to the last state: its lives are exact ones. With a
// budget alone every fourth life is not, so that clocks and chance come in too.
func Run(ctx context.Context, subjects []campaign.Subject, o Options) (*campaign.Result, error) {
	if len(subjects) == 0 {
		return nil, errors.New("model: no subject")
	}
	if err := o.Mutate.Check(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
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
	l := &lab{
		run: campaign.Begin(ctx, o.Limits), subjects: subjects, opts: o, scratch: scratch, keepIn: filepath.Dir(scratch), ledger: newLedger(),
	}
	for _, s := range subjects {
		if u, ok := s.(campaign.Unordered); !ok || !u.Unordered() {
			l.ordered = append(l.ordered, s)
		}
	}
	var work sync.WaitGroup
	for range l.run.Cores() {
		work.Go(l.work)
	}
	work.Wait()
	l.enterRest()
	err = l.ledger.err
	if rerr := os.RemoveAll(scratch); rerr != nil {
		err = errors.Join(err, rerr)
	}
	return l.result(), err
}

// work lives lives until the campaign is over.
func (l *lab) work() {
	for j := l.begin(); j != nil; j = l.begin() {
		s, exact := l.turn(j.life)
		err := l.life(j, s, lifeSeed(l.opts.Seed, j.life), begin{mutate: l.opts.Mutate, exact: exact})
		if err != nil && !errors.Is(err, errOver) {
			_ = j.add(entry{kind: entryFailed, err: err}) // it is told below
		}
		if l.enter(j, true) != nil {
			return
		}
	}
}

// turn returns the subject of the n-th life, and whether that is lived by order.
func (l *lab) turn(n uint64) (s campaign.Subject, exact bool) {
	of := func(list []campaign.Subject, n uint64) campaign.Subject { return list[n%uint64(len(list))] }
	switch {
	case len(l.ordered) == 0:
		return of(l.subjects, n), false
	case l.opts.States > 0:
		return of(l.ordered, n), true
	case n%freeLives == freeLives-1:
		return of(l.subjects, n/freeLives), false
	}
	return of(l.ordered, n-n/freeLives), true
}

// freeLives is of how many lives one is not lived by order, where no number of
// states says that the campaign is to be the same again.
const freeLives = 4

// lifeSeed returns the seed of the n-th life.
func lifeSeed(seed, n uint64) uint64 { return rand.New(rand.NewPCG(seed, n)).Uint64() >> 1 }

// life runs a life and checks its crash states.
func (l *lab) life(j *journal, s campaign.Subject, seed uint64, b begin) error {
	r, err := live(s, seed, l.scratch, b)
	if r == nil {
		return err
	}
	defer remove(r.root)
	if len(r.marks) > 1 {
		l.noted.Store(true)
	}
	if jerr := j.add(entry{kind: entryLife, depth: r.depth, n: uint64(len(r.events))}); jerr != nil {
		return jerr
	}
	if err != nil {
		f, terr := tellLife(r, placeless(campaign.AsBroken(err, campaign.Stuck), r.root))
		return l.broken(j, f, terr, func(to string) error { return os.CopyFS(to, os.DirFS(r.root)) })
	}
	scratch, err := os.MkdirTemp(l.scratch, "check-")
	if err != nil {
		return err
	}
	defer remove(scratch)
	rng := rand.New(rand.NewPCG(seed, 0xe3))
	ck := newChecker(s, scratch, l.opts.Real, j)
	ck.count = rng.Int64N(l.opts.Real)
	ck.found = func(s *state, b *campaign.Broken) error {
		f, terr := tell(s, b)
		if terr = l.broken(j, f, terr, func(to string) error { return s.content().WriteTo(to) }); terr != nil {
			return terr
		}
		return errNextLife
	}
	e := &explorer{r: r, checker: ck, rng: rng, journal: j, nestIn: -1, quick: b.quick}
	if r.depth+1 < l.opts.Depth {
		e.nest = func(st *state) error { return l.nest(j, st, seed) }
	}
	if err = e.explore(); errors.Is(err, errNextLife) {
		return nil
	}
	return err
}

// errNextLife ends a life in which something was found: more of the same would
// only be another shape of it.
var errNextLife = errors.New("model: found")

// broken tells of a finding, and keeps the files that show it.
func (l *lab) broken(j *journal, f campaign.Finding, err error, write func(to string) error) error {
	if err != nil {
		return err
	}
	kept, err := l.keep(write)
	if err != nil {
		return fmt.Errorf("model: keep what was found: %w", err)
	}
	return j.add(entry{kind: entryFinding, found: &found{f, kept}})
}

// nest lives on from a state.
func (l *lab) nest(j *journal, s *state, seed uint64) error {
	st := s.step()
	return l.life(j, s.e.r.subject, nestedSeed(seed, &st), s.next(&st))
}

// next returns the beginning of the life that goes on from a state.
func (s *state) next(st *step) begin {
	files := durabilitytest.Files{}
	for name, content := range s.content() {
		files[name] = append([]byte(nil), content...)
	}
	r := s.e.r
	b := begin{
		exact: r.exact, files: files, known: campaign.After(s.e.known, s.killed), killed: s.killed,
		path: append(r.path[:len(r.path):len(r.path)], *st), quick: s.quick, mutate: r.mutate,
	}
	if st.Cache {
		b.death = &death{of: r, at: s.e.at, torn: s.torn}
	}
	return b
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
	t := &l.ledger.tally
	t.into(r)
	r.Finish(l.run.Began())
	if r.Lives > 0 && !l.noted.Load() && len(r.Findings) == 0 {
		r.Unverified = []string{fmt.Sprintf("nothing was acknowledged in %d lives: there is nothing that a state could lack", r.Lives)}
	}
	r.Notes = append(r.Notes, l.ledger.notes...)
	if r.Lives > 0 && t.fewest < MinOperations && t.fewest > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the shortest life had %d events only; %d give more states", t.fewest, MinOperations))
	}
	if t.distinct > 0 && 2*t.by[prefixes] > t.distinct {
		r.Missing = append(r.Missing, "states that are no plain prefixes: fewer than half")
	}
	missing := t.situations(r, l.subjects)
	if l.ledger.plans < enoughPlans {
		r.Missing = append(r.Missing, missing...)
		r.NotReached()
	} else if l.ledger.plans < enoughSituated*len(l.subjects) {
		r.Unreached = append(r.Unreached, missing...)
	} else {
		r.Missing = append(r.Missing, missing...)
	}
	return r
}

// enoughSituated is how many lives of a subject come to all of its situations.
const enoughSituated = 12

// enoughPlans is in how many lives each class has had its turn when a campaign
// that has no state of one could not make any.
const enoughPlans = 3
