//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// Replay shows a finding again by its token, which carries what the disk held after the cut: that
// is mounted and checked. Only where it was a life itself that has run into something, that life
// is lived again, some ten times. A result without findings has a note that says so. A subject of
// the caller's own is to be given in the options again.
func Replay(ctx context.Context, token string, o Options) (*campaign.Result, error) {
	return replay(ctx, token, "", o)
}

// Keep is Replay, and leaves the image that shows the finding, as the power cut left it, in the
// directory keep, which must not exist, and a copy of it mounted there, read-only: for a person to
// look at, and to unmount.
func Keep(ctx context.Context, token, keep string, o Options) (*campaign.Result, error) {
	return replay(ctx, token, keep, o)
}

func replay(ctx context.Context, token, keep string, o Options) (*campaign.Result, error) {
	var t details
	if err := campaign.ParseToken(token, campaignName, &t); err != nil {
		return nil, err
	}
	if t.Filesystem.IsPOSIX() {
		if t.Program == nil || t.Tree == nil {
			return nil, fmt.Errorf("%w: of no program", campaign.ErrToken)
		}
		if keep != "" {
			return nil, fmt.Errorf("%w: what POSIX leaves is in no image: %s", ErrOptions, "replay it without a directory to keep")
		}
		o.Program, o.Subject, o.Filesystem = *t.Program, nil, t.Filesystem
		return replayPOSIX(ctx, &t, o)
	}
	image, err := unpack(t.Image)
	if err != nil {
		return nil, err
	}
	if len(image) == 0 && !t.Life {
		return nil, fmt.Errorf("%w: without a power cut", campaign.ErrToken)
	}
	if t.Program != nil {
		o.Program, o.Subject = *t.Program, nil
	}
	o.Mutate = t.Mutate
	o.Filesystem, o.All, o.Disks, o.Once = t.Filesystem, false, 1, true
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }() // in a panic
	if l.subject.Name() != t.Subject {
		return nil, errors.Join(fmt.Errorf("%w: %q, not %q", campaign.ErrSubject, t.Subject, l.subject.Name()), l.close())
	}
	if err = l.replay(&t, image, keep); ctx.Err() != nil {
		err = nil
	}
	err = errors.Join(err, l.close())
	l.run.Over() // says why, if the context has ended
	r := l.run.Result(campaignName)
	r.Filesystem, r.Notes = l.fs.Name, l.notes
	r.Finish(l.run.Began())
	for i := range r.Findings {
		r.Findings[i].Token = token
	}
	return r, err
}

// replay shows a token's finding.
func (l *lab) replay(t *details, image blockdev.Image, keep string) error {
	b := l.begin()
	if len(image) > 0 {
		known, err := kill.CodecOf(l.subject).ParseKnown(t.Known)
		if err != nil {
			return fmt.Errorf("%w: %w", campaign.ErrToken, err)
		}
		b.first = known
		if b.view, err = l.disks.Load(image); err != nil {
			return err
		}
	}
	d, shown := l.disks.Disks[0], false
	if !t.Life {
		c, err := l.mounted(d, b.view, func(f campaign.Found) *campaign.Broken {
			return checkEach(f, b.first, like(&campaign.Broken{Kind: t.Kind, Clause: t.Clause}))
		})
		if err != nil {
			return err
		}
		l.run.Add(1, 1)
		if shown = c.broken != nil; shown {
			l.shows(t, c.broken)
		}
	}
	for n := 0; t.Life && !shown && n < l.o.Tries && !l.run.Over(); n++ {
		l.run.Live()
		own, err := l.record(l.run.Context(), d, t.Seed, b)
		if err != nil {
			return err
		}
		if err = l.disks.Drop(own.rec.ID); err != nil {
			return err
		}
		l.run.Add(1, 1)
		if shown = own.broken != nil; shown {
			l.shows(t, own.broken)
		}
	}
	switch {
	case !shown && t.Life:
		l.note(fmt.Sprintf("the life was lived %d times, and ran into nothing", l.o.Tries))
	case !shown:
		l.note("the state was made again, and nothing is broken in it")
	case keep != "":
		return l.leave(b.view, keep)
	}
	return nil
}

// shows reports what shows again.
func (l *lab) shows(t *details, b *campaign.Broken) {
	l.run.Found(campaign.Finding{
		Kind: b.Kind, Clause: b.Clause, Summary: b.What + ": " + t.When, Lost: t.Lost, Subject: t.Subject, Seed: t.Seed,
	})
}
