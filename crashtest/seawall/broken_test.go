//go:build linux

package seawall_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// lived is a life with all that was known of it, and what it has left.
type lived struct {
	dir   string
	known []campaign.Known
	after map[int]string // copies of the directory, by how much was known then
}

// liveAndCopy lives a life, and copies its directory now and then.
func liveAndCopy(t *testing.T, seed uint64) *lived {
	t.Helper()
	base := fastDir(t)
	l := &lived{dir: filepath.Join(base, "life"), known: []campaign.Known{nil}, after: map[int]string{}}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // the log's goroutines acknowledge, too
	now := func() campaign.Known {
		mu.Lock()
		defer mu.Unlock()
		return l.known[len(l.known)-1]
	}
	appends := 0
	s := seawall.Log{Doing: func(step string) {
		if step != "append" {
			return
		}
		if appends++; appends%12 == 0 && len(l.after) < 10 {
			mu.Lock()
			n := len(l.known)
			mu.Unlock()
			dir := filepath.Join(base, fmt.Sprint("after", n))
			if err := os.CopyFS(dir, os.DirFS(l.dir)); err == nil { // else a file has gone meanwhile
				l.after[n] = dir
			}
		}
	}}
	err := s.Workload(&campaign.Life{
		Dir: l.dir, Seed: seed, Rand: rand.New(rand.NewPCG(seed, 1)), Tracer: &counting{}, Now: now,
		Note: func(k campaign.Known) {
			mu.Lock()
			defer mu.Unlock()
			l.known = append(l.known, k)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range l.known {
		l.known[i] = campaign.After(k, false)
	}
	return l
}

// examine has a log examine a copy of a directory that was changed.
func (l *lived) examine(t *testing.T, s *seawall.Log, dir string, change func(log string)) campaign.Examined {
	t.Helper()
	copied := filepath.Join(fastDir(t), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(filepath.Join(copied, "log"))
	}
	e, err := s.Examine(copied, l.known, campaign.Examination{})
	if err != nil {
		t.Fatal(err)
	}
	if err = os.RemoveAll(copied); err != nil {
		t.Fatal(err)
	}
	return e
}

// edit changes a file.
func edit(t *testing.T, path string, change func(p []byte)) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	if err = os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

// lastRecord returns the last record of a log that has some bytes, and the file and the offset at
// which they are.
func lastRecord(t *testing.T, log string) (name string, at int, payload []byte) {
	t.Helper()
	if _, err := wal.Dump(log, wal.DumpOptions{}, func(_ wal.LSN, p []byte) error {
		if len(p) > 32 {
			payload = bytes.Clone(p)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(log, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Backward(names) {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at = bytes.Index(p, payload); len(payload) > 0 && at >= 0 {
			return filepath.Base(path), at, payload
		}
	}
	t.Skip("the life has left no record")
	return "", 0, nil
}

// believer is a log that is wrong, and whose verify finds everything clean.
func believer(wrong waltest.Wrong) *seawall.Log {
	return &seawall.Log{
		OpenLog:   func(dir string, o wal.Options) (*wal.Log, error) { return waltest.OpenWrong(dir, o, wrong) },
		VerifyLog: verifiesClean,
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

// TestExamine breaks the promises of a disk by hand: what of it must be told is told, and a log that
// is wrong believes it. Records that are valid and were never appended in the life are believed by
// any log: they are what an examination has to notice by itself.
func TestExamine(t *testing.T) {
	t.Parallel()
	for seed := range times(4, 40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			l, right := liveAndCopy(t, seed), &seawall.Log{}
			name, at, payload := lastRecord(t, filepath.Join(l.dir, "log"))
			flip := func(log string) {
				edit(t, filepath.Join(log, name), func(p []byte) { p[at+len(payload)/2] ^= 4 })
			}
			// The checkpoint of a clean Close is in a slot and in the lock file.
			lose := func(log string) {
				edit(t, filepath.Join(log, name), func(p []byte) { clear(p[at-frame.HeaderBytes:]) })
			}
			strange := liveAndCopy(t, seed+1000)
			other := func(log string) {
				if err := errors.Join(os.RemoveAll(log), os.CopyFS(log, os.DirFS(filepath.Join(strange.dir, "log")))); err != nil {
					t.Error(err)
				}
			}
			for _, tt := range []struct {
				name   string
				log    *seawall.Log
				change func(string)
				want   campaign.Outcome
				kind   campaign.Kind
			}{
				{"nothing", right, nil, campaign.Harmless, ""},
				{"a flipped bit", right, flip, campaign.Told, ""},
				{"a lost end", right, lose, campaign.Told, ""},
				{"another log's records", right, other, campaign.Believed, campaign.Illegal},
				{"a lost end, believed", believer(waltest.WatermarkUnchecked), lose, campaign.Believed, campaign.Lost},
			} {
				e := l.examine(t, tt.log, l.dir, tt.change)
				if e.Outcome != tt.want || e.Kind != tt.kind {
					t.Errorf("%s: %+v; want %s, %q", tt.name, e, tt.want, tt.kind)
				}
			}
			l.again(t, believer(waltest.WatermarkUnchecked), lose)
		})
	}
}

// again examines by what a token carries of a life.
func (l *lived) again(t *testing.T, s *seawall.Log, change func(string)) {
	t.Helper()
	b, err := s.AppendLife(nil, l.known)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a life of %d moments is %d bytes", len(l.known), len(b))
	parsed, err := s.ParseLife(b)
	if err != nil || len(parsed) != len(l.known) {
		t.Fatalf("%d of %d, %v", len(parsed), len(l.known), err)
	}
	other := *l
	other.known = parsed
	if e := other.examine(t, s, l.dir, change); e.Outcome != campaign.Believed || e.Kind != campaign.Lost {
		t.Errorf("%+v", e)
	}
	if e := other.examine(t, &seawall.Log{}, l.dir, nil); e.Outcome != campaign.Harmless {
		t.Errorf("%+v", e)
	}
	if _, err = s.ParseLife(b[:len(b)/2]); err == nil {
		t.Error("half of a life was read")
	}
}

// TestExamineOlder: the whole directory as of an earlier moment is rolled back, or has a torn end.
// With one file of it as it is now it may be told, and is never believed.
func TestExamineOlder(t *testing.T) {
	t.Parallel()
	came := map[campaign.Outcome]int{}
	for seed := range times(4, 40) {
		l := liveAndCopy(t, seed)
		for _, dir := range l.after {
			e := l.examine(t, &seawall.Log{}, dir, nil)
			if came[e.Outcome]++; e.Outcome == campaign.Believed || e.Outcome == campaign.Told {
				t.Errorf("seed %d: %s: %+v", seed, dir, e)
			}
			mixed := l.examine(t, &seawall.Log{}, dir, func(log string) {
				p, err := os.ReadFile(filepath.Join(l.dir, "log", "seawall.lock"))
				if err == nil {
					err = os.WriteFile(filepath.Join(log, "seawall.lock"), p, 0o600)
				}
				if err != nil {
					t.Error(err)
				}
			})
			if came["mixed: "+mixed.Outcome]++; mixed.Outcome == campaign.Believed {
				t.Errorf("seed %d: %s with the newest lock file: %+v", seed, dir, mixed)
			}
		}
	}
	t.Log(came)
	if came[campaign.RolledBack] == 0 || came["mixed: "+campaign.Told] == 0 {
		t.Error("not all outcomes were met")
	}
}

// TestExamineFlips flips bits all over what a life has left: none is believed, and none takes
// something away that is not told.
func TestExamineFlips(t *testing.T) {
	t.Parallel()
	l := liveAndCopy(t, 5)
	names, err := filepath.Glob(filepath.Join(l.dir, "log", "*"))
	if err != nil {
		t.Fatal(err)
	}
	rng, came := rand.New(rand.NewPCG(1, 2)), map[campaign.Outcome]int{}
	for _, path := range names {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var used []int
		for i, b := range p {
			if b != 0 {
				used = append(used, i)
			}
		}
		for n := uint64(0); n < times(12, 200) && len(used) > 0; n++ {
			at, bit := used[rng.IntN(len(used))], rng.IntN(8)
			e := l.examine(t, &seawall.Log{}, l.dir, func(log string) {
				edit(t, filepath.Join(log, filepath.Base(path)), func(p []byte) { p[at] ^= 1 << bit })
			})
			if came[e.Outcome]++; e.Outcome != campaign.Told && e.Outcome != campaign.Harmless {
				t.Errorf("bit %d of byte %d of %s: %+v", bit, at, filepath.Base(path), e)
			}
		}
	}
	if t.Log(came); came[campaign.Told] == 0 {
		t.Error("nothing was told")
	}
}
