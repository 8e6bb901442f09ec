package durabilitytest_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// every returns all states of a moment, described, or nil if there are more
// choices than limit. Each state's key is compared with that of its files.
func every(t *testing.T, m *durabilitytest.Moment, limit int64) []string {
	t.Helper()
	if m.States() > limit {
		return nil
	}
	all := map[string]bool{}
	keys := map[durabilitytest.Key]string{}
	pieces := m.Pieces()
	for choice := range m.States() {
		for i := range pieces {
			n := int64(pieces[i].Options)
			m.Set(i, int(choice%n))
			choice /= n
		}
		files := m.Files()
		said := describe(files)
		all[said] = true
		if m.Key() != files.Key() {
			t.Fatalf("key %x, of the files %x: %s", m.Key(), files.Key(), said)
		}
		// What is described alike may differ in bytes, never the other way round.
		if before, ok := keys[m.Key()]; ok && before != said {
			t.Fatalf("one key for %s and %s", before, said)
		}
		keys[m.Key()] = said
	}
	return slices.Sorted(maps.Keys(all))
}

// TestMomentIsCrash compares the states of a Moment with those that a power loss
// of the Recorder may leave, all of them, with operations under way.
func TestMomentIsCrash(t *testing.T) {
	t.Parallel()
	const limit = 5000
	compared, most, open := 0, 0, 0
	each, fixed := seeds(t, 20, 60)
	for seed := range each {
		rng := rand.New(rand.NewPCG(seed, 12))
		tr := newTrace()
		ramble(rng, tr, 25)
		events := tr.Events()
		for _, at := range rng.Perm(tr.Len() + 1) {
			m := tr.Moment(dir, at)
			if got, want := describe(m.Files()), describe(tr.CrashAs(durabilitytest.Keep, dir, at, nil)); got != want {
				t.Fatalf("PCG seed (%d, 12), after %d events: begins with %s, not with %s\n%s", seed, at, got, want, list(events[:at]))
			}
			got := every(t, m, limit)
			if got == nil {
				continue
			}
			want := map[string]bool{}
			var all durabilitytest.Odometer
			for n := 0; all.Next() && n < 8*limit; n++ {
				want[describe(tr.Crash(dir, at, &all))] = true
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" {
				t.Fatalf("PCG seed (%d, 12), after %d events: states (-Crash +Moment):\n%s\n%s", seed, at, diff, list(events[:at]))
			}
			compared++
			most = max(most, len(got))
			if underWay(events[:at]) && len(got) > 1 {
				open++
			}
		}
	}
	t.Logf("%d positions, %d with an operation under way; at most %d states", compared, open, most)
	if fixed && (compared < 350 || most < 100 || open < 50) {
		t.Error("the traces are too poor")
	}
}

// TestMomentOfDirectories compares where there are links, directories below, and
// files from before.
func TestMomentOfDirectories(t *testing.T) {
	tr := newTrace()
	base := durabilitytest.Files{"old": []byte("old"), "sub/": nil, "sub/f": sectors("ab")}
	if err := tr.BaseFiles(dir, base); err != nil {
		t.Fatal(err)
	}
	tr.created(1, "a", 1)
	tr.create(2, "c")
	tr.syncDir()
	tr.link(1, "b")
	tr.mkdir(dir, "new")
	tr.do(durability.Event{Op: durability.OpCreate, Dir: dir + "/new", File: 5, Name: "in"})
	tr.rename(1, "a", "old")
	tr.remove("b")
	tr.begin(durability.Event{Op: durability.OpExchange, Name: "old", NewName: "c"})
	for at := range tr.Len() + 1 {
		want := exhaust(t, tr.Recorder, at)
		if diff := cmp.Diff(want, every(t, tr.Moment(dir, at), 100_000)); diff != "" {
			t.Errorf("after %d events (-Crash +Moment):\n%s", at, diff)
		}
	}
}

// TestMomentForgets sets options at random: what a state is does not depend on
// those before it.
func TestMomentForgets(t *testing.T) {
	t.Parallel()
	each, _ := seeds(t, 30, 30)
	for seed := range each {
		rng := rand.New(rand.NewPCG(seed, 14))
		tr := newTrace()
		ramble(rng, tr, 40)
		for range 10 {
			at := rng.IntN(tr.Len() + 1)
			used := tr.Moment(dir, at)
			for range 5 {
				fresh := tr.Moment(dir, at)
				for _, i := range rng.Perm(len(used.Pieces())) {
					if rng.IntN(3) == 0 {
						used.Set(i, rng.IntN(used.Pieces()[i].Options))
					}
				}
				for i := range fresh.Pieces() {
					fresh.Set(i, used.Option(i))
				}
				if fresh.Key() != used.Key() || describe(fresh.Files()) != describe(used.Files()) {
					t.Fatalf("PCG seed (%d, 14), after %d events: %s, alone %s", seed, at, describe(used.Files()), describe(fresh.Files()))
				}
			}
		}
	}
}

// TestMomentTellsPieces looks at what pieces say of themselves.
func TestMomentTellsPieces(t *testing.T) {
	tr := newTrace()
	tr.created(1, "tmp", 2)
	tr.syncDir()
	tr.rename(1, "tmp", "log")
	renamed := tr.Len() - 2 // its Before event
	tr.store(1, 0, sectors("x"))
	stored := tr.Len() - 1
	tr.store(1, 520, word('y'))
	got := tr.Moment(dir, tr.Len()).Pieces()
	type said struct {
		Kind          string
		Name, NewName string
		Offset        int64
		Options       int
		Event         int
	}
	var all []said
	for _, p := range got {
		all = append(all, said{p.Kind.String(), p.Name, p.NewName, p.Offset, p.Options, p.Event})
	}
	want := []said{
		{"name", "tmp", "log", 0, 2, renamed + 1},
		{"sector", "log", "", 0, 2, stored},
		{"word", "log", "", 520, 2, stored + 1},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}
