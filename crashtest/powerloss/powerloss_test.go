//go:build linux

package powerloss_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// filesystem returns a built-in filesystem.
func filesystem(t *testing.T, name string) powerloss.Filesystem {
	t.Helper()
	f, err := powerloss.FindFilesystem(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLog cuts the log's power on each filesystem.
func TestLog(t *testing.T) {
	need(t)
	t.Parallel()
	for _, f := range powerloss.Filesystems() {
		r, err := powerloss.Run(t.Context(), powerloss.Options{
			Limits: campaign.Limits{Seed: 1, States: 12, Dir: newDir(t)}, Filesystem: f,
		})
		if err != nil || len(r.Findings) > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		if r.Distinct < 12 || r.Filesystem != f.Name {
			t.Errorf("%+v", r)
		}
		t.Logf("%s: %.0f states a second; %s", f.Name, r.Rate, r.Notes)
	}
}

// TestPlanted plants an acknowledgement before its sync, and finds it from any
// seed; the finding is shrunk, and its token leads to it again. The twin without
// it is clean.
func TestPlanted(t *testing.T) {
	need(t)
	t.Parallel()
	ext4 := filesystem(t, "ext4")
	began := time.Now()
	for seed := range uint64(20) {
		s := journal("early", early)
		r, err := powerloss.Run(t.Context(), powerloss.Options{
			Limits: campaign.Limits{Seed: seed, States: 500, Dir: newDir(t)}, Subject: s, Filesystem: ext4, Disks: 2,
		})
		if err != nil || len(r.Findings) != 1 {
			t.Fatalf("seed %d: %d findings in %d states, %v", seed, len(r.Findings), r.Distinct, err)
		}
		f := r.Findings[0]
		if f.Kind != campaign.Lost {
			t.Errorf("seed %d: %+v", seed, f)
		}
		if seed%10 != 0 {
			continue
		}
		t.Logf("%+v", f)
		again, err := powerloss.Replay(t.Context(), f.Token, powerloss.Options{Limits: campaign.Limits{Dir: newDir(t)}, Subject: s})
		if err != nil || len(again.Findings) != 1 || again.Findings[0].Kind != f.Kind {
			t.Errorf("seed %d: replayed: %+v, %v", seed, again, err)
		}
	}
	t.Logf("%v a seed", time.Since(began)/20)
	r, err := powerloss.Run(t.Context(), powerloss.Options{
		Limits: campaign.Limits{Seed: 3, States: 80, Dir: newDir(t)}, Subject: journal("right", right), Filesystem: ext4,
	})
	if err != nil || len(r.Findings) > 0 || len(r.Unreached) > 0 {
		t.Errorf("the twin: %+v, %v", r, err)
	}
}

// TestKnown runs journals that are wrong in one way each where that can be seen.
func TestKnown(t *testing.T) {
	need(t)
	t.Parallel()
	for _, tt := range []struct {
		filesystem string
		wrong      wrong
	}{{"ext4", noSync}, {"xfs", noSync}, {"btrfs", noSync}, {"btrfs", early}, {"xfs", early}} {
		t.Run(fmt.Sprint(tt.filesystem, tt.wrong), func(t *testing.T) {
			r, err := powerloss.Run(t.Context(), powerloss.Options{
				Limits:  campaign.Limits{Seed: 5, States: 300, Dir: newDir(t)},
				Subject: journal("wrong", tt.wrong), Filesystem: filesystem(t, tt.filesystem),
			})
			if err != nil || len(r.Findings) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			t.Logf("%+v", r.Findings[0])
		})
	}
}

// TestReleased ends campaigns in the wrong way: nothing is left of them, and no
// processor more than before.
func TestReleased(t *testing.T) {
	need(t)
	t.Parallel()
	fails := errors.New("no more")
	ends := map[string]func(*campaign.Life) error{
		"error": func(*campaign.Life) error { return fails },
		"panic": func(*campaign.Life) error { panic(fails) },
		"open": func(l *campaign.Life) error { // a file is left open, for the moment
			f, err := os.Create(filepath.Join(l.Dir, "file"))
			time.AfterFunc(50*time.Millisecond, func() { _ = f.Close() })
			return errors.Join(err, fails)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			defer func() {
				if v := recover(); (v != nil) != (name == "panic") {
					t.Errorf("panic: %v", v)
				}
			}()
			s := campaign.Checked("ends", func(l *campaign.Life, _ func(string)) error { return end(l) }, check, nil)
			r, err := powerloss.Run(t.Context(), powerloss.Options{Limits: campaign.Limits{Dir: dir}, Subject: s, Disks: 2})
			if !errors.Is(err, fails) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestSecondCut plants a fault that shows only in a life that goes on from a power
// cut; its token shows it again.
func TestSecondCut(t *testing.T) {
	need(t)
	t.Parallel()
	s := campaign.Checked("deep", func(l *campaign.Life, ack func(string)) error {
		w := right
		if l.Known != nil {
			w = early
		}
		return journal("", w).Workload(l)
	}, check, nil)
	o := powerloss.Options{Limits: campaign.Limits{Seed: 2, States: 3000, Dir: newDir(t)}, Subject: s}
	r, err := powerloss.Run(t.Context(), o)
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	f := r.Findings[0]
	if f.Kind != campaign.Lost || !strings.Contains(f.Summary, "earlier power cut") {
		t.Errorf("%+v", f)
	}
	o.Dir = newDir(t)
	again, err := powerloss.Replay(t.Context(), f.Token, o)
	if err != nil || len(again.Findings) != 1 || !strings.Contains(again.Findings[0].Summary, "earlier power cut") {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestTokens refuses what is no token of a power cut, or of another subject.
func TestTokens(t *testing.T) {
	need(t)
	t.Parallel()
	r, err := powerloss.Run(t.Context(), powerloss.Options{
		Limits: campaign.Limits{Seed: 4, States: 50, Dir: newDir(t)}, Subject: journal("early", early), Disks: 1, Once: true,
	})
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	token := r.Findings[0].Token
	_, err = powerloss.Replay(t.Context(), token, powerloss.Options{Subject: journal("other", early), Limits: campaign.Limits{Dir: newDir(t)}})
	if !errors.Is(err, campaign.ErrSubject) {
		t.Errorf("%v", err)
	}
	if _, err = powerloss.Replay(t.Context(), token[:len(token)-2], powerloss.Options{}); !errors.Is(err, campaign.ErrToken) {
		t.Errorf("%v", err)
	}
	// What the disk held is the same each time: it is the program that has changed.
	for range 3 {
		r, err = powerloss.Replay(t.Context(), token, powerloss.Options{Subject: journal("early", right), Limits: campaign.Limits{Dir: newDir(t)}})
		if err != nil || len(r.Findings) != 1 || r.Findings[0].Token != token {
			t.Errorf("%+v, %v", r, err)
		}
	}
	mended := campaign.Checked("early", nil, func(string, []string) error { return nil }, nil)
	r, err = powerloss.Replay(t.Context(), token, powerloss.Options{Subject: mended, Limits: campaign.Limits{Dir: newDir(t)}})
	if err != nil || len(r.Findings) > 0 || len(r.Notes) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNothingKnown: a check that looks at the files is asked while they are mounted, also before
// anything was acknowledged.
func TestNothingKnown(t *testing.T) {
	need(t)
	t.Parallel()
	s := campaign.Checked("unknown", func(l *campaign.Life, _ func(string)) error {
		for n := range 20 {
			if err := right.line(l.Dir, 100+n, func(string) {}); err != nil {
				return err
			}
		}
		return nil
	}, check, func(dir string) error {
		_, err := os.ReadDir(dir)
		return err
	})
	r, err := powerloss.Run(t.Context(), powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 40, Dir: newDir(t)}, Subject: s, Disks: 2})
	if err != nil || len(r.Findings) > 0 || r.Distinct != 40 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestFaultsOfDisk: the disk fails under a journal, which is clean where it ends at the first
// error, and is found where it takes an error of its sync for none; its token shows that again.
func TestFaultsOfDisk(t *testing.T) {
	need(t)
	t.Parallel()
	ext4 := []powerloss.Filesystem{filesystem(t, "ext4")}
	o := powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 30, Dir: newDir(t)}, Subject: journal("right", right)}
	r, err := powerloss.RunFaults(t.Context(), o, ext4)
	if err != nil || len(r.Findings) > 0 || r.Distinct != 30 {
		t.Fatalf("%d faults, %+v, %v", r.Distinct, r.Findings, err)
	}
	for _, f := range r.Faults {
		t.Logf("%+v", f)
		if f.Broken > 0 || f.Noticed > f.Met || f.Met > f.Lives {
			t.Errorf("%+v", f)
		}
	}
	o = powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 3000, Dir: newDir(t)}, Subject: journal("deaf", deaf)}
	r, err = powerloss.RunFaults(t.Context(), o, ext4)
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != campaign.Lost {
		t.Fatalf("%+v, %v", r, err)
	}
	t.Log(r.Findings[0].Summary)
	o.Dir = newDir(t)
	again, err := powerloss.ReplayFault(t.Context(), r.Findings[0].Token, o)
	if err != nil || len(again.Findings) != 1 || again.Findings[0].Kind != campaign.Lost {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err = powerloss.ReplayFault(t.Context(), "power1.x", o); !errors.Is(err, campaign.ErrToken) {
		t.Errorf("%v", err)
	}
}
