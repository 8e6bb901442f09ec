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

// faultDetails are what a fault's token carries. A fault is made again, since what the cache of a
// filesystem holds is in no image: requests come in about the same order each time.
type faultDetails struct {
	Subject    string         `json:"s"`
	Program    *kill.Program  `json:"p,omitempty"`
	Filesystem Filesystem     `json:"f"`
	Seed       uint64         `json:"d"`
	Kind       int            `json:"k"`
	Fault      blockdev.Fault `json:"x"`
}

// ReplayFault lives a life again whose token RunFaults has given, with the same fault, until the
// finding shows, some ten times. A result without findings has a note that says so.
func ReplayFault(ctx context.Context, token string, o Options) (*campaign.Result, error) {
	var t faultDetails
	if err := campaign.ParseToken(token, faultName, &t); err != nil {
		return nil, err
	}
	if t.Kind < 0 || t.Kind >= len(faultKinds) {
		return nil, fmt.Errorf("%w: of another fault than there are", campaign.ErrToken)
	}
	if t.Program != nil {
		o.Program, o.Subject = *t.Program, nil
	}
	o.Filesystem, o.Disks, o.All, o.NoBystander = t.Filesystem, 1, false, true
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }() // in a panic
	if l.subject.Name() != t.Subject {
		return nil, errors.Join(fmt.Errorf("%w: %q, not %q", campaign.ErrSubject, t.Subject, l.subject.Name()), l.close())
	}
	f := &faultLab{lab: l, outcomes: make([]FaultOutcome, len(faultKinds))}
	tries := 0
	for d := l.disks.Disks[0]; err == nil && tries < l.o.Tries && !l.run.Over(); tries++ {
		if faultKinds[t.Kind].place != aRead {
			err = f.writeLife(d, t.Seed, t.Kind, t.Fault)
			continue
		}
		var own *life
		if own, err = l.record(ctx, d, t.Seed, l.begin()); err == nil {
			err = errors.Join(f.failRead(d, own, t.Kind, t.Fault), l.disks.Drop(own.rec.ID))
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	err = errors.Join(err, l.close())
	l.run.Over() // says why, if the context has ended
	r := l.run.Result(faultName)
	r.Filesystem = l.fs.Name
	r.Finish(l.run.Began())
	for i := range r.Findings {
		r.Findings[i].Token = token
	}
	if len(r.Findings) == 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the life was lived %d times with that fault, and nothing was broken", tries))
	}
	return r, err
}
