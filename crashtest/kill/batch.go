//go:build linux

package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// patience is how long a process may take until all of its lives are at work, or
// the aimed one has reached its step. It is no measure of anything: a machine that
// is that busy loses the kill, not the campaign.
const patience = 20 * time.Second

// aimPatience is the same for the way to an aim, once a life is at work: the
// subject may not come there at all. The lives of one that is Thorough end by
// themselves then.
const aimPatience = time.Second / 2

// crew is the lives that are lived in one process, each of a chain. The first one
// may be aimed; the others die with it, blindly.
type crew struct {
	o      *Options
	chains []*chain
	// noTrace is told when ptrace is not permitted.
	noTrace func()
}

// live starts a process, kills it, and returns how each life ended. The last plan
// of each chain says what it lives.
func (c *crew) live(ctx context.Context) (deaths []death, err error) {
	bs, err := newBoards(len(c.chains))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bs.close()) }()
	codec := CodecOf(c.o.Subject)
	args := childArgs{Subject: c.o.Subject.Name(), Mutate: c.o.Mutate}
	for i, ch := range c.chains {
		plan := ch.lives[len(ch.lives)-1]
		args.Lives = append(args.Lives, childLife{Dir: ch.subjectDir(), Seed: plan.Seed, Aim: plan.Aim, Killed: ch.killed})
		if ch.known == nil {
			continue
		}
		data, kerr := codec.AppendKnown(nil, ch.known)
		if kerr == nil {
			kerr = bs.list[i].note(data)
		}
		if kerr != nil {
			return nil, kerr
		}
	}
	p, err := startChild(c.o, args, bs)
	if err != nil {
		return nil, fmt.Errorf("kill: start a child: %w", err)
	}
	ended := false
	defer func() {
		if !ended { // a panic
			_ = p.end()
		}
	}()
	first := c.chains[0]
	plan := &first.lives[len(first.lives)-1]
	var werr error
	if plan.Aim != nil {
		werr = c.awaitAim(ctx, p, plan.Aim)
	} else {
		werr = awaitBlind(ctx, p, len(c.chains), plan.Wait)
	}
	ended = true
	died := p.end()
	var alone *deathError
	if err := errors.Join(werr, ctx.Err()); err != nil {
		return nil, err
	}
	if died != nil && !errors.As(died, &alone) {
		return nil, died
	}
	return c.read(bs, died)
}

// awaitAim waits until the first life has reached its aim, and takes it into the
// copy. The process may be dead when it returns, and is to be killed in any case.
func (c *crew) awaitAim(ctx context.Context, p *process, aim *Aim) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	b := p.boards.list[0]
	for {
		select {
		case what, ok := <-p.told:
			switch {
			case ok && what == toldAtWork && b.at(wordState).Load() == stateAtWork:
				if _, ends := c.o.Subject.(Thorough); !ends {
					timer.Reset(aimPatience)
				}
			case !ok:
				return nil // it has killed itself
			case what == toldHalt:
				err := stepIntoCopy(p, b, aim.Share)
				if errors.Is(err, errNoTrace) {
					c.noTrace()
					return nil
				}
				return err
			case what == toldDone:
				if b.at(wordState).Load() >= stateDone {
					return nil
				}
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// awaitBlind waits until all lives are at work, and then on.
func awaitBlind(ctx context.Context, p *process, lives int, wait time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for atWork := 0; atWork < lives; {
		select {
		case what, ok := <-p.told:
			if !ok || what == toldDone {
				return nil
			}
			atWork++
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// read reads what a dead process left in its shared memory.
func (c *crew) read(bs *boards, died error) ([]death, error) {
	codec := CodecOf(c.o.Subject)
	deaths := make([]death, 0, len(c.chains))
	for i, ch := range c.chains {
		b := bs.list[i]
		d := death{
			known: ch.known, before: ch.known, place: placeAt(b.at(wordPlace).Load()), state: b.at(wordState).Load(),
			text: b.text(), err: died,
		}
		if data := b.known(); data != nil {
			var err error
			if d.known, err = codec.ParseKnown(data); err != nil {
				return nil, err
			}
		}
		plan := ch.lives[len(ch.lives)-1]
		d.hit = plan.Aim != nil && d.place == plan.Aim.Place && b.at(wordHit).Load() == 1
		deaths = append(deaths, d)
	}
	return deaths, nil
}

// parseBroken returns what a workload found broken.
func parseBroken(text string) *campaign.Broken {
	var b campaign.Broken
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return &campaign.Broken{Kind: campaign.Misjudged, What: text}
	}
	return &b
}
