package durabilitytest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

func TestRecorderKeepsCopies(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	want := []durability.Event{
		{Op: durability.OpStore, Phase: durability.Before, Name: "both", Length: 3, Data: []byte("ab"), Data2: []byte("c")},
		{Op: durability.OpStore, Phase: durability.Before, Name: "second", Length: 1, Data2: []byte("c")},
		{Op: durability.OpStore, Phase: durability.Before, Name: "zeros", Length: 3},
		{Op: durability.OpWrite, Phase: durability.Before, Name: "none", Data: []byte{}},
	}
	for _, e := range want {
		e.Data, e.Data2 = bytes.Clone(e.Data), bytes.Clone(e.Data2)
		r.Trace(e)
		clear(e.Data)
		clear(e.Data2)
	}
	got := r.Events()
	// No bytes and none are the same.
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	clear(got[0].Data)
	if again := r.Events()[0].Data; string(again) != "ab" {
		t.Errorf("after a caller changed its copy, the data is %q, want %q", again, "ab")
	}
	if r.Len() != len(want) {
		t.Errorf("Len() = %d, want %d", r.Len(), len(want))
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	at := map[string]int{}
	mark := func(name string) { at[name] = tr.Len() }
	mark("start")
	tr.create(1, "f")
	tr.allocate(1, 2*sector)
	mark("allocated")
	tr.store(1, 0, sectors("ab"))
	mark("store")
	end := tr.begin(write(1, 2*sector-8, sectors("c")))
	mark("write")
	end(nil)
	mark("written")
	end = tr.begin(durability.Event{Op: durability.OpRename, File: 1, NewName: "g"})
	mark("renaming")
	end(nil)
	mark("renamed")
	end = tr.begin(durability.Event{Op: durability.OpTruncate, File: 1, Length: sector})
	mark("truncating")
	end(nil)
	tr.store(1, sector-8, sectors("dd"))
	mark("beyond")
	tr.Trace(durability.Event{Op: durability.OpStore, Phase: durability.Before, File: 1, Dir: dir, Name: "g", Length: 16})
	mark("zeros")
	tr.Trace(durability.Event{Op: durability.OpStore, Phase: durability.Before, File: 1, Dir: dir, Name: "g", Offset: sector - 8, Length: 64})
	mark("zeros beyond")

	for _, c := range []struct {
		at   string
		torn int
		want string
	}{
		{"start", 0, ""},
		{"allocated", 0, "f=.."},
		{"store", -1, "f=.."},
		{"store", 0, "f=.."},
		{"store", sector + 16, "f=a(b2.62)"},
		{"store", 1 << 40, "f=ab"},
		{"write", 0, "f=ab"},
		{"write", 8, "f=a(b63c1)"},
		{"write", 16, "f=a(b63c1)c:8"},
		{"written", 0, "f=a(b63c1)c:504"},
		{"renaming", 0, "f=a(b63c1)c:504"},
		{"renamed", 0, "g=a(b63c1)c:504"},
		{"truncating", 0, "g=a(b63c1)c:504"},
		{"beyond", 0, "g=a"},
		{"beyond", 64, "g=(a63d1)"},
		{"zeros", 0, "g=(a63d1)"},
		{"zeros", 8, "g=(.1a62d1)"},
		{"zeros", 16, "g=(.2a61d1)"},
		{"zeros beyond", 4, "g=(.2a61?1)"},
		{"zeros beyond", 64, "g=(.2a61.1)"},
	} {
		if got := describe(tr.Killed(dir, at[c.at], c.torn)); got != c.want {
			t.Errorf("Killed at %q, torn %d: %q, want %q", c.at, c.torn, got, c.want)
		}
	}
	if got, want := describe(tr.Final(dir)), "g=(.2a61.1)"; got != want {
		t.Errorf("Final() = %q, want %q", got, want)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	base := durabilitytest.Files{"f": sectors("a"), "sub/deep/g": sectors("bb")[:700], "e/": nil}
	if err := tr.BaseFiles(dir, base); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"e/ f=a sub/ sub/deep/ sub/deep/g=bb:188"}, exhaust(t, tr.Recorder, 0)); diff != "" {
		t.Errorf("states before the first event (-want +got):\n%s", diff)
	}

	if got, want := describe(tr.Final(dir)), "e/ f=a sub/ sub/deep/ sub/deep/g=bb:188"; got != want {
		t.Errorf("Final() = %q, want %q", got, want)
	}

	// The name tells which file an identity is, and after the file was closed and
	// opened again, which it is now; from there on the identity holds.
	tr.names[7] = "f"
	tr.store(7, 0, sectors("c"))
	tr.rename(7, "f", "h")
	tr.names[8] = "h"
	tr.store(8, 0, sectors("d"))
	tr.rename(8, "h", "i")
	tr.sync(7)
	tr.remove("nothing")
	tr.names[9] = "unknown"
	tr.store(9, 0, sectors("x"))
	tr.write(9, 0, sectors("x"))
	tr.sync(9)
	const rest = " sub/ sub/deep/ sub/deep/g=bb:188"
	want := []string{"e/ f=d" + rest, "e/ h=d" + rest, "e/ i=d" + rest}
	if diff := cmp.Diff(want, exhaust(t, tr.Recorder, tr.Len())); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if err := tr.BaseFiles(dir, base); !errors.Is(err, durabilitytest.ErrStarted) {
		t.Errorf("BaseFiles after events: %v, want ErrStarted", err)
	}
	if base["f"][0] != 'a' {
		t.Error("the base given was written to")
	}
}

func TestBaseReadsTheDirectory(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	files := durabilitytest.Files{"f": []byte("content"), "sub/": nil, "sub/empty": {}}
	if err := files.WriteTo(tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	r := durabilitytest.NewRecorder()
	if err := r.Base(tmp); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, r.CrashAs(durabilitytest.Drop, tmp, 0, nil)); diff != "" {
		t.Errorf("crash without an event (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(durabilitytest.Files{"empty": {}}, r.Final(filepath.Join(tmp, "sub"))); diff != "" {
		t.Errorf("the directory below (-want +got):\n%s", diff)
	}
	if err := r.Base(filepath.Join(tmp, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Base of a missing directory: %v, want ErrNotExist", err)
	}
}

func TestPositionOutsideTheTrace(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.create(1, "f")
	for _, at := range []int{-1, 3} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "outside the trace of 2 events") {
					t.Errorf("Crash at %d of 2 events: panic %q", at, s)
				}
			}()
			tr.CrashAs(durabilitytest.Drop, dir, at, nil)
		}()
	}
	// The panic held no lock.
	if got := describe(tr.Final(dir)); got != "f=" {
		t.Errorf("Final() = %q, want %q", got, "f=")
	}
}

func TestRecorderFromSeveralGoroutines(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.created(1, "f", 4)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 100 {
				tr.store(1, i*sector, sectors("abcd"[i:i+1]))
			}
		})
		wg.Go(func() {
			for range 100 {
				if n := len(tr.CrashAs(durabilitytest.Keep, dir, tr.Len(), nil)["f"]); n != 4*sector {
					t.Errorf("%d bytes, want %d", n, 4*sector)
				}
			}
		})
	}
	wg.Wait()
	if got := describe(tr.Final(dir)); got != "f=abcd" {
		t.Errorf("Final() = %q, want %q", got, "f=abcd")
	}
}
