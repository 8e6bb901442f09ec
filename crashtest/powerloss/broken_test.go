//go:build linux

package powerloss_test

import (
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// TestBrokenDisks: nothing is believed of what broken disks hold, and on each filesystem damage of
// the log's files is told. Bits that flip after a life, which ends with a checkpoint, are among it.
func TestBrokenDisks(t *testing.T) {
	need(t)
	t.Parallel()
	r, err := powerloss.RunBroken(t.Context(), powerloss.Options{
		Limits: campaign.Limits{Seed: 1, States: 72, All: true, Dir: newDir(t)},
	}, powerloss.Filesystems())
	if err != nil || r.Distinct != 72 || len(r.Unreached) > 0 {
		t.Fatalf("%+v, %v", r.Result, err)
	}
	for _, f := range r.Findings {
		t.Errorf("%s; a token of %d bytes", f.Summary, len(f.Token))
	}
	told, states := map[string]int64{}, int64(0)
	for _, o := range r.Outcomes {
		t.Logf("%+v", o)
		told[o.Filesystem] += o.Told
		states += o.States
		if o.Believed > 0 || o.States != o.Refused+o.Harmless+o.Told+o.Torn+o.RolledBack+o.Believed {
			t.Errorf("%+v", o)
		}
	}
	for _, f := range powerloss.Filesystems() {
		if told[f.Name] == 0 {
			t.Errorf("nothing was told on %s", f.Name)
		}
	}
	if states != r.Distinct {
		t.Errorf("%d states of %d have an outcome", states, r.Distinct)
	}
}

// verifiesClean is wal.Verify that finds no damage.
func verifiesClean(dir string) (*wal.Report, error) {
	rep, err := wal.Verify(dir)
	if err == nil {
		rep.Verdict, rep.Damage = wal.Clean, nil
	}
	return rep, err
}

// TestBrokenBelieved: a log that takes for torn whatever is missing, and whose verify finds all of
// it clean, is found to believe what broken disks hold. Its token shows that again, and not of the
// log as it should be.
func TestBrokenBelieved(t *testing.T) {
	need(t)
	t.Parallel()
	s := &seawall.Log{
		Label: "believer",
		OpenLog: func(dir string, o wal.Options) (*wal.Log, error) {
			return waltest.OpenWrong(dir, o, waltest.WatermarkUnchecked)
		},
		VerifyLog: verifiesClean,
	}
	ext4 := []powerloss.Filesystem{filesystem(t, "ext4")}
	r, err := powerloss.RunBroken(t.Context(), powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 3000, Dir: newDir(t)}, Subject: s}, ext4)
	if err != nil || len(r.Findings) == 0 { // several disks are checked at once
		t.Fatalf("%+v, %v", r.Result, err)
	}
	f := r.Findings[0]
	t.Logf("%s: %s\n%q", f.Kind, f.Summary, f.Lost)
	o := powerloss.Options{Limits: campaign.Limits{Dir: newDir(t)}, Subject: s}
	again, err := powerloss.ReplayBroken(t.Context(), f.Token, "", o)
	if err != nil || len(again.Findings) != 1 || again.Findings[0].Kind != f.Kind || again.Findings[0].Token != f.Token {
		t.Errorf("%+v, %v", again, err)
	}
	o.Subject = &seawall.Log{Label: "believer"}
	again, err = powerloss.ReplayBroken(t.Context(), f.Token, "", o)
	if err != nil || len(again.Findings) > 0 || len(again.Notes) == 0 {
		t.Errorf("%+v, %v", again, err)
	}
	o.Subject = &seawall.Log{}
	if _, err = powerloss.ReplayBroken(t.Context(), f.Token, "", o); !errors.Is(err, campaign.ErrSubject) {
		t.Error(err)
	}
	if _, err = powerloss.ReplayBroken(t.Context(), "fault1.x", "", o); !errors.Is(err, campaign.ErrToken) {
		t.Error(err)
	}
}

// TestBrokenNotAsked: what cannot say what it believes is not run.
func TestBrokenNotAsked(t *testing.T) {
	t.Parallel()
	for _, o := range []powerloss.Options{
		{Subject: journal("right", right)},
		{Program: kill.Program{Workload: "true", Check: "true"}},
	} {
		if _, err := powerloss.RunBroken(t.Context(), o, powerloss.Filesystems()); !errors.Is(err, powerloss.ErrOptions) {
			t.Error(err)
		}
	}
}
