//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// ErrOptions reports options that make no sense.
var ErrOptions = errors.New("kill: invalid options")

// Options say what a campaign kills, and for how long: without limits until its
// context ends.
type Options struct {
	campaign.Limits

	// Subject is what is killed. Its Tracer in campaigns is a Stage, its Known either
	// campaign.Acks or what it is a Codec for. It may be a Counter, Inspector, Settler,
	// Placer, Bounded and Thorough too.
	Subject campaign.Subject

	// Program, if set, is killed in place of a Subject.
	Program Program

	// Aims are the places that exact kills are aimed at: of the first five, all if
	// there is none.
	Aims []Place

	// Blind leaves exact kills out.
	Blind bool

	// Args are the arguments with which this binary, started again, comes to Run or
	// BeChild; none is what most programs need.
	Args []string

	// Keep leaves the directories of findings, and names them in the notes.
	Keep bool

	// OnKill, if set, is told of each verified kill, one at a time.
	OnKill func(Kill)

	// Tries is how often Replay lives a chain before it says that nothing was
	// found; 0 is 20. One try will mostly do for a chain of aimed lives.
	Tries int
}

// withDefaults checks the options.
func (o Options) withDefaults(ctx context.Context) (Options, error) {
	switch {
	case (o.Program.Workload == "") != (o.Program.Check == ""):
		return o, fmt.Errorf("%w: a workload needs a check, and a check a workload", ErrOptions)
	case o.Program.Workload != "" && o.Subject != nil:
		return o, fmt.Errorf("%w: either a subject or a program", ErrOptions)
	case slices.ContainsFunc(o.Aims, func(p Place) bool { return steps[p] == nil }):
		return o, fmt.Errorf("%w: no kill is aimed at %v", ErrOptions, o.Aims)
	case len(o.Mutate) > 0 && o.Program.Workload != "":
		return o, fmt.Errorf("%w: what weakens package durability has no hold on a program", ErrOptions)
	case o.Mutate.Check() != nil:
		return o, fmt.Errorf("%w: %w", ErrOptions, o.Mutate.Check())
	case o.Program.Timeout < 0:
		return o, fmt.Errorf("%w: the timeout is below zero", ErrOptions)
	case o.Program.Legal != "" && o.Program.Workload == "":
		return o, fmt.Errorf("%w: what is legal is asked of a program", ErrOptions)
	case o.Program.Workload != "":
		if o.Program.Timeout == 0 {
			o.Program.Timeout = defaultTimeout
		}
		o.Subject = &program{Program: o.Program, over: ctx.Done()}
	case o.Subject == nil:
		return o, fmt.Errorf("%w: neither a subject nor a program", ErrOptions)
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if o.Tries == 0 {
		o.Tries = 20
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return o, nil
}

// isProgram reports whether a program is killed.
func (o *Options) isProgram() bool { return o.Program.Workload != "" }
