//go:build linux

package crashtest

import (
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// Kill kills processes with SIGKILL while they live lives of the subject, by
// package kill; a nil subject is the log. It fails the test for each finding, and
// where nothing could be killed at work. It returns what was done, or nil after a
// replay: for kills in every place see Classes.
//
// The processes are this test's binary, started again, which run this test alone
// and come to this call. There they live, and do not return; where the test has
// several calls, those before it return nil. What the test does before has to be
// what such a process may do, too.
func Kill(t testing.TB, s campaign.Subject, o kill.Options) *kill.Result {
	t.Helper()
	if s == nil {
		s = &seawall.Log{}
	}
	if kill.IsChild() {
		kill.BeChild(s)
		return nil
	}
	o.Subject = s
	if o.Args == nil {
		o.Args = kill.TestArgs(t.Name())
	}
	if token, mine := replayOf(t, "kill"); token != "" {
		if mine {
			replayKill(t, token, o)
		}
		return nil
	}
	limits(t, &o.Limits)
	r, err := kill.Run(t.Context(), o)
	if r == nil || err != nil {
		t.Fatalf("kill: %v", err)
	}
	v := &r.Survival
	t.Logf("%d killed at a step, %d blindly; of %d records that were not acked %d survived", v.Exact, v.Blind, v.Unacked, v.Survived)
	summarize(t, r.Result)
	return r
}

// replayKill fails the test for what a token shows again.
func replayKill(t testing.TB, token string, o kill.Options) {
	t.Helper()
	r, err := kill.Replay(t.Context(), token, o)
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	reportReplay(t, r.Result)
}
