//go:build linux

package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Replay lives the chain of a token again, and returns what it finds. Aimed lives
// end at the same steps again. A blind kill depends on its instant, which no seed
// makes the same twice: a result without findings has a note that says how often
// that was tried. A subject of the caller's own is to be given in the options
// again.
func Replay(ctx context.Context, token string, o Options) (*Result, error) {
	return replay(ctx, token, "", o)
}

// Keep is Replay, and copies the directory that shows the finding, as the kill
// left it, to keep, which must not exist, so that a person can inspect it.
func Keep(ctx context.Context, token, keep string, o Options) (*Result, error) {
	return replay(ctx, token, keep, o)
}

func replay(ctx context.Context, token, keep string, o Options) (*Result, error) {
	mustNotBeChild(o.Subject)
	var d details
	if err := campaign.ParseToken(token, campaignName, &d); err != nil {
		return nil, err
	}
	if d.Program != nil {
		o.Program, o.Subject = *d.Program, nil
	}
	o.All, o.Mutate = false, d.Mutate
	o, err := o.withDefaults(ctx)
	if err != nil {
		return nil, err
	}
	if len(d.Lives) == 0 {
		return nil, fmt.Errorf("%w: without a life", campaign.ErrToken)
	}
	if o.Subject.Name() != d.Subject {
		return nil, fmt.Errorf("%w: %q, not %q", campaign.ErrSubject, d.Subject, o.Subject.Name())
	}
	l := newLab(ctx, o)
	l.tally.required, l.keepAs = nil, keep
	err = l.inScratch(func() error { return l.relive(ctx, d, o.Tries) })
	l.run.Over() // says why, if the context has ended
	return l.result(), unlessEnded(err)
}

// snapshot copies what a death has left, before it is inspected, to where it
// takes the place of the death's before.
func (l *lab) snapshot(c *chain) (string, error) {
	copied := filepath.Join(l.dir, "left")
	if err := os.RemoveAll(copied); err != nil {
		return "", err
	}
	return copied, os.CopyFS(copied, os.DirFS(c.dir))
}

// relive lives a chain until it shows what it has shown. Every other try lives it
// several times at once, in one process, as the campaign did with others: what goes
// on in the background of an aimed life, and all of a blind one, depends on that.
// From the third try on blind kills come somewhat earlier or later.
func (l *lab) relive(ctx context.Context, d details, tries int) error {
	rng := rand.New(rand.NewPCG(d.Lives[0].Seed, 3))
	for n := 0; n < tries && !l.run.Over(); n++ {
		copies := 1
		if n%2 == 1 && !l.o.isProgram() {
			copies = crewLives
		}
		var chains []*chain
		for i := range copies {
			c := newChain(filepath.Join(l.dir, fmt.Sprintf("%d-%d", n, i)), 0)
			if err := c.begin(); err != nil {
				return err
			}
			chains = append(chains, c)
		}
		found, err := l.reliveOnce(ctx, d.Lives, chains, func(wait time.Duration) time.Duration {
			if n < 2 {
				return wait
			}
			return wait/2 + time.Duration(rng.Int64N(int64(wait)+1))
		})
		if err != nil || found {
			return err
		}
		for _, c := range chains {
			if err := os.RemoveAll(c.dir); err != nil {
				return err
			}
		}
	}
	l.tally.note(fmt.Sprintf("the finding did not show again in %d tries", tries))
	return nil
}

// reliveOnce lives the same lives in each chain, and reports whether any shows
// something. The first chain alone is aimed.
func (l *lab) reliveOnce(ctx context.Context, lives []Plan, chains []*chain, vary func(time.Duration) time.Duration) (bool, error) {
	for _, p := range lives {
		p.Wait = vary(p.Wait)
		for i, c := range chains {
			own := p
			if i > 0 {
				own.Aim = nil
			}
			c.lives = append(c.lives, own)
		}
		deaths, err := l.newLiver(chains).live(ctx)
		if err != nil {
			return false, err
		}
		for i, c := range chains {
			broken, err := l.verify(c, deaths[i])
			if err != nil || broken != nil {
				return broken != nil, err
			}
		}
	}
	return false, nil
}
