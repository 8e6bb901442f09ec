//go:build linux

package campaign_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// TestVerdict: what has verified nothing is no success, whatever else it has.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name string
		r    campaign.Result
		want error
		says string
	}{
		{"verified", campaign.Result{Distinct: 1}, nil, ""},
		{"found", campaign.Result{Findings: []campaign.Finding{{}}}, nil, ""},
		{"found, and a class is missing", campaign.Result{Distinct: 1, Missing: []string{"cut"}, Findings: []campaign.Finding{{}}}, nil, ""},
		{"nothing", campaign.Result{}, campaign.ErrUnverified, "crash storm: nothing was verified: it ended before any life did"},
		{"no states", campaign.Result{Lives: 7, States: 9}, campaign.ErrUnverified, "of 7 lives none left a state to check"},
		{"a reason although there are states", campaign.Result{Lives: 7, Distinct: 5, Unverified: []string{"this"}}, campaign.ErrUnverified, ": this"},
		{"its reason", campaign.Result{Lives: 7, Unverified: []string{"this", "that"}}, campaign.ErrUnverified, ": this; that"},
		{"too short for a class", campaign.Result{Distinct: 1, Unreached: []string{"cut"}}, nil, ""},
		{"a class is missing", campaign.Result{Distinct: 1, Missing: []string{"cut", "copy"}}, campaign.ErrMissing, "crash storm: nothing was checked of: cut, copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Campaign = "storm"
			err := c.r.Verdict()
			if !errors.Is(err, c.want) || err != nil && !strings.HasSuffix(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			c.r.Finish(time.Now())
			if unverified := errors.Is(c.want, campaign.ErrUnverified); (len(c.r.Unverified) > 0) != unverified {
				t.Errorf("finished, it says %q", c.r.Unverified)
			}
		})
	}
}
