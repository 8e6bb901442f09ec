//go:build linux

package campaign

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnverified reports a campaign that has verified nothing: it says as little of
// the subject as if it had not been run. Its words say why, and what to change.
var ErrUnverified = errors.New("nothing was verified")

// ErrMissing reports a campaign that had a place or a class of crashes to come to,
// had time for it, and verified none there.
var ErrMissing = errors.New("nothing was checked of")

// leastLives is how many lives a campaign lives before its budget may end it with
// nothing verified: whether there is a verdict must not depend on how busy the
// machine is.
const leastLives = 20

// Verdict returns nil where the campaign has shown what it is for: something was
// found, or something was verified, in each place and class that had its turn.
// Otherwise it returns an ErrUnverified or an ErrMissing. All that judges a
// campaign as a whole, exit codes and tests alike, asks here.
func (r *Result) Verdict() error {
	switch {
	case len(r.Findings) > 0:
		return nil
	case r.Distinct == 0 || len(r.Unverified) > 0:
		return fmt.Errorf("crash %s: %w: %s", r.Campaign, ErrUnverified, strings.Join(r.whyUnverified(), "; "))
	case len(r.Missing) > 0:
		return fmt.Errorf("crash %s: %w: %s", r.Campaign, ErrMissing, strings.Join(r.Missing, ", "))
	}
	return nil
}

// whyUnverified returns the reasons that the campaign has given, or what its counts
// say.
func (r *Result) whyUnverified() []string {
	switch {
	case len(r.Unverified) > 0:
		return r.Unverified
	case r.Lives == 0:
		return []string{"it ended before any life did"}
	}
	return []string{fmt.Sprintf("of %d lives none left a state to check", r.Lives)}
}
