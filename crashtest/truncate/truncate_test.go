//go:build linux

package truncate_test

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/truncate"
)

// TestMain lets the campaigns' children, which are this binary, do their work.
func TestMain(m *testing.M) {
	truncate.BeChild()
	os.Exit(m.Run())
}

// newSeed returns a test's seed: always the same one, unless SEAWALL_SEED is
// another, or random. It prints it where the test fails.
func newSeed(t testing.TB) uint64 {
	t.Helper()
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name()))
	seed := uint64(h.Sum32())
	switch s := os.Getenv("SEAWALL_SEED"); s {
	case "":
	case "random":
		seed = uint64(rand.Uint32())
	default:
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEAWALL_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: SEAWALL_SEED=%d", seed)
		}
	})
	return seed
}

// newDir returns a directory that all users can get to. It must be empty when the test
// ends.
func newDir(t testing.TB) string { return newDirIn(t, "") }

// newDirIn is newDir below another directory than that of temporary files.
func newDirIn(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "seawall-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	return dir
}

// run runs a campaign, which must be able to go on.
func run(t testing.TB, o truncate.Options) *truncate.Result {
	t.Helper()
	if o.Dir == "" {
		o.Dir = newDir(t)
	}
	r, err := truncate.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestChanges changes the files of the log in each way, on a disk and in memory, and finds
// nothing.
func TestChanges(t *testing.T) {
	t.Parallel()
	for _, parent := range []string{"", "/dev/shm"} {
		t.Run("in "+parent, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(parent); parent != "" && err != nil {
				t.Skip(err)
			}
			testChanges(t, newDirIn(t, parent))
		})
	}
}

func testChanges(t *testing.T, dir string) {
	o := truncate.Options{Limits: campaign.Limits{Seed: newSeed(t), States: 18, All: true, Dir: dir}}
	if s := os.Getenv("SEAWALL_BUDGET"); s != "" {
		var err error
		if o.Budget, err = time.ParseDuration(s); err != nil {
			t.Fatalf("SEAWALL_BUDGET: %v", err)
		}
		o.States = 0
	}
	r := run(t, o)
	for _, f := range r.Findings {
		t.Errorf("%s\nreplay: seawall crash replay %s", f.Summary, f.Token)
	}
	if err := r.Verdict(); err != nil {
		t.Error(err)
	}
	lives, states := int64(0), int64(0)
	for _, c := range r.Changes {
		t.Logf("%+v", c)
		lives += c.Lives
		if c.Lives == 0 || c.Lives != c.Clean+c.Torn+c.Damaged+c.NoLog {
			t.Errorf("%+v", c)
		}
	}
	for _, m := range r.Situations {
		states += m.Count
	}
	if lives != r.Distinct || states != lives || r.Lives != lives {
		t.Errorf("%d lives, %d by their changes, %d by their moments", r.Lives, lives, states)
	}
}

// TestWrongLogs finds each log that is wrong in a known way, and shows it again by its token;
// in its twin it finds nothing.
func TestWrongLogs(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		log    string
		kind   campaign.Kind
		clause campaign.Clause
		words  string
	}{
		"a death":                {truncate.Unguarded, campaign.Died, "C7", "died"},
		"a record that is gone":  {truncate.FilesUnchecked, campaign.Lost, "C7", "acknowledged"},
		"a sync of what is gone": {truncate.FilesUnchecked, campaign.Lost, "C7", "a sync succeeded although"},
		"a call after poison":    {truncate.PoisonForgotten, campaign.Illegal, "C6", "the log was poisoned, and"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			// A fault may show as another one: then another campaign searches. And what was found at
			// an instant, or depends on what another process did by then, may not show again: one that
			// does is wanted.
			is := func(f campaign.Finding) bool {
				return f.Kind == c.kind && f.Clause == c.clause && strings.Contains(f.Summary, c.words)
			}
			found, shown := 0, false
			for try := uint64(0); try < 20 && !shown; try++ {
				r := run(t, truncate.Options{Limits: campaign.Limits{Seed: newSeed(t) + try, States: 36, Cores: 1, All: true}, Log: c.log})
				for _, f := range r.Findings {
					if !is(f) || shown {
						continue
					}
					found++
					again, err := truncate.Replay(t.Context(), f.Token, truncate.Options{Limits: campaign.Limits{Dir: newDir(t)}})
					if err != nil {
						t.Fatal(err)
					}
					shown = len(again.Findings) > 0
				}
			}
			if !shown {
				t.Fatalf("%d were found, and none was shown again", found)
			}
			name := c.log
			mended := run(t, truncate.Options{Limits: campaign.Limits{Seed: 1, States: 9}, Log: truncate.Mended(name)})
			if len(mended.Findings) > 0 || mended.Distinct != 9 {
				t.Errorf("%+v", mended.Findings)
			}
		})
	}
}

// TestSameLives: a seed and a number of states make the same lives on any number of
// cores.
func TestSameLives(t *testing.T) {
	t.Parallel()
	var want []int64
	for _, cores := range []int{1, 3} {
		var got []int64
		for _, c := range run(t, truncate.Options{Limits: campaign.Limits{Seed: 3, States: 20, Cores: cores}}).Changes {
			got = append(got, c.Lives)
		}
		if want != nil && !slices.Equal(got, want) {
			t.Errorf("%d cores: %v, want %v", cores, got, want)
		}
		want = got
	}
}

// TestShort says of changes that had no turn that they had none, and of a campaign
// without a life that it has verified nothing.
func TestShort(t *testing.T) {
	t.Parallel()
	r := run(t, truncate.Options{Limits: campaign.Limits{Seed: 1, States: 2}})
	if err := r.Verdict(); err != nil || len(r.Unreached) == 0 || len(r.Notes) == 0 {
		t.Errorf("%v, %+v", err, r.Result)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	none, err := truncate.Run(ctx, truncate.Options{Limits: campaign.Limits{Dir: newDir(t)}})
	if err != nil || none.Stopped != "interrupted" || !errors.Is(none.Verdict(), campaign.ErrUnverified) {
		t.Errorf("%v, %+v", err, none.Result)
	}
}

// TestTokens refuses what is no token of such a campaign.
func TestTokens(t *testing.T) {
	t.Parallel()
	token := func(name string, p truncate.Plan) string {
		s, err := campaign.Token(name, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole := truncate.Plan{Change: "delete", Moment: "before a sync", Target: "tail"}
	log, change, moment := whole, whole, whole
	log.Log, change.Change, moment.Moment = "nobody's", "burn", "never"
	for _, c := range []struct {
		token string
		want  error
	}{
		{"x", campaign.ErrToken},
		{token("model", whole), campaign.ErrToken},
		{token("truncate", log), campaign.ErrSubject},
		{token("truncate", change), campaign.ErrToken},
		{token("truncate", moment), campaign.ErrToken},
		{token("truncate", whole)[:30], campaign.ErrToken},
	} {
		if _, err := truncate.Replay(t.Context(), c.token, truncate.Options{}); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.token, err, c.want)
		}
	}
	r, err := truncate.Replay(t.Context(), token("truncate", whole), truncate.Options{Limits: campaign.Limits{Dir: newDir(t)}})
	if err != nil || len(r.Findings) > 0 || r.Lives != 20 || len(r.Notes) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
	if _, err := truncate.Run(t.Context(), truncate.Options{Log: "nobody's"}); err == nil {
		t.Error("a log that there is not is accepted")
	}
	if _, err := truncate.Run(t.Context(), truncate.Options{Limits: campaign.Limits{Mutate: campaign.Mutations{"no-msync"}}}); err == nil {
		t.Error("a mutation is accepted")
	}
}

// TestClosedDirectory runs where the user nobody cannot get to, and says so.
func TestClosedDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("must be root")
	}
	dir := filepath.Join(newDir(t), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := truncate.Run(t.Context(), truncate.Options{Limits: campaign.Limits{Seed: 1, States: 18, Dir: dir}})
	if err != nil || len(r.Findings) > 0 || !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.HasPrefix(s, "chmod: all processes are root's") }) {
		t.Errorf("%v, %+v", err, r.Result)
	}
	if err = os.Remove(dir); err != nil {
		t.Errorf("left behind: %v", err)
	}
}

// TestJSON shows what scripts are given.
func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(run(t, truncate.Options{Limits: campaign.Limits{Seed: 1, States: 1}}))
	for _, part := range []string{`"campaign":"truncate"`, `"states":1,"distinct_states":1`, `"changes":[{"change":"truncate","lives":1,"writer_failed":`} {
		if err != nil || !strings.Contains(string(b), part) {
			t.Errorf("%s is not in %s: %v", part, b, err)
		}
	}
}
