//go:build linux

package truncate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
)

// campaignName is the name of these campaigns, in results and tokens.
const campaignName = "truncate"

// Options say how a campaign is run.
type Options struct {
	campaign.Limits

	// Log is which log it is about: empty is the log, and the others are wrong in a known
	// way, or their twins.
	Log string
}

// Result is what a campaign did and found.
type Result struct {
	*campaign.Result

	// Changes say how the lives ended in which a file was changed in one way.
	Changes []Outcome `json:"changes"`
}

// Outcome is how the lives of one change ended.
type Outcome struct {
	Change string `json:"change"`
	Lives  int64  `json:"lives"`

	WriterFailed int64 `json:"writer_failed"` // the writer had an error
	ReaderFailed int64 `json:"reader_failed"` // a reader had, in any process

	// What verify said afterwards. Of NoLog it found none, as the directory was away.
	Clean   int64 `json:"clean"`
	Torn    int64 `json:"torn"`
	Damaged int64 `json:"damaged"`
	NoLog   int64 `json:"no_log"`
}

// lab is a campaign in progress.
type lab struct {
	o    Options
	run  *campaign.Run
	dir  string // of scratch files
	drop bool   // to the user nobody, where permissions are changed
	next atomic.Uint64

	mu       sync.Mutex // guards what follows
	outcomes []Outcome
	moments  []campaign.Class
}

// Run changes files of the log until the limits are reached, and returns what it did. An
// error says that the campaign could not go on; the result then tells how far it came.
// When the context ends, that is no error. Its children are this program, started anew:
// see BeChild.
func Run(ctx context.Context, o Options) (*Result, error) {
	BeChild() // in a program that has not called it, which would start itself for ever
	if _, err := subjectNamed(o.Log); err != nil {
		return nil, err
	}
	if len(o.Mutate) > 0 {
		return nil, errors.New("truncate: no mutation of syncs shows in what files are changed to: package model finds those")
	}
	l := newLab(ctx, o)
	err := l.inScratch(l.work)
	l.run.Over() // says why, if the context has ended
	return l.result(), err
}

// newLab begins a campaign.
func newLab(ctx context.Context, o Options) *lab {
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if abs, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = abs
	}
	l := &lab{o: o, run: campaign.Begin(ctx, o.Limits)}
	for i := range changes {
		if name := changes[i].name; l.outcome(name) == nil {
			l.outcomes = append(l.outcomes, Outcome{Change: name})
		}
	}
	for i := range moments {
		l.moments = append(l.moments, campaign.Class{Name: moments[i].name})
	}
	return l
}

// inScratch calls fn with a scratch directory, which is removed again.
func (l *lab) inScratch(fn func() error) (err error) {
	if l.dir, err = os.MkdirTemp(l.o.Dir, "seawall-truncate-"); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	if err = os.Chmod(l.dir, 0o711); err != nil { // the user nobody has to get to its lives
		return fmt.Errorf("truncate: %w", err)
	}
	l.drop = mayDrop(l.run.Context(), l.dir)
	return fn()
}

// work has all workers live lives.
func (l *lab) work() error {
	ctx, stop := context.WithCancel(l.run.Context())
	defer stop()
	var all sync.WaitGroup
	errs := make([]error, l.run.Cores())
	for n := range errs {
		all.Go(func() {
			if err := l.worker(ctx); err != nil && ctx.Err() == nil {
				errs[n] = err
				stop() // the others need not go on
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// worker lives one life after the other, until the campaign is over. Which these are
// follows from their numbers.
func (l *lab) worker(ctx context.Context) error {
	for !l.run.Over() && ctx.Err() == nil {
		n := l.next.Add(1) - 1
		if l.o.States > 0 && n >= uint64(l.o.States) {
			return nil
		}
		if err := l.life(ctx, newPlan(l.o.Log, l.o.Seed, n)); err != nil {
			return err
		}
	}
	return nil
}

// life lives one life, counts it, and reports what is found.
func (l *lab) life(ctx context.Context, p *Plan) error {
	lived, r, broken, err := live(ctx, p, l.dir, l.drop)
	if err != nil {
		return err
	}
	l.run.Live()
	l.run.AddOne()
	if r != nil {
		l.count(r)
	}
	if broken == nil {
		return nil
	}
	f, err := lived.finding(broken)
	if err == nil {
		l.run.Found(*f)
	}
	return err
}

// finding returns what is broken in a life, with its token.
func (l *life) finding(b *campaign.Broken) (*campaign.Finding, error) {
	token, err := campaign.Token(campaignName, l.plan)
	if err != nil {
		return nil, err
	}
	return &campaign.Finding{
		Kind: b.Kind, Clause: b.Clause, Token: token, Summary: fmt.Sprintf("%s: %s; %s", b.Kind, b.What, l.words()),
		Subject: l.plan.Log, Seed: l.plan.Seed,
	}, nil
}

// words say what was changed, and when.
func (l *life) words() string {
	c := l.change
	switch {
	case c == nil:
		return "before anything was changed"
	case l.plan.Change == nothing:
		return "nothing was changed"
	}
	words := l.plan.Change
	switch how := changeNamed(l.plan.Change); {
	case how.at:
		words += fmt.Sprintf(": %s at byte %d of %d", c.File, c.At, c.Size)
	case !how.ofDir:
		words += ": " + c.File
	}
	words += ", " + c.Moment
	if c.Call != "" {
		words += " (" + c.Call + ")"
	}
	return words
}

// outcome returns the outcome of a change, or nil.
func (l *lab) outcome(name string) *Outcome {
	for i := range l.outcomes {
		if l.outcomes[i].Change == name {
			return &l.outcomes[i]
		}
	}
	return nil
}

// count counts a life.
func (l *lab) count(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add := func(n *int64, is bool) {
		if is {
			*n++
		}
	}
	o := l.outcome(r.change) // there is one for each change
	add(&o.Lives, true)
	add(&o.WriterFailed, r.writer)
	add(&o.ReaderFailed, r.reader)
	add(&o.Clean, r.verdict == "clean")
	add(&o.Torn, r.verdict == "torn")
	add(&o.Damaged, r.verdict == damaged)
	add(&o.NoLog, r.verdict == noLog)
	for i := range l.moments {
		add(&l.moments[i].Count, l.moments[i].Name == r.moment)
	}
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
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.outcomes {
		r.Count(l.outcomes[i].Change, l.outcomes[i].Lives)
	}
	r.Situations = l.moments
	if os.Geteuid() == 0 && !l.drop && l.run.Distinct() > 0 {
		r.Notes = append(r.Notes, "chmod: all processes are root's, whom no permission stops: the user nobody cannot be started in this directory")
	}
	r.Finish(l.run.Began())
	if l.next.Load() < uint64(len(changes)) {
		r.NotReached()
	}
	return &Result{Result: r, Changes: l.outcomes}
}

// replayTries is how often a life is lived again until it shows a finding: what the
// scheduler chooses in it is not the same each time.
const replayTries = 20

// Replay lives the life of a token again, below o.Dir, until what is broken shows, some
// twenty times. A result without a finding says that nothing showed.
func Replay(ctx context.Context, token string, o Options) (*Result, error) {
	BeChild()
	var p Plan
	if err := campaign.ParseToken(token, campaignName, &p); err != nil {
		return nil, err
	}
	if _, err := subjectNamed(p.Log); err != nil {
		return nil, fmt.Errorf("%w: %w", campaign.ErrSubject, err)
	}
	if changeNamed(p.Change) == nil || momentNamed(p.Moment) == nil {
		return nil, fmt.Errorf("%w: it names a change %q at a moment %q, of which one is not known here", campaign.ErrToken, p.Change, p.Moment)
	}
	o.Seed, o.Cores, o.Log = p.Seed, 1, p.Log
	l := newLab(ctx, o)
	err := l.inScratch(func() error {
		for range replayTries {
			if l.run.Over() {
				return nil
			}
			if err := l.life(ctx, &p); err != nil {
				return err
			}
		}
		return nil
	})
	r := l.result()
	r.Missing, r.Unreached = nil, nil // one life is no campaign
	if err == nil && len(r.Findings) == 0 {
		r.Notes = []string{fmt.Sprintf("the life was lived %d times, and nothing was broken", r.Lives)}
	}
	return r, err
}
