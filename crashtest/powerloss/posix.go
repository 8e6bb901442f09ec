//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// POSIX is the name of a filesystem that there is not: it keeps what POSIX promises, that what was
// synced is there, and of all else what the campaign likes. What shows on it alone is not known to
// show on ext4, xfs or btrfs, and may on another one, or on the next version of these. A program runs
// in a scratch directory for it, and is watched by package files; the log has `crash model`.
const POSIX = "posix"

// IsPOSIX reports whether it is that one.
func (f *Filesystem) IsPOSIX() bool { return f.Name == POSIX }

// posixClass are the classes of its states.
var posixClass = [...]string{"all lost that may be", "all content lost", "one thing lost", "one thing kept", "some things lost"}

// posixLab is a campaign on it.
type posixLab struct {
	*lab
	dir  string
	rng  *rand.Rand
	seed maphash.Seed

	mu   sync.Mutex
	by   [len(posixClass)]campaign.Class
	seen map[uint64]int // contents, with the most acknowledgements that each was checked for
	made int            // scratch directories

	refused int64 // states of which the check refuses what is there without a loss, too
}

// moment is what may be lost at a moment of a life.
type moment struct {
	known  *files.Known
	losses []files.Loss
}

// posixState is what is lost.
type posixState struct {
	*moment
	class int
	lost  []files.Loss
}

// runPOSIX is runCuts for it.
func runPOSIX(ctx context.Context, o Options) (r *campaign.Result, marks []Mark, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, nil, err
	}
	l := newLab(ctx, o)
	if l.o.Program.Workload == "" {
		return nil, nil, fmt.Errorf("%w: what POSIX promises is asked of programs; `seawall crash model` asks it of the log", ErrOptions)
	}
	p := &posixLab{lab: l, rng: rand.New(rand.NewPCG(o.Seed, 0x9051)), seen: map[uint64]int{}, seed: maphash.MakeSeed()}
	if p.dir, err = os.MkdirTemp(o.Dir, "seawall-posix-"); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	for !l.run.Over() && err == nil {
		before := l.run.Distinct()
		if err = p.one(); l.run.Distinct() == before {
			break // more of the same life says no more
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	l.run.Over() // says why, if the context has ended
	return p.result(), l.asked(), err
}

// one lives a life, and checks what may be left of it.
func (p *posixLab) one() error {
	p.run.Live()
	moments, err := p.live()
	if err != nil {
		return err
	}
	states := make(chan *posixState)
	var workers sync.WaitGroup
	errs := make([]error, p.run.Cores())
	for i := range errs {
		workers.Go(func() {
			for s := range states {
				if errs[i] == nil && !p.run.Over() {
					errs[i] = p.step(s)
				}
			}
		})
	}
	p.states(moments, func(s *posixState) bool {
		states <- s
		return !p.run.Over()
	})
	close(states)
	workers.Wait()
	return errors.Join(errs...)
}

// scratch returns a new directory for the subject.
func (p *posixLab) scratch() (dir string, remove func() error, err error) {
	p.mu.Lock()
	p.made++
	root := filepath.Join(p.dir, fmt.Sprint(p.made))
	p.mu.Unlock()
	dir = filepath.Join(root, "mnt", subjectName)
	return dir, func() error { return os.RemoveAll(root) }, os.MkdirAll(dir, 0o755)
}

// live runs the workload, and returns its moments.
func (p *posixLab) live() (moments []*moment, err error) {
	dir, remove, err := p.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	s := &files.Subject{Program: p.o.Program, Long: p.o.Long, Over: p.run.Context(), Acks: acksOf, Weak: &p.weak, Snaps: true}
	var mu sync.Mutex
	err = s.Workload(&campaign.Life{Dir: dir, Seed: p.o.Seed, Rand: p.rng, Note: func(k campaign.Known) {
		mu.Lock()
		defer mu.Unlock()
		moments = append(moments, &moment{known: k.(*files.Known)})
	}})
	if errors.Is(err, files.ErrNothing) && !p.o.isWatched() {
		err = nil // it syncs nothing, and has a check
	}
	if err != nil || len(moments) == 0 {
		return nil, err
	}
	for _, m := range moments {
		m.losses = m.known.Losses()
	}
	return moments, p.tryCheck(dir, moments[len(moments)-1].known.Acks)
}

// states hands out what may be lost at each moment, until there is no more, or yield says so.
func (p *posixLab) states(moments []*moment, yield func(*posixState) bool) {
	order := p.rng.Perm(len(moments))
	for _, i := range order {
		m := moments[i]
		var contents []files.Loss
		for _, l := range m.losses {
			if l.IsContent() {
				contents = append(contents, l)
			}
		}
		if !yield(&posixState{m, 0, m.losses}) || !yield(&posixState{m, 1, contents}) {
			return
		}
	}
	for _, i := range order {
		m := moments[i]
		for n, l := range m.losses {
			rest := append(append([]files.Loss(nil), m.losses[:n]...), m.losses[n+1:]...)
			some := make([]files.Loss, 0, len(m.losses))
			for _, l := range m.losses {
				if p.rng.IntN(2) == 0 {
					some = append(some, l)
				}
			}
			if !yield(&posixState{m, 2, []files.Loss{l}}) || !yield(&posixState{m, 3, rest}) || !yield(&posixState{m, 4, some}) {
				return
			}
		}
	}
}

// step checks a state, unless its content was checked for as much.
func (p *posixLab) step(s *posixState) error {
	tree := s.known.Tree(s.lost)
	key, acks := tree.Hash(p.seed), len(s.known.Acks)
	p.mu.Lock()
	most, was := p.seen[key]
	fresh := !was || acks > most || p.o.isWatched()
	if fresh {
		p.seen[key] = acks
	}
	p.mu.Unlock()
	if !fresh {
		p.run.Add(1, 0)
		p.class(s, 0)
		return nil
	}
	b, err := p.judge(tree, s.known, p.marks.isNew)
	if err != nil || p.run.Context().Err() != nil {
		return err
	}
	if was {
		p.run.Add(1, 0)
	} else if !p.run.AddOne() {
		return nil
	}
	p.class(s, 1)
	if b == nil {
		return nil
	}
	// Where the check refuses what is there with nothing lost it is no loss that it minds: it came
	// in the midst of something, or what is made again is not like what was there.
	if now, err := p.judge(s.known.Tree(nil), s.known, like(b)); err != nil || now != nil || !p.marks.take(b) {
		p.mu.Lock()
		p.refused++
		p.mu.Unlock()
		return err
	}
	return p.found(s, b)
}

// class counts a state.
func (p *posixLab) class(s *posixState, distinct int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by[s.class].States++
	p.by[s.class].Count += distinct
}

// judge makes a tree, has the subject recover it, and asks the oracles.
func (p *posixLab) judge(tree *files.Tree, known *files.Known, counts func(*campaign.Broken) bool) (b *campaign.Broken, err error) {
	dir, remove, err := p.scratch()
	if err == nil {
		defer func() { err = errors.Join(err, remove()) }()
		err = tree.Make(dir)
	}
	if err != nil {
		return nil, err
	}
	found, err := p.subject.Recover(dir)
	if err != nil {
		return campaign.AsBroken(err, campaign.Misjudged), nil
	}
	b = checkEach(found, p.knownOf(known), counts)
	if p.run.Context().Err() != nil {
		return nil, nil //nolint:nilnil // its check was ended
	}
	return b, kill.CheckError(found)
}

// knownOf returns what the subject's check asks for.
func (p *posixLab) knownOf(k *files.Known) campaign.Known {
	if p.o.isWatched() {
		return k
	}
	return k.Acks
}

// found shrinks what was found, and reports it.
func (p *posixLab) found(s *posixState, b *campaign.Broken) error {
	left, lost := mostShrinking, s.lost
	var err error
	if len(lost) > 0 {
		lost = campaign.Shrink(lost, func(part []files.Loss) bool {
			if left--; left < 0 || err != nil || p.run.Context().Err() != nil {
				return false
			}
			now, jerr := p.judge(s.known.Tree(part), s.known, like(b))
			if err = jerr; err != nil || now == nil || !like(b)(now) {
				return false
			}
			b = now
			return true
		})
	}
	when := "power cut by the rules of POSIX; " + tellKnown(p.knownOf(s.known))
	f := campaign.Finding{Kind: b.Kind, Clause: b.Clause, Seed: p.o.Seed, Subject: p.subject.Name(), Summary: b.What + ": " + when}
	for _, l := range lost {
		f.Lost = append(f.Lost, l.String())
	}
	t := details{Subject: f.Subject, Program: &p.o.Program, Filesystem: p.fs, Seed: f.Seed, Kind: f.Kind, When: when, Lost: f.Lost, Mutate: p.o.Mutate}
	t.Tree = s.known.Tree(lost)
	var terr error
	if t.Known, terr = kill.CodecOf(p.subject).AppendKnown(nil, p.knownOf(s.known)); terr == nil {
		f.Token, terr = campaign.Token(campaignName, t)
	}
	if terr != nil {
		p.note(fmt.Sprintf("a finding has no token that shows it again: %v", terr))
	}
	p.report(f)
	return err
}

// result returns what was done.
func (p *posixLab) result() *campaign.Result {
	r := p.run.Result(campaignName)
	r.Filesystem = POSIX
	for i, c := range p.by {
		c.Name = posixClass[i]
		r.Classes = append(r.Classes, c)
	}
	r.Finish(p.run.Began())
	r.Missing = nil // a life may have nothing that can be lost
	if p.refused > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("of %s the check refuses what is there with nothing lost, too: they do not count", counted(int(p.refused), "state")))
	}
	r.Notes = append(r.Notes, p.notes...)
	p.noteSkipped(r)
	return r
}

// replayPOSIX shows a token's finding.
func replayPOSIX(ctx context.Context, t *details, o Options) (*campaign.Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &posixLab{lab: newLab(ctx, o)}
	if p.dir, err = os.MkdirTemp(o.Dir, "seawall-posix-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	known, err := kill.CodecOf(p.subject).ParseKnown(t.Known)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", campaign.ErrToken, err)
	}
	k, ok := known.(*files.Known)
	if acks, is := known.(campaign.Acks); !ok && is {
		k = &files.Known{Acks: acks}
	}
	b, err := p.judge(t.Tree, k, like(&campaign.Broken{Kind: t.Kind, Clause: t.Clause}))
	if err != nil {
		return nil, err
	}
	p.run.Add(1, 1)
	if b != nil {
		p.shows(t, b)
	} else {
		p.note("the state was made again, and nothing is broken in it")
	}
	r := p.run.Result(campaignName)
	r.Filesystem, r.Notes = POSIX, p.notes
	r.Finish(p.run.Began())
	return r, nil
}
