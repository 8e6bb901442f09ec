//go:build linux

package crashtest

import (
	"os"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// PowerLoss cuts the power of a real filesystem while the subject lives on it, by
// package powerloss; a nil subject is the log, or the program of the options. It fails
// the test for each finding, and where nothing could be checked. It returns what was
// done, or nil after a replay. It needs root, FUSE and loop devices: a test without
// them is skipped, with a line that says what is missing; where the environment has
// SEAWALL_CI=1 it fails.
func PowerLoss(t testing.TB, s campaign.Subject, o powerloss.Options) *campaign.Result {
	t.Helper()
	if err := blockdev.Ready(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	o.Subject = s
	if token, mine := replayOf(t, "power"); token != "" {
		if mine {
			replayPower(t, token, o)
		}
		return nil
	}
	limits(t, &o.Limits)
	r, err := powerloss.Run(t.Context(), o)
	if r == nil || err != nil {
		t.Fatalf("power: %v", err)
	}
	summarize(t, r)
	return r
}

// replayPower fails the test for what a token shows again.
func replayPower(t testing.TB, token string, o powerloss.Options) {
	t.Helper()
	r, err := powerloss.Replay(t.Context(), token, o)
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	reportReplay(t, r)
}
