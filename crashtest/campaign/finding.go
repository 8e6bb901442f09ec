//go:build linux

package campaign

import (
	"errors"
	"fmt"
)

// Kind says which oracle a finding comes from.
type Kind string

// The kinds of findings.
const (
	// Lost: something acknowledged is not there.
	Lost Kind = "lost"
	// Illegal: what is there was never written so: a phantom, a splice, half a
	// batch.
	Illegal Kind = "illegal"
	// Misjudged: a state that a crash may leave is refused, or reported as damaged.
	Misjudged Kind = "misjudged"
	// Stuck: what was recovered does not go on: it cannot be written to, or does
	// not hold what was written since.
	Stuck Kind = "stuck"
	// Died: a process died by a signal that nobody sent.
	Died Kind = "died"
	// Unfaithful: the files are not what the trace says: a store or an operation
	// went by unseen.
	Unfaithful Kind = "unfaithful"
)

// Clause names the promise that is broken: C1 to C10 of the log's contract, or
// what another program calls its own. It is empty where the subject does not say.
type Clause string

// Broken is what an oracle, or a subject's Recover, returns.
type Broken struct {
	Kind   Kind
	Clause Clause
	What   string // what is lost, or illegal, in words
}

// Error implements error.
func (b *Broken) Error() string {
	if b.Clause == "" {
		return fmt.Sprintf("%s: %s", b.Kind, b.What)
	}
	return fmt.Sprintf("%s (%s): %s", b.Kind, b.Clause, b.What)
}

// AsBroken returns the *Broken in err, or one of the given kind that holds its
// words.
func AsBroken(err error, kind Kind) *Broken {
	var b *Broken
	if errors.As(err, &b) {
		return b
	}
	return &Broken{Kind: kind, What: err.Error()}
}

// Check asks both oracles.
func Check(f Found, k Known, killed bool) *Broken {
	if err := f.Present(k, killed); err != nil {
		return AsBroken(err, Lost)
	}
	if err := f.Legal(k, killed); err != nil {
		return AsBroken(err, Illegal)
	}
	return nil
}

// Finding is one broken promise, shrunk.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Clause Clause `json:"clause"`

	// Token reproduces the finding: `seawall crash replay TOKEN`.
	Token string `json:"token"`

	// Summary says in one line what is broken, and by which crash.
	Summary string `json:"summary"`

	// Lost are the pieces that the crash took, the fewest that show the finding:
	// which page, sector or directory entry, and since when it was not synced.
	Lost []string `json:"lost,omitempty"`

	// Shows are the filesystems on which a power loss can leave that state, by rule and
	// not by trial: ext4, xfs, btrfs; or "POSIX only", where none of them does, or
	// "any", for the death of a process.
	Shows []string `json:"shows,omitempty"`

	// Subject and Seed say in which life it was.
	Subject string `json:"subject,omitempty"`
	Seed    uint64 `json:"seed"`

	// States is how many distinct states had been checked when it was found.
	States int64 `json:"states_until_found"`
}
