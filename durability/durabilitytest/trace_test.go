package durabilitytest_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// dir is where hand-made traces take place. It does not exist.
const dir = "/traced"

// sector is the size of what a device writes atomically.
const sector = 512

// trace writes a hand-made trace into a Recorder. File identities are given by
// the test; names follow them.
type trace struct {
	*durabilitytest.Recorder
	id    uint64
	names map[uint64]string
}

func newTrace() *trace {
	return &trace{Recorder: durabilitytest.NewRecorder(), names: map[uint64]string{}}
}

// begin records the Before event, and returns what records the After event.
func (tr *trace) begin(e durability.Event) (end func(error)) {
	tr.id++
	e.ID, e.Phase = tr.id, durability.Before
	if e.Dir == "" {
		e.Dir = dir
	}
	if e.Name == "" {
		e.Name = tr.names[e.File]
	}
	before := e
	if e.Op == durability.OpCreate {
		before.File = 0
	}
	tr.Trace(before)
	return func(err error) {
		after := e
		after.Phase, after.Err, after.Data, after.Data2 = durability.After, err, nil, nil
		tr.Trace(after)
	}
}

func (tr *trace) do(e durability.Event) { tr.begin(e)(nil) }

func (tr *trace) create(file uint64, name string) {
	tr.names[file] = name
	tr.do(durability.Event{Op: durability.OpCreate, File: file, Name: name})
}

// created makes a file whose name is durable and whose size is durably that of
// the given number of sectors of zeros.
func (tr *trace) created(file uint64, name string, sectors int) {
	tr.create(file, name)
	tr.allocate(file, sectors*sector)
	tr.sync(file)
	tr.syncDir()
}

func (tr *trace) rename(file uint64, name, newName string) {
	tr.names[file] = newName
	tr.do(durability.Event{Op: durability.OpRename, File: file, Name: name, NewName: newName})
}

func (tr *trace) link(file uint64, newName string) {
	tr.do(durability.Event{Op: durability.OpLink, File: file, NewName: newName})
}

func (tr *trace) mkdir(in, name string) {
	tr.do(durability.Event{Op: durability.OpMkdir, Dir: in, Name: name})
}

func (tr *trace) remove(name string) {
	tr.do(durability.Event{Op: durability.OpRemove, Name: name})
}

func (tr *trace) store(file uint64, off int, data []byte) {
	tr.Trace(durability.Event{
		Op: durability.OpStore, Phase: durability.Before, File: file, Dir: dir, Name: tr.names[file],
		Offset: int64(off), Length: int64(len(data)), Data: data,
	})
}

func (tr *trace) write(file uint64, off int, data []byte) {
	tr.do(write(file, off, data))
}

func write(file uint64, off int, data []byte) durability.Event {
	return durability.Event{Op: durability.OpWrite, File: file, Offset: int64(off), Length: int64(len(data)), Data: data}
}

func (tr *trace) allocate(file uint64, size int) {
	tr.do(durability.Event{Op: durability.OpAllocate, File: file, Length: int64(size)})
}

func (tr *trace) truncate(file uint64, size int) {
	tr.do(durability.Event{Op: durability.OpTruncate, File: file, Length: int64(size)})
}

func (tr *trace) sync(file uint64) { tr.do(durability.Event{Op: durability.OpSync, File: file}) }

func (tr *trace) msync(file uint64, off, length int) {
	tr.do(durability.Event{Op: durability.OpMsync, File: file, Offset: int64(off), Length: int64(length)})
}

func (tr *trace) syncDir() { tr.do(durability.Event{Op: durability.OpSyncDir}) }

// sectors returns one sector for each letter, filled with it; a dot is zeros.
func sectors(letters string) []byte {
	var b []byte
	for _, l := range []byte(letters) {
		if l == '.' {
			l = 0
		}
		b = append(b, bytes.Repeat([]byte{l}, sector)...)
	}
	return b
}

// describe writes files as "name=content" with one letter for each sector; runs
// of words where a sector is mixed, as in "(a3.61)"; and the length, where it is
// no multiple of a sector.
func describe(files durabilitytest.Files) string {
	var words []string
	for _, name := range files.Names() {
		content := files[name]
		var b strings.Builder
		for s := range slices.Chunk(content, sector) {
			b.WriteString(describeSector(s))
		}
		if rest := len(content) % sector; rest != 0 {
			fmt.Fprintf(&b, ":%d", rest)
		}
		if strings.HasSuffix(name, "/") {
			words = append(words, name)
		} else {
			words = append(words, name+"="+b.String())
		}
	}
	return strings.Join(words, " ")
}

func describeSector(s []byte) string {
	if len(s)%8 == 0 && bytes.Count(s, s[:1]) == len(s) {
		return letterOf(s[0])
	}
	var runs []string
	last, n := "", 0
	flush := func() {
		if n > 0 {
			runs = append(runs, fmt.Sprintf("%s%d", last, n))
		}
	}
	for w := range slices.Chunk(s, 8) {
		letter := "?"
		if bytes.Count(w, w[:1]) == len(w) {
			letter = letterOf(w[0])
		}
		if letter != last {
			flush()
			last, n = letter, 0
		}
		n++
	}
	flush()
	if len(runs) == 1 && last != "?" {
		return last
	}
	return "(" + strings.Join(runs, "") + ")"
}

// letterOf returns the letter for a word of one byte.
func letterOf(b byte) string {
	if b == 0 {
		return "."
	}
	return string(rune(b))
}

// exhaust returns every state after the first at events, and fails if seeded
// states are others than these: each seed must be among them, and enough seeds
// must reach all.
func exhaust(t *testing.T, r *durabilitytest.Recorder, at int) []string {
	t.Helper()
	all := map[string]bool{}
	var odometer durabilitytest.Odometer
	for odometer.Next() {
		all[describe(r.Crash(dir, at, &odometer))] = true
	}
	want := slices.Sorted(maps.Keys(all))
	for _, mode := range []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Keep} {
		if s := describe(r.CrashAs(mode, dir, at, nil)); !all[s] {
			t.Errorf("mode %d after %d events: %q is none of %q", mode, at, s, want)
		}
	}
	if len(want) > 64 || raceDetector && !thorough() { // 2,000 states, one after the other
		return want
	}
	seeded := map[string]bool{}
	for seed := range uint64(2000) {
		seeded[describe(r.Crash(dir, at, rand.New(rand.NewPCG(seed, 1))))] = true
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(seeded))); diff != "" {
		t.Errorf("after %d events, states of all choices (-) and of PCG seeds (0..1999, 1) (+):\n%s", at, diff)
	}
	return want
}
