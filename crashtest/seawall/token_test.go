//go:build linux

package seawall_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

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

// TestTokens replays findings of all kinds of lives. In some what goes on in the
// background decides by chance what it does: those cannot be replayed at will,
// but none shows something else.
func TestTokens(t *testing.T) {
	t.Parallel()
	seed := uint64(rand.Uint32())
	s := &picky{odds: 60}
	r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{
		Limits: campaign.Limits{Seed: seed, Budget: 3 * time.Second / 2, All: true},
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	shown := 0
	for _, f := range r.Findings[:min(len(r.Findings), 3)] {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		again, err := model.Replay(ctx, f.Token, "", func(string) campaign.Subject { return s })
		stop()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			t.Logf("seed %d: not within 2 s: %s", seed, f.Summary)
		case err != nil:
			t.Errorf("seed %d: %v: %s\n%s", seed, err, f.Summary, f.Token)
		case again.Summary != f.Summary || again.Token != f.Token:
			t.Errorf("seed %d: replayed: %s\nwas: %s\n%s", seed, again.Summary, f.Summary, f.Token)
		default:
			shown++
		}
	}
	t.Logf("seed %d: %d of %d findings replayed", seed, shown, min(len(r.Findings), 3))
}
