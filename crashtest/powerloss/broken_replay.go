//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// ReplayBroken shows a finding of RunBroken again by its token, which carries what the disk held and
// what it did while it was read. With keep it leaves that in a new directory of this name, as Keep
// does. A result without findings has a note that says so.
func ReplayBroken(ctx context.Context, token, keep string, o Options) (*campaign.Result, error) {
	var t brokenDetails
	if err := campaign.ParseToken(token, brokenName, &t); err != nil {
		return nil, err
	}
	image, err := unpack(t.Image)
	switch {
	case err != nil:
		return nil, err
	case t.Kind < 0 || t.Kind >= len(brokenKinds) || len(image) == 0:
		return nil, fmt.Errorf("%w: of a disk that there is not", campaign.ErrToken)
	}
	o.Filesystem, o.Disks, o.All = t.Filesystem, 1, false
	b, err := openBroken(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.close() }() // in a panic
	if b.subject.Name() != t.Subject {
		return nil, errors.Join(fmt.Errorf("%w: %q, not %q", campaign.ErrSubject, t.Subject, b.subject.Name()), b.close())
	}
	c := &brokenCheck{brokenLab: b, d: b.disks.Disks[0], brokenState: &brokenState{kind: t.Kind, read: t.Read, what: t.What}, seed: t.Seed}
	c.asks = campaign.Examination{OpenFirst: t.First, Promised: t.Promised}
	if c.known, err = b.examiner.ParseLife(t.Life); err == nil && len(c.known) == 0 {
		err = fmt.Errorf("%w: without a life", campaign.ErrToken)
	}
	if err == nil {
		c.view, err = b.disks.Load(image)
	}
	if err == nil {
		err = c.again(&t, keep)
	}
	if ctx.Err() != nil {
		err = nil
	}
	err = errors.Join(err, b.close())
	b.run.Over() // says why, if the context has ended
	r := b.run.Result(brokenName)
	r.Filesystem, r.Notes = b.fs.Name, b.notes
	r.Finish(b.run.Began())
	for i := range r.Findings {
		r.Findings[i].Token = token
	}
	return r, err
}

// again shows a token's finding. What is read, and when, is the kernel's to say: where a read is
// what goes wrong it is tried some times.
func (c *brokenCheck) again(t *brokenDetails, keep string) error {
	tries := 1
	if c.read != nil {
		tries = c.o.Tries
	}
	var came cameOf
	for n := 0; n < tries && !c.run.Over(); n++ {
		var err error
		if came, err = c.examine(c.view); err != nil {
			return err
		}
		c.run.Add(1, 1)
		if !came.isLike(&cameOf{Examined: campaign.Examined{Kind: t.Found, Clause: t.Clause}}) {
			continue
		}
		c.run.Found(campaign.Finding{
			Kind: came.Kind, Clause: came.Clause, Subject: t.Subject, Seed: t.Seed, Lost: t.Lost,
			Summary: fmt.Sprintf("believed: %s: %s on %s; %s", came.What, t.What, c.fs.Name, tellKnown(c.known[len(c.known)-1])),
		})
		if keep != "" {
			return c.leave(c.view, keep)
		}
		return nil
	}
	c.note(fmt.Sprintf("the state was made again, and what came of it is: %s", came.Outcome))
	return nil
}
