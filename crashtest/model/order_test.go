//go:build linux

package model_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// scratch returns a directory in memory, where there is one.
func scratch(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "seawall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// conditions are those in which the same has to come out, by name.
var conditions = []struct {
	name        string
	procs, busy int
}{
	{"on two processors", 2, 0},
	{"on one", 1, 0},
	{"next to another process", 2, 1},
	{"on four, next to another process", 4, 1},
}

// under calls fn under a condition, which is the process's.
func under(t *testing.T, procs, busy int, fn func()) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	for range busy {
		other := exec.Command("/bin/sh", "-c", "while :; do :; done")
		other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = other.Process.Kill()
			_ = other.Wait() // it was killed
		}()
	}
	fn()
}

// TestExactLives lives a quiet and a busy life of the log again and again, both at
// once: each is the same to the byte, and to the turn.
func TestExactLives(t *testing.T) {
	const seeds = 1
	dir := scratch(t)
	want := map[uint64]string{}
	var mu sync.Mutex
	for _, c := range conditions {
		under(t, c.procs, c.busy, func() {
			var lives sync.WaitGroup
			for half := range uint64(2) {
				lives.Go(func() {
					for seed := half * seeds; seed < (half+1)*seeds; seed++ {
						sum, err := model.Lived(&seawall.Log{Busy: half == 1}, seed, dir)
						mu.Lock()
						if _, ok := want[seed]; !ok {
							want[seed] = sum
						}
						if err != nil || sum != want[seed] {
							t.Errorf("%s, seed %d: %s, and was %s before: %v", c.name, seed, sum, want[seed], err)
						}
						mu.Unlock()
					}
				})
			}
			lives.Wait()
		})
	}
}

// TestExactCampaign runs one campaign on any number of cores, idle and busy ones:
// it tells the same, but for its speed.
func TestExactCampaign(t *testing.T) {
	exactCampaign(t, seawall.Subjects(), 7, 250, 4)
}

// TestExactDeaths does the same with a campaign of a busy log that is long enough
// for deaths in a row, and power losses behind them.
//
// Which seed is one follows from what the log does: the first that has them all, from the one on
// that had them last.
func TestExactDeaths(t *testing.T) {
	const states, seeds, last = 3000, 20, 2
	busy := seawall.Subjects()[1:2]
	for seed := uint64(last); seed < last+seeds; seed++ {
		r, err := model.Run(t.Context(), busy, model.Options{Limits: campaign.Limits{Seed: seed, States: states}})
		if err != nil {
			t.Fatal(err)
		}
		if hasDeaths(r) {
			exactCampaign(t, busy, seed, states, 2)
			return
		}
	}
	t.Errorf("no campaign of %d seeds has deaths and situations of each kind", seeds)
}

// hasDeaths reports whether a campaign has states of each class behind a kill, and of
// a situation.
func hasDeaths(r *campaign.Result) bool {
	for _, c := range r.Classes {
		if strings.Contains(c.Name, "kill") && c.States == 0 {
			return false
		}
	}
	return slices.ContainsFunc(r.Situations, func(c campaign.Class) bool { return c.States > 0 })
}

// exactCampaign runs a campaign under the last so many conditions, and returns what
// it did under the last one.
func exactCampaign(t *testing.T, subjects []campaign.Subject, seed uint64, states int64, last int) (r *campaign.Result) {
	t.Helper()
	var want string
	for i, c := range conditions {
		if i < len(conditions)-last {
			continue
		}
		under(t, c.procs, c.busy, func() {
			var err error
			r, err = model.Run(t.Context(), subjects, model.Options{
				Limits: campaign.Limits{Seed: seed, States: states, Cores: []int{1, 2, 2, 4}[i]},
			})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			r.Seconds, r.Cores, r.Rate = 0, 0, 0
			text, err := json.MarshalIndent(r, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				want = string(text)
			}
			if diff := cmp.Diff(want, string(text)); diff != "" {
				t.Errorf("%s:\n%s", c.name, diff)
			}
			if r.Distinct != states || r.Stopped != "states" {
				t.Errorf("%s: %d states, %s", c.name, r.Distinct, r.Stopped)
			}
		})
	}
	return r
}
