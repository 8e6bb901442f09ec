package durabilitytest_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// reference enumerates the legal crash states of a trace in the slowest and
// plainest way: it keeps every file as it was after every single event, and
// takes the rule by its words. It knows no operation under way but syncs.
type reference struct {
	events  []durability.Event
	moments []map[uint64][]byte // files after the first n events, by identity
	begins  map[uint64]int      // Before events by ID
}

// zeroPad is where the reference ends each file's zeros behind its size.
const zeroPad = 4 * sector

func newReference(events []durability.Event) *reference {
	ref := &reference{events: events, moments: []map[uint64][]byte{{}}, begins: map[uint64]int{}}
	for i, e := range events {
		files := map[uint64][]byte{}
		for id, content := range ref.moments[i] {
			files[id] = bytes.Clone(content)
		}
		if e.Phase == durability.Before {
			ref.begins[e.ID] = i
		}
		ref.apply(files, e)
		ref.moments = append(ref.moments, files)
	}
	return ref
}

// apply performs one event on the files.
func (ref *reference) apply(files map[uint64][]byte, e durability.Event) {
	content := files[e.File]
	extend := func(size int64) {
		for int64(len(content)) < size {
			content = append(content, 0)
		}
	}
	switch {
	case e.Op == durability.OpStore:
		for i, b := range e.Data {
			if at := int(e.Offset) + i; at < len(content) {
				content[at] = b
			}
		}
	case e.Phase == durability.Before:
		return
	case e.Op == durability.OpCreate:
		content = []byte{}
	case e.Op == durability.OpWrite:
		extend(e.Offset + e.Length)
		copy(content[e.Offset:], ref.events[ref.begins[e.ID]].Data)
	case e.Op == durability.OpAllocate:
		extend(e.Offset + e.Length)
	case e.Op == durability.OpTruncate:
		extend(e.Length)
		content = content[:e.Length:e.Length]
	default:
		return
	}
	files[e.File] = content
}

// since returns the moment from which on content is legal after the first at
// events: the start of the last successful sync of the file for which covers is
// true.
func (ref *reference) since(at int, file uint64, covers func(durability.Event) bool) int {
	last := 0
	for _, e := range ref.events[:at] {
		isSync := e.Op == durability.OpMsync || e.Op == durability.OpDatasync || e.Op == durability.OpSync
		if isSync && e.File == file && e.Phase == durability.After && e.Err == nil && covers(e) {
			last = max(last, ref.begins[e.ID])
		}
	}
	return last
}

// file returns every legal content of a file after the first at events.
func (ref *reference) file(at int, file uint64) []string {
	sizes := map[int]bool{}
	sizeSince := ref.since(at, file, func(durability.Event) bool { return true })
	for m := sizeSince; m <= at; m++ {
		if content, ok := ref.moments[m][file]; ok {
			sizes[len(content)] = true
		}
	}
	var legal []string
	for size := range sizes {
		states := []string{""}
		for from := 0; from < size; from += sector {
			to := min(size, from+sector)
			var longer []string
			for s := range ref.sector(at, file, from, sizeSince) {
				for _, before := range states {
					longer = append(longer, before+s[:to-from])
				}
			}
			states = longer
		}
		legal = append(legal, states...)
	}
	return legal
}

// sector returns every legal content of the sector at from.
func (ref *reference) sector(at int, file uint64, from, sizeSince int) map[string]bool {
	since := ref.since(at, file, func(e durability.Event) bool {
		return e.Op != durability.OpMsync || e.Offset <= int64(from) && int64(from)+sector <= e.Offset+e.Length
	})
	// A durable truncation is final.
	for m := range sizeSince {
		if before, ok := ref.moments[m][file]; ok && len(ref.moments[m+1][file]) < len(before) && from >= len(ref.moments[m+1][file]) {
			since = max(since, m+1)
		}
	}
	contents := map[string]bool{}
	for m := since; m <= at; m++ {
		if content, ok := ref.moments[m][file]; ok {
			padded := append(bytes.Clone(content), make([]byte, zeroPad-len(content))...)
			contents[string(padded[from:from+sector])] = true
		}
	}
	return contents
}

// names returns every legal set of names after the first at events.
func (ref *reference) names(at int) []map[string]uint64 {
	var ops []durability.Event
	var ends []int
	synced := 0
	for i, e := range ref.events[:at] {
		switch {
		case e.Phase != durability.After || e.Err != nil:
		case e.Op == durability.OpCreate, e.Op == durability.OpRename, e.Op == durability.OpRemove:
			ops, ends = append(ops, e), append(ends, i)
		case e.Op == durability.OpSyncDir:
			synced = max(synced, ref.begins[e.ID])
		}
	}
	first := 0
	for first < len(ops) && ends[first] < synced {
		first++
	}
	var legal []map[string]uint64
	for set := range 1 << (len(ops) - first) {
		there := func(i int) bool { return i < first || set>>(i-first)&1 == 1 }
		if names, ok := without(ops, there); ok {
			legal = append(legal, names)
		}
	}
	return legal
}

// without performs the operations that are there, and reports whether none of
// them builds on a missing one.
func without(ops []durability.Event, there func(int) bool) (map[string]uint64, bool) {
	names, missing := map[string]uint64{}, map[string]bool{}
	for i, e := range ops {
		touched := []string{e.Name}
		if e.Op == durability.OpRename {
			touched = append(touched, e.NewName)
		}
		for _, name := range touched {
			if there(i) && missing[name] {
				return nil, false
			}
			missing[name] = missing[name] || !there(i)
		}
		if !there(i) {
			continue
		}
		switch e.Op {
		case durability.OpCreate:
			names[e.Name] = e.File
		case durability.OpRename:
			names[e.NewName] = names[e.Name]
			delete(names, e.Name)
		case durability.OpRemove:
			delete(names, e.Name)
		}
	}
	return names, true
}

// states returns every legal state after the first at events, described; nil if
// there are more than limit.
func (ref *reference) states(at, limit int) []string {
	all := map[string]bool{}
	for _, names := range ref.names(at) {
		states := []durabilitytest.Files{{}}
		for name, file := range names {
			var larger []durabilitytest.Files
			for _, content := range ref.file(at, file) {
				for _, before := range states {
					state := maps.Clone(before)
					state[name] = []byte(content)
					larger = append(larger, state)
				}
			}
			if states = larger; len(states) > limit {
				return nil
			}
		}
		for _, state := range states {
			all[describe(state)] = true
		}
	}
	if len(all) > limit {
		return nil
	}
	return slices.Sorted(maps.Keys(all))
}

// ramble records a random trace of about n operations.
func ramble(rng *rand.Rand, tr *trace, n int) {
	live := map[string]uint64{}
	var files []uint64
	var open []func(error)
	errs := []error{nil, nil, nil, errSync}
	for range n {
		name := string(rune('p' + rng.IntN(3)))
		if len(files) == 0 || rng.IntN(8) == 0 {
			if live[name] == 0 {
				file := uint64(len(files) + 1)
				tr.create(file, name)
				live[name], files = file, append(files, file)
			}
			continue
		}
		file := files[rng.IntN(len(files))]
		data := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, 8*(1+rng.IntN(96)))
		switch rng.IntN(10) {
		case 0, 1:
			tr.store(file, 8*rng.IntN(128), data)
		case 2:
			tr.write(file, 8*rng.IntN(128), data)
		case 3:
			tr.allocate(file, sector*rng.IntN(4))
		case 4:
			tr.truncate(file, 100*rng.IntN(15))
		case 5:
			if newName := string(rune('p' + rng.IntN(3))); live[name] != 0 && newName != name {
				tr.rename(live[name], name, newName)
				live[newName] = live[name]
				delete(live, name)
			}
		case 6:
			if live[name] != 0 {
				tr.remove(name)
				delete(live, name)
			}
		case 7, 8:
			ops := []durability.Op{durability.OpSync, durability.OpDatasync, durability.OpMsync, durability.OpSyncDir}
			e := durability.Event{Op: ops[rng.IntN(4)], File: file, Offset: int64(rng.IntN(3)) * sector, Length: int64(rng.IntN(4)) * sector}
			open = append(open, tr.begin(e))
		case 9:
			if len(open) > 0 {
				i := rng.IntN(len(open))
				open[i](errs[rng.IntN(len(errs))])
				open = slices.Delete(open, i, i+1)
			}
		}
	}
}

// underWay reports whether more than syncs is under way after the events: the
// reference knows nothing of that.
func underWay(events []durability.Event) bool {
	if len(events) == 0 {
		return false
	}
	last := events[len(events)-1]
	switch last.Op {
	case durability.OpMsync, durability.OpDatasync, durability.OpSync, durability.OpSyncDir:
		return false
	}
	return last.Phase == durability.Before
}

func TestCrashIsTheReference(t *testing.T) {
	t.Parallel()
	const limit = 100
	compared, most := 0, 0
	each, fixed := seeds(t, 40, 40)
	for seed := range each {
		rng := rand.New(rand.NewPCG(seed, 2))
		tr := newTrace()
		ramble(rng, tr, 25)
		ref := newReference(tr.Events())
		// In random order: positions before those asked for already, too.
		for _, at := range rng.Perm(tr.Len() + 1) {
			if underWay(ref.events[:at]) {
				continue
			}
			want := ref.states(at, limit)
			if want == nil {
				continue
			}
			got := map[string]bool{}
			var all durabilitytest.Odometer
			for all.Next() {
				got[describe(tr.Crash(dir, at, &all))] = true
			}
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
				t.Fatalf("PCG seed (%d, 2), after %d events: states (-reference +got):\n%s\n%s", seed, at, diff, list(ref.events[:at]))
			}
			compared++
			most = max(most, len(want))
		}
	}
	if fixed && (compared < 300 || most < 80) {
		t.Errorf("only %d positions were compared, with at most %d states: the traces are too poor", compared, most)
	}
}

// TestCrashNeedsNoFuture crashes at every position of random traces, with
// operations under way, and in random order: what comes later in a trace, and
// what was asked before, must not matter.
func TestCrashNeedsNoFuture(t *testing.T) {
	t.Parallel()
	each, _ := seeds(t, 20, 40)
	for seed := range each {
		rng := rand.New(rand.NewPCG(seed, 4))
		tr := newTrace()
		ramble(rng, tr, 40)
		events := tr.Events()
		for _, at := range rng.Perm(len(events) + 1) {
			prefix := durabilitytest.NewRecorder()
			for _, e := range events[:at] {
				prefix.Trace(e)
			}
			if want, got := describe(prefix.Killed(dir, at, 100)), describe(tr.Killed(dir, at, 100)); got != want {
				t.Fatalf("PCG seed (%d, 4), killed after %d events: %q, alone %q\n%s", seed, at, got, want, list(events))
			}
			for choices := range uint64(10) {
				want := describe(prefix.Crash(dir, at, rand.New(rand.NewPCG(choices, 5))))
				got := describe(tr.Crash(dir, at, rand.New(rand.NewPCG(choices, 5))))
				if got != want {
					t.Fatalf("PCG seeds (%d, 4) and (%d, 5), after %d events: %q, alone %q\n%s", seed, choices, at, got, want, list(events))
				}
			}
		}
	}
}

// list prints events, one a line.
func list(events []durability.Event) string {
	var b bytes.Buffer
	for i, e := range events {
		fmt.Fprintf(&b, "%3d %-6v %v file %d %s %s [%d,+%d) %.1q %v\n", i, e.Phase, e.Op, e.File, e.Name, e.NewName, e.Offset, e.Length, e.Data, e.Err)
	}
	return b.String()
}
