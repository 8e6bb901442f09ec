//go:build linux

package kill

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
)

// campaignName is the name of these campaigns, in results and tokens.
const campaignName = "kill"

// crewLives is how many lives are lived in one process. More of them share what
// its start costs, and get less of the machine before they die: with 4, a process
// is a third of a verified kill's cost, and its death meets them in all places.
const crewLives = 4

// lab is a campaign in progress.
type lab struct {
	o     Options
	run   *campaign.Run
	tally *tally
	dir   string // of scratch files
	aims  *aims
	found atomic.Bool
	crews atomic.Uint64 // that were begun

	silent atomic.Int64 // lives of a program, one after the other, without an acknowledgement

	keepAs string // of a replay: where to leave what shows the finding
}

// Run kills a subject until its limits are reached, and returns what it did. An
// error says that the campaign could not go on; the result then tells how far it
// came. When the context ends, that is no error.
//
// In a process that a campaign has started it lives what that asks for, and does
// not return: see BeChild.
func Run(ctx context.Context, o Options) (*Result, error) {
	mustNotBeChild(o.Subject)
	o, err := o.withDefaults(ctx)
	if err != nil {
		return nil, err
	}
	l := newLab(ctx, o)
	err = l.inScratch(func() error {
		if o.isProgram() {
			if goOn, terr := l.trial(ctx); terr != nil || !goOn {
				return unlessEnded(terr)
			}
		}
		return l.work()
	})
	l.run.Over() // says why, if the context has ended
	return l.result(), err
}

// result returns what was done so far.
func (l *lab) result() *Result {
	r := l.run.Result(campaignName)
	if d, err := durability.OpenDir(l.o.Dir, nil); err == nil {
		if fsys, ferr := d.Filesystem(); ferr == nil {
			r.Filesystem = fsys.Name
		}
		_ = d.Close() // nothing was written
	}
	return l.tally.result(r, l.run, l.aims.hadTurns())
}

// newLab begins a campaign.
func newLab(ctx context.Context, o Options) *lab {
	return &lab{o: o, run: campaign.Begin(ctx, o.Limits), tally: newTally(&o), aims: newAims(&o)}
}

// inScratch calls fn with a scratch directory, which is removed again.
func (l *lab) inScratch(fn func() error) (err error) {
	if l.dir, err = os.MkdirTemp(l.o.Dir, "seawall-kill-"); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	return fn()
}

// work has all workers kill. What one of them panics with, this one does, when
// nothing is left of any.
func (l *lab) work() error {
	ctx, stop := context.WithCancel(l.run.Context())
	defer stop()
	var all sync.WaitGroup
	errs, panics := make([]error, l.run.Cores()), make([]any, l.run.Cores())
	for n := range l.run.Cores() {
		all.Go(func() {
			defer stop()
			defer func() { panics[n] = recover() }()
			errs[n] = l.worker(ctx)
		})
	}
	all.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	for i, err := range errs {
		errs[i] = unlessEnded(err)
	}
	return errors.Join(errs...)
}

// unlessEnded returns an error that does not come of the context's end.
func unlessEnded(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// liver lives the last plan of each of its chains.
type liver interface {
	live(ctx context.Context) ([]death, error)
}

// newLiver returns what lives chains of the subject.
func (l *lab) newLiver(chains []*chain) liver {
	if l.o.isProgram() {
		return &programLife{o: &l.o, chain: chains[0]}
	}
	return &crew{o: &l.o, chains: chains, noTrace: func() { l.tally.note(errNoTrace.Error()) }}
}

// worker lives one crew after the other, until the campaign is over.
func (l *lab) worker(ctx context.Context) error {
	for !l.run.Over() && ctx.Err() == nil {
		if err := l.crew(ctx, l.crews.Add(1)-1); err != nil {
			return err
		}
	}
	return nil
}

// crewRounds is how many processes a crew lives in, one after the other.
const crewRounds = 10

// mostTries is how often a place that was missed has its turn again at once.
const mostTries = 2

// crew lives the crew with that number. What it does follows from the campaign's
// seed and the number, whatever other crews do: two of three of its processes are
// aimed, at one place after the other, and each crew begins with other places, so
// that the first few processes of a campaign come to all. A place that was missed
// has its turn again at once, at one of its first steps.
func (l *lab) crew(ctx context.Context, number uint64) error {
	rng := rand.New(rand.NewPCG(l.o.Seed, number+100))
	chains := l.newCrew(rng, number)
	missed := Place("")
	for round, turn, tries := 0, 0, 0; round < crewRounds && !l.run.Over() && ctx.Err() == nil; round++ {
		place, again := Place(""), missed != ""
		switch {
		case l.o.Blind || l.o.isProgram() || round%3 == 2 && !again:
		case again:
			place = missed
			tries++
		default:
			place, tries = l.aims.place(number, turn), 0
			turn++
		}
		hit, err := l.round(ctx, chains, place, again)
		if err != nil {
			return err
		}
		if missed = ""; !hit && tries < mostTries && l.aims.has(place) {
			missed = place
		}
	}
	for _, c := range chains {
		if err := os.RemoveAll(c.dir); err != nil {
			return fmt.Errorf("kill: %w", err)
		}
	}
	return nil
}

// newCrew returns the chains of a crew, of which the first may be aimed.
func (l *lab) newCrew(rng *rand.Rand, number uint64) []*chain {
	lives := crewLives
	if l.o.isProgram() {
		lives = 1
	}
	var chains []*chain
	for i := range lives {
		chains = append(chains, newChain(filepath.Join(l.dir, fmt.Sprintf("%d-%d", number, i)), rng.Uint64()))
	}
	return chains
}

// round lives one life of each chain, the first one aimed at a place if there is
// one, and verifies them. It reports whether the place was hit.
func (l *lab) round(ctx context.Context, chains []*chain, place Place, again bool) (hit bool, err error) {
	for i, c := range chains {
		aim := place
		if i > 0 {
			aim = ""
		}
		if err = c.next(aim, !l.aims.keep, again); err != nil {
			return false, err
		}
	}
	// They die together: the first one's instant is everybody's.
	first := chains[0].lives[len(chains[0].lives)-1]
	for _, c := range chains[1:] {
		c.lives[len(c.lives)-1].Wait = first.Wait
	}
	deaths, err := l.newLiver(chains).live(ctx)
	if err != nil {
		return false, err
	}
	if first.Aim != nil {
		hit = deaths[0].hit
		if note := l.aims.count(first.Aim.Place, hit); note != "" {
			l.tally.note(note)
		}
	}
	for i, c := range chains {
		if _, err = l.verify(c, deaths[i]); err != nil {
			return hit, err
		}
	}
	return hit && chains[0].met == place, nil
}

// verify verifies one death, counts it, and reports what is found.
func (l *lab) verify(c *chain, d death) (*campaign.Broken, error) {
	l.run.Live()
	left := ""
	if l.keepAs != "" {
		var err error
		if left, err = l.snapshot(c); err != nil {
			return nil, err
		}
	}
	v, err := c.verify(&l.o, d)
	if err != nil {
		return nil, err
	}
	if left != "" && v.broken != nil {
		if err := os.CopyFS(l.keepAs, os.DirFS(left)); err != nil {
			return nil, err
		}
	}
	if c.met = ""; v.counted {
		c.met = v.kill.Place
	}
	switch {
	case v.broken != nil:
		l.run.AddOne()
		l.tally.place(d.place, d.hit)
		f, err := c.finding(&l.o, v.broken)
		if err != nil {
			return nil, err
		}
		c.enough = true
		if !l.found.CompareAndSwap(false, true) && !l.o.All {
			return v.broken, nil // another worker was first
		}
		l.run.Found(f)
		if l.o.Keep {
			kept, err := c.keep(l.o.Dir)
			if err != nil {
				return nil, err
			}
			l.tally.note("kept what was found in " + kept)
		}
	case v.counted:
		if !l.run.AddOne() {
			return nil, nil // another worker's was the last
		}
		l.tally.kill(v.kill, countsOf(l.o.Subject, d.before))
	default:
		l.tally.uncounted(d)
		return nil, l.uncounted(d)
	}
	l.silent.Store(0)
	return v.broken, nil
}

// mostSilent is how many lives of a program, one after the other, may give no
// acknowledgement in the time that they have for it.
const mostSilent = 3

// uncounted ends the campaign where a program acknowledges nothing any more.
func (l *lab) uncounted(d death) error {
	if !l.o.isProgram() || d.state != stateNone || l.silent.Add(1) < mostSilent {
		return nil
	}
	return fmt.Errorf("kill: no acknowledgement was seen within %v, %d times in a row: does the workload go on in the directory of one that was killed?%s",
		l.o.Program.Timeout, mostSilent, d.text)
}
