//go:build linux

package selftest_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// TestPowerCuts finds wrong logs on a real filesystem, for the promise that they break, and nothing
// in a twin on any of the three. Others do not show there: a directory that is not synced after a
// rename does not, since the log's next sync brings the name along.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	if err := blockdev.Ready(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	names := []string{"ack-before-msync"}
	if os.Getenv("SEAWALL_BUDGET") != "" {
		names = append(names, "prepared-unsynced", "front-unsynced")
	}
	for _, name := range names {
		v := named(t, name)
		is := func(f campaign.Finding) bool { return f.Clause == v.Clause || slices.Contains(v.Shows, f.Clause) }
		found := false
		for seed := uint64(1); seed < 30 && !found; seed++ { // a fault may show as another one
			r := cut(t, v.Subject(), "xfs", powerloss.Options{Limits: campaign.Limits{Seed: seed, States: 300}})
			if found = slices.ContainsFunc(r.Findings, is); found {
				t.Logf("%s: %s, at state %d", name, r.Findings[0].Summary, r.Findings[0].States)
			}
		}
		if !found {
			t.Errorf("%s is not found", name)
		}
	}
	v := named(t, "ack-before-msync")
	for _, f := range powerloss.Filesystems() {
		if r := cut(t, v.Twin(), f.Name, powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 4}}); len(r.Findings) > 0 {
			t.Errorf("%s: %+v", f.Name, r.Findings)
		}
	}
}

// cut cuts a subject's power on a filesystem.
func cut(t *testing.T, s campaign.Subject, name string, o powerloss.Options) *campaign.Result {
	t.Helper()
	f, err := powerloss.FindFilesystem(name)
	if err != nil {
		t.Fatal(err)
	}
	o.Filesystem, o.Subject, o.Dir = f, s, t.TempDir()
	r, err := powerloss.Run(t.Context(), o)
	if err = errors.Join(err, r.Verdict()); err != nil {
		t.Fatal(err)
	}
	return r
}
