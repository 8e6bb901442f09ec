//go:build linux

package experiment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Experiment is one question to the kernel.
type Experiment struct {
	Name       string   `json:"name"`
	Hypothesis string   `json:"hypothesis"`
	Clauses    []string `json:"clauses"` // of the contract, those that rely on the hypothesis

	measure func(context.Context, *lab) (measurement, error)
}

// measurement is what an experiment found out. It is marshalled into the JSON
// result as it is.
type measurement interface {
	// check says in what the measurement contradicts the hypothesis, in one
	// sentence each. It looks at nothing else than the measurement.
	check() complaints
	table() table
}

// Env is where an experiment runs. The zero value will do.
type Env struct {
	// Dir is an existing directory on the filesystem in question. Scratch files go
	// into a new directory in it, which is removed at the end. "" is os.TempDir.
	Dir string

	// Seed decides all that is random. The same seed makes the same choices.
	Seed uint64
}

// All returns the experiments in the order in which they are best read.
func All() []Experiment {
	return []Experiment{sigkill, sigbus, folio, torn, lazy, warm, hints, thrash, evict, fsyncgate, staleCache}
}

// Find returns the experiment with a name.
func Find(name string) (Experiment, bool) {
	for _, e := range All() {
		if e.Name == name {
			return e, true
		}
	}
	return Experiment{}, false
}

// maxTries is how often an experiment measures. A measurement whose own controls
// say that another process has disturbed it is made again, in fresh files; one that
// contradicts the hypothesis, or that bears it out, is the last.
const maxTries = 3

// Run makes the measurement and checks it. What this machine or this user cannot
// do is a verdict, CannotRun, and so is a machine that is too busy, TooNoisy;
// neither is an error. An error means that the experiment
// could not be carried out, for want of space for example, or that the context
// ended; then it is the context's cause. Nothing is left behind in either case.
func (e Experiment) Run(ctx context.Context, env Env) (r *Result, err error) {
	if os.Getenv(roleEnv) != "" {
		return nil, errors.New("experiment: this process is a child of an experiment, and its program does not call BeChild")
	}
	begin := time.Now()
	for try := 1; try <= maxTries; try++ {
		if r, err = e.try(ctx, env); err != nil {
			return nil, err
		}
		r.Tries, r.Seconds = try, time.Since(begin).Seconds()
		if r.Verdict != TooNoisy {
			break
		}
	}
	return r, nil
}

// try makes one measurement and checks it.
func (e Experiment) try(ctx context.Context, env Env) (r *Result, err error) {
	dir, err := os.MkdirTemp(env.Dir, "seawall-"+e.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("experiment: no scratch directory: %w", err)
	}
	l := &lab{ctx: ctx, dir: dir, seed: env.Seed, random: rand.New(rand.NewPCG(env.Seed, 0))}
	defer func() { err = errors.Join(err, l.close(), os.RemoveAll(dir)) }()
	m, err := e.measure(ctx, l)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r = &Result{Experiment: e, Seed: env.Seed, NotRun: l.notRun}
	var cannot *cannotError
	var noisy *noisyError
	switch {
	case errors.As(err, &noisy):
		r.Verdict, r.Why = TooNoisy, []string{noisy.why}
	case errors.As(err, &cannot):
		r.Verdict, r.Why = CannotRun, []string{cannot.why}
	case err != nil:
		return nil, fmt.Errorf("experiment: %s: %w", e.Name, err)
	default:
		r.Measured, r.Table = m, m.table()
		r.Verdict, r.Why = verdictOn(m)
	}
	return r, nil
}

// verdictOn checks a measurement.
func verdictOn(m measurement) (Verdict, []string) {
	if len(m.table().Rows) == 0 {
		return Differs, []string{"nothing was measured"}
	}
	c := m.check()
	return c.verdict()
}

// cannotError says why this machine or this user cannot run an experiment.
type cannotError struct{ why string }

// Error implements error.
func (e *cannotError) Error() string { return "cannot run here: " + e.why }

// noisyError says what came in the way of a measurement.
type noisyError struct{ why string }

// Error implements error.
func (e *noisyError) Error() string { return string(TooNoisy) + ": " + e.why }

// cannot returns a cannotError.
func cannot(format string, args ...any) error {
	return &cannotError{fmt.Sprintf(format, args...)}
}
