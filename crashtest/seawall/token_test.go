//go:build linux

package seawall_test

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// picky is a log of which some states are called illegal, by what they hold: a
// fault that may show in any life.
type picky struct {
	seawall.Log
	odds uint32
}

// RecoverFiles implements campaign.Pure.
func (s *picky) RecoverFiles(files map[string][]byte) (campaign.Found, error) {
	found, err := s.Log.RecoverFiles(files)
	if err != nil {
		return nil, err
	}
	held := found.(*seawall.Held)
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, held.First, held.Last, len(files))
	if held.Last > 30 && h.Sum32()%s.odds == 0 {
		return nil, &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprint(held.First, held.Last, len(files))}
	}
	return found, nil
}

// TestTokens replays findings of all kinds of lives: each shows the same, at once.
func TestTokens(t *testing.T) {
	t.Parallel()
	replayAll(t, &picky{odds: 60}, 3)
}

// TestBusyTokens does the same with those of busy lives.
func TestBusyTokens(t *testing.T) {
	t.Parallel()
	replayAll(t, &picky{Log: seawall.Log{Busy: true}, odds: 60}, 4)
}

// replayAll replays the first findings of a campaign: of the first seed from one on
// that has any, since what a seed comes to follows from what the log does.
func replayAll(t *testing.T, s *picky, seed uint64) {
	t.Helper()
	var r *campaign.Result
	for end := seed + 20; r == nil || len(r.Findings) == 0; seed++ {
		var err error
		r, err = model.Run(t.Context(), []campaign.Subject{s}, model.Options{
			Limits: campaign.Limits{Seed: seed, States: int64(times(1500, 20_000)), All: true},
		})
		if err != nil || seed == end {
			t.Fatalf("no findings up to seed %d: %v", seed, err)
		}
	}
	for _, f := range r.Findings[:min(len(r.Findings), int(times(4, 40)))] {
		again, err := model.Replay(t.Context(), f.Token, "", func(string) campaign.Subject { return s })
		switch {
		case err != nil:
			t.Errorf("%v: %s\n%s", err, f.Summary, f.Token)
		case again.Summary != f.Summary || again.Token != f.Token:
			t.Errorf("replayed: %s\nwas: %s\n%s", again.Summary, f.Summary, f.Token)
		}
	}
}
