package durabilitytest_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

var errSync = errors.New("input/output error")

// crashCase is a trace, and exactly the states that a power loss after its last
// event may leave.
type crashCase struct {
	name string
	do   func(tr *trace)
	want []string
}

// word returns the bytes of one aligned word, all the same.
func word(l byte) []byte { return bytes.Repeat([]byte{l}, 8) }

func checkCrashes(t *testing.T, cases []crashCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrace()
			c.do(tr)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, exhaust(t, tr.Recorder, tr.Len())); diff != "" {
				t.Errorf("legal states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCrashContent(t *testing.T) {
	t.Parallel()
	checkCrashes(t, contentCases)
}

var contentCases = []crashCase{
	{"nothing happened", func(*trace) {}, []string{""}},
	{"unsynced sectors go one by one", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.syncDir() // another event: the store is complete
	}, []string{"f=..", "f=a.", "f=.b", "f=ab"}},
	{"a sector holds any of its contents", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.store(1, 0, sectors("b"))
		tr.syncDir()
	}, []string{"f=.", "f=a", "f=b"}},
	{"a sync makes durable", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.sync(1)
	}, []string{"f=ab"}},
	{"from the start of the sync on", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.store(1, 0, sectors("b"))
		end := tr.begin(durability.Event{Op: durability.OpDatasync, File: 1})
		tr.store(1, 0, sectors("c"))
		end(nil)
		tr.store(1, 0, sectors("d"))
		tr.syncDir()
	}, []string{"f=b", "f=c", "f=d"}},
	{"a sync that has not returned promises nothing", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.begin(durability.Event{Op: durability.OpSync, File: 1})
	}, []string{"f=.", "f=a"}},
	{"a sync that failed promises nothing", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.begin(durability.Event{Op: durability.OpSync, File: 1})(errSync)
	}, []string{"f=.", "f=a"}},
	{"a sync after one that failed does", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.begin(durability.Event{Op: durability.OpSync, File: 1})(errSync)
		tr.sync(1)
	}, []string{"f=a"}},
	{"an earlier sync that returns later takes nothing back", func(tr *trace) {
		tr.created(1, "f", 1)
		early := tr.begin(durability.Event{Op: durability.OpSync, File: 1})
		tr.store(1, 0, sectors("a"))
		tr.allocate(1, 2*sector)
		tr.sync(1)
		tr.store(1, 0, sectors("b"))
		early(nil)
	}, []string{"f=a.", "f=b."}},
	{"msync covers its range only", func(tr *trace) {
		tr.created(1, "f", 3)
		tr.store(1, 0, sectors("abc"))
		tr.msync(1, sector, sector)
	}, []string{"f=.b.", "f=ab.", "f=.bc", "f=abc"}},
	{"a sector covered in part is not covered", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.msync(1, 0, sector-1)
	}, []string{"f=.", "f=a"}},
	{"a sync covers its own file only", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.created(2, "g", 1)
		tr.store(1, 0, sectors("a"))
		tr.sync(2)
	}, []string{"f=. g=.", "f=a g=."}},
	{"two pieces are one store", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.Trace(durability.Event{
			Op: durability.OpStore, Phase: durability.Before, File: 1, Dir: dir, Name: "f",
			Length: 2 * sector, Data: sectors("a"), Data2: sectors("b"),
		})
		tr.sync(1)
	}, []string{"f=ab"}},
	{"a store without data is zeros", func(tr *trace) {
		tr.created(1, "f", 3)
		tr.store(1, 0, sectors("abc"))
		tr.Trace(durability.Event{
			Op: durability.OpStore, Phase: durability.Before, File: 1, Dir: dir, Name: "f",
			Offset: sector, Length: sector,
		})
		tr.sync(1)
	}, []string{"f=a.c"}},
	{"stores behind the end are lost", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("ab"))
		tr.allocate(1, 2*sector)
		tr.sync(1)
	}, []string{"f=a."}},
}

func TestCrashInFlight(t *testing.T) {
	t.Parallel()
	checkCrashes(t, inFlightCases)
}

var inFlightCases = []crashCase{
	{"a store is torn in words", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 8, append(word('a'), word('b')...))
	}, []string{"f=.", "f=(.1a1.62)", "f=(.2b1.61)", "f=(.1a1b1.61)"}},
	{"on the newest content only", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.store(1, 0, word('b'))
	}, []string{"f=.", "f=a", "f=(b1a63)"}},
	{"in each sector by itself", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, sector-8, append(word('a'), word('b')...))
	}, []string{"f=..", "f=(.63a1).", "f=.(b1.63)", "f=(.63a1)(b1.63)"}},
	{"words that stay the same are no choice", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("."))
	}, []string{"f=."}},
	{"a store that others follow is whole", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, append(word('a'), word('b')...))
		tr.store(1, 504, word('c'))
	}, []string{"f=.", "f=(a1b1.62)", "f=(a1b1.61c1)"}},
	{"a write is torn until it returns, and may grow the file", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(write(1, 504, append(word('a'), word('b')...)))
		tr.syncDir()
	}, []string{"f=.", "f=(.63a1)", "f=..:8", "f=(.63a1).:8", "f=.b:8", "f=(.63a1)b:8"}},
	{"a write meets what is stored at the same time", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(write(1, 0, word('w')))
		tr.store(1, 8, word('s'))
		tr.syncDir()
	}, []string{"f=.", "f=(w1.63)", "f=(.1s1.62)", "f=(w1s1.62)"}},
	{"a write does not meet what was gone before", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 8, word('s'))
		tr.begin(write(1, 0, word('w')))
	}, []string{"f=.", "f=(.1s1.62)", "f=(w1s1.62)"}},
	{"a truncation takes sectors whole", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.sync(1)
		tr.begin(durability.Event{Op: durability.OpTruncate, File: 1, Length: sector})
	}, []string{"f=ab", "f=a.", "f=a"}},
	{"what is stored behind a shorter end does not show in the longer one", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.truncate(1, sector)
		tr.store(1, sector-8, append(word('a'), word('b')...))
	}, []string{"f=.", "f=(.63a1)", "f=..", "f=(.63a1)."}},
	{"a truncation that lengthens has no pages in progress", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(durability.Event{Op: durability.OpTruncate, File: 1, Length: 8704})
	}, []string{"f=.", "f=................."}},
	{"an allocation has", func(tr *trace) {
		tr.created(1, "f", 16)
		tr.begin(durability.Event{Op: durability.OpAllocate, File: 1, Length: 12800})
	}, []string{"f=................", "f=........................", "f=........................."}},
	{"an allocation under way never shortens", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.begin(durability.Event{Op: durability.OpAllocate, File: 1, Length: sector})
	}, []string{"f=.."}},
	{"an allocation may be there", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(durability.Event{Op: durability.OpAllocate, File: 1, Offset: sector, Length: sector})
	}, []string{"f=.", "f=.."}},
	{"a creation may be there, empty", func(tr *trace) {
		tr.begin(durability.Event{Op: durability.OpCreate, File: 1, Name: "f"})
	}, []string{"", "f="}},
	{"a rename may be there", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(durability.Event{Op: durability.OpRename, File: 1, NewName: "g"})
	}, []string{"f=.", "g=."}},
	{"an operation that failed did nothing", func(tr *trace) {
		tr.created(1, "f", 1)
		for _, e := range []durability.Event{
			{Op: durability.OpRename, File: 1, NewName: "g"},
			{Op: durability.OpAllocate, File: 1, Length: 2 * sector},
			{Op: durability.OpTruncate, File: 1},
			{Op: durability.OpCreate, File: 2, Name: "h"},
		} {
			tr.begin(e)(errSync)
		}
	}, []string{"f=."}},
}

func TestCrashSize(t *testing.T) {
	t.Parallel()
	checkCrashes(t, sizeCases)
}

var sizeCases = []crashCase{
	{"an unsynced file may be empty, short or without content", func(tr *trace) {
		tr.create(1, "f")
		tr.syncDir()
		tr.write(1, 0, sectors("a"))
		tr.write(1, sector, sectors("b"))
	}, []string{"f=", "f=.", "f=a", "f=..", "f=a.", "f=.b", "f=ab"}},
	{"a size may be missing, and every sync of the file keeps it", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.allocate(1, 2*sector)
		tr.msync(1, 0, 0)
		tr.allocate(1, 3*sector)
	}, []string{"f=..", "f=..."}},
	{"from the start of the sync on", func(tr *trace) {
		tr.created(1, "f", 1)
		end := tr.begin(durability.Event{Op: durability.OpSync, File: 1})
		tr.allocate(1, 2*sector)
		end(nil)
	}, []string{"f=.", "f=.."}},
	{"a failed sync keeps no size", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.allocate(1, 2*sector)
		tr.begin(durability.Event{Op: durability.OpSync, File: 1})(errSync)
	}, []string{"f=.", "f=.."}},
	{"a file grows page by page", func(tr *trace) {
		tr.create(1, "f")
		tr.syncDir()
		tr.allocate(1, 9000)
	}, []string{"f=", "f=........", "f=................", "f=..................:296"}},
	{"a truncation may be missing, with the old content or without", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.sync(1)
		tr.truncate(1, sector)
	}, []string{"f=ab", "f=a.", "f=a"}},
	{"what a durable truncation took does not come back", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.sync(1)
		tr.truncate(1, sector)
		tr.msync(1, 0, sector)
		tr.truncate(1, 2*sector)
	}, []string{"f=a", "f=a."}},
	{"also one that an earlier sync did not cover", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, sector, sectors("b"))
		tr.sync(1)
		end := tr.begin(durability.Event{Op: durability.OpMsync, File: 1, Length: sector})
		tr.truncate(1, sector)
		end(nil)
		tr.truncate(1, 2*sector)
		tr.msync(1, 0, sector)
	}, []string{"f=.."}},
	{"what comes behind it later is new", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, 0, sectors("ab"))
		tr.sync(1)
		tr.truncate(1, sector)
		tr.truncate(1, 2*sector)
		tr.store(1, sector, sectors("c"))
		tr.msync(1, 0, sector)
	}, []string{"f=a.", "f=ac"}},
	{"a truncation within the sync is not covered", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.store(1, sector, sectors("b"))
		tr.sync(1)
		end := tr.begin(durability.Event{Op: durability.OpMsync, File: 1, Length: sector})
		tr.truncate(1, sector)
		end(nil)
	}, []string{"f=.b", "f=..", "f=."}},
	{"a truncation inside a sector zeroes its rest", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.truncate(1, 8)
		tr.truncate(1, sector)
		tr.sync(1)
	}, []string{"f=(a1.63)"}},
	{"an allocation has an offset", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.do(durability.Event{Op: durability.OpAllocate, File: 1, Offset: 2 * sector, Length: sector})
		tr.sync(1)
	}, []string{"f=..."}},
	{"an allocation never shortens", func(tr *trace) {
		tr.created(1, "f", 2)
		tr.allocate(1, sector)
		tr.sync(1)
	}, []string{"f=.."}},
	{"a write that failed wrote what it says", func(tr *trace) {
		tr.create(1, "f")
		tr.syncDir()
		e := write(1, 0, sectors("ab"))
		tr.begin(e)
		e.Name, e.Dir, e.ID, e.Phase, e.Length, e.Data, e.Err = "f", dir, tr.id, durability.After, sector, nil, errSync
		tr.Trace(e)
		tr.sync(1)
	}, []string{"f=a"}},
}

func TestCrashOfLostPages(t *testing.T) {
	t.Parallel()
	failed := func(tr *trace) {
		tr.LoseOnFailedSync()
		tr.created(1, "f", 9)
		tr.store(1, 0, sectors("a"))
		tr.begin(durability.Event{Op: durability.OpMsync, File: 1, Length: 4096})(errSync)
	}
	checkCrashes(t, []crashCase{
		{"a retry does not help", func(tr *trace) {
			failed(tr)
			tr.sync(1)
		}, []string{"f=.........", "f=a........"}},
		{"a store into another page neither", func(tr *trace) {
			failed(tr)
			tr.store(1, 4096, sectors("b"))
			tr.sync(1)
		}, []string{"f=........b", "f=a.......b"}},
		{"a store into the page does", func(tr *trace) {
			failed(tr)
			tr.store(1, sector, sectors("b"))
			tr.sync(1)
		}, []string{"f=ab......."}},
		{"even one of the same bytes", func(tr *trace) {
			failed(tr)
			tr.store(1, 0, sectors("a"))
			tr.sync(1)
		}, []string{"f=a........"}},
		{"a page next to the range is not lost", func(tr *trace) {
			failed(tr)
			tr.store(1, 4096, sectors("b"))
			tr.begin(durability.Event{Op: durability.OpMsync, File: 1, Length: 4096})(errSync)
			tr.sync(1)
		}, []string{"f=........b", "f=a.......b"}},
		{"what was durable stays", func(tr *trace) {
			tr.LoseOnFailedSync()
			tr.created(1, "f", 1)
			tr.store(1, 0, sectors("a"))
			tr.sync(1)
			tr.begin(durability.Event{Op: durability.OpSync, File: 1})(errSync)
			tr.sync(1)
		}, []string{"f=a"}},
	})
}

func TestCrashModes(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.created(1, "f", 2)
	tr.store(1, 0, sectors("a"))
	tr.sync(1)
	tr.store(1, 0, sectors("b"))
	tr.create(2, "g")
	tr.write(2, 0, sectors("gg"))
	tr.rename(1, "f", "h")
	tr.begin(write(2, 2*sector, sectors("g")))
	tr.begin(write(2, 2*sector, sectors("g")[:8])) // reaches less far
	tr.store(1, sector, sectors("c"))
	at := tr.Len()
	for mode, want := range map[durabilitytest.CrashMode]string{
		durabilitytest.Drop: "f=a.",
		durabilitytest.Keep: "g=ggg h=bc",
	} {
		if got := describe(tr.CrashAs(mode, dir, at, nil)); got != want {
			t.Errorf("mode %d: %q, want %q", mode, got, want)
		}
	}
}

func TestCrashGivesEachNameItsOwnBytes(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.created(1, "f", 1)
	tr.do(durability.Event{Op: durability.OpLink, File: 1, NewName: "g"})
	files := tr.CrashAs(durabilitytest.Keep, dir, tr.Len(), nil)
	files["f"][0] = 'x'
	if files["g"][0] != 0 {
		t.Error("two names of one file share their bytes")
	}
	if got := describe(tr.Final(dir)); got != "f=. g=." {
		t.Errorf("after a caller changed a state, Final() = %q", got)
	}
}

// TestDevice holds the content that the device has back to the last successful
// sync, under names that no sync has covered.
func TestDevice(t *testing.T) {
	dir := t.TempDir()
	d := must(durability.OpenDir(dir, nil))
	defer d.Close()
	r := durabilitytest.NewRecorder()
	traced := must(durability.OpenDir(dir, r))
	defer traced.Close()
	f := must(traced.Create("a", 0o600))
	defer f.Close()
	for _, s := range []struct {
		data string
		sync bool
	}{{"one", true}, {"two", false}} {
		if _, err := f.WriteAt([]byte(s.data), 0); err != nil {
			t.Fatal(err)
		}
		if s.sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := traced.Rename("a", "b", f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(durabilitytest.Files{"b": []byte("one")}, r.Device(dir)); diff != "" {
		t.Errorf("device (-want +got):\n%s", diff)
	}
}

// must returns the value, and panics with the error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
