package durability_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestTraceTellsAll replays a life of a directory from its trace: the replay has
// the real files, byte for byte, or something went untold.
func TestTraceTellsAll(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	d := newDir(t, r)
	f := newFile(t, d, "a", 0)
	must(t, f.Allocate(8*page, durability.AllocateOptions{FillBytes: int(page)}))
	m := mapFile(t, f, 8*page)
	must(t, m.Store(10, []byte("both"), []byte("parts")))
	must(t, m.StoreUint64(64, 0x0102030405060708))
	must(t, m.Store(page, []byte("to be zeroed"), nil))
	must(t, m.Zero(page+3, 4))
	must(t, m.Sync(0, page))
	must(t, d.Rename("a", "b", f))
	must(t, m.Store(2*page, nil, []byte("under its new name")))
	_, err := f.WriteAt([]byte("written"), 3*page)
	must(t, err)
	must(t, f.Datasync())
	must(t, d.Sync())
	same := reopen(t, f, d, true)
	_, err = same.WriteAt([]byte("by another descriptor"), 4*page)
	must(t, err)
	must(t, f.Truncate(6*page))
	must(t, f.Truncate(7*page))
	must(t, f.Sync())
	must(t, d.WriteFile("w", []byte("one"), 0o644))
	must(t, d.WriteFile("w", []byte("two"), 0o644))
	must(t, d.CreateFile("c", []byte("three"), 0o644))
	newFile(t, d, "gone", page)
	must(t, d.Remove("gone"))

	if diff := cmp.Diff(files(t, d.Path()), r.Final(d.Path())); diff != "" {
		t.Errorf("the trace tells something else (-real +trace):\n%s", diff)
	}
	ids, pairs := map[uint64]bool{}, map[uint64]durability.Event{}
	for _, e := range r.Events() {
		switch {
		case e.Op == durability.OpStore:
			if e.ID != 0 || e.Phase != durability.Before {
				t.Errorf("a store has ID %d and phase %v", e.ID, e.Phase)
			}
		case e.Phase == durability.Before:
			if e.ID == 0 || ids[e.ID] {
				t.Errorf("%v has ID %d again", e.Op, e.ID)
			}
			ids[e.ID], pairs[e.ID] = true, e
		default:
			b, ok := pairs[e.ID]
			if !ok || b.Op != e.Op || b.Name != e.Name || b.Dir != e.Dir || e.Err != nil {
				t.Errorf("%v of %q ends %v of %q: %v", e.Op, e.Name, b.Op, b.Name, e.Err)
			}
			delete(pairs, e.ID)
		}
		if (e.Name == "a" || e.Name == "b") && e.File == 0 && e.Op != durability.OpCreate {
			t.Errorf("%v of %q does not say which file it is", e.Op, e.Name)
		}
	}
	if len(pairs) > 0 {
		t.Errorf("operations without an end: %v", pairs)
	}
}

// TestTraceIdentity gives one file one identity, under all names and in all
// descriptors, and no two files the same.
func TestTraceIdentity(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	d := newDir(t, r)
	twin := openDir(t, d.Path(), r)
	f, other := newFile(t, d, "a", page), newFile(t, d, "x", page)
	must(t, d.Rename("a", "b", f))
	again := reopen(t, f, twin, false)
	before := r.Len()
	must(t, f.Sync())
	must(t, again.Sync())
	must(t, f.Close())
	must(t, again.Datasync())
	must(t, other.Sync())
	must(t, d.Sync())
	must(t, twin.Sync())
	var got []uint64
	for _, e := range r.Events()[before:] {
		if e.Phase == durability.After {
			got = append(got, e.File)
		}
	}
	file, stranger, dir := got[0], got[3], got[4]
	if diff := cmp.Diff([]uint64{file, file, file, stranger, dir, dir}, got); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	before = r.Len()
	must(t, newDir(t, r).Sync())
	elsewhere := r.Events()[before].File
	all := map[uint64]bool{file: true, stranger: true, dir: true, elsewhere: true}
	if len(all) != 4 || all[0] {
		t.Errorf("the identities %d, %d, %d, %d are not four", file, stranger, dir, elsewhere)
	}
	for _, e := range r.Events() {
		if e.Op == durability.OpCreate && e.Phase == durability.After && e.File != map[string]uint64{"a": file, "x": stranger}[e.Name] {
			t.Errorf("creating %s has identity %d", e.Name, e.File)
		}
	}

	if !durability.Identified(again) {
		t.Error("the identity went with the first of two descriptors")
	}
	must(t, again.Close())
	if durability.Identified(again) {
		t.Error("the identity stays behind the last descriptor")
	}
	must(t, twin.Close())
	must(t, d.Close())
	if durability.IdentifiedDir(d) {
		t.Error("the identity stays behind the directory")
	}
}

// TestTraceIsTrue tells the tracer what the kernel said, also where a hook makes
// the caller hear something else.
func TestTraceIsTrue(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		phase  durability.Phase
		hook   error
		heard  error // by the caller
		traced error
		length int64
	}{
		{"refused", durability.Before, unix.EIO, unix.EIO, unix.EIO, 0},
		{"dropped", durability.Before, durabilitytest.ErrDrop, nil, durabilitytest.ErrDrop, 0},
		{"done, and denied", durability.After, unix.EIO, unix.EIO, nil, 4},
		{"done", 0, nil, nil, nil, 4},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := durabilitytest.NewRecorder()
			d := newDir(t, r)
			f := newFile(t, d, "f", page)
			durabilitytest.Inject(t, d.Path(), func(call *durabilitytest.Call) error {
				if call.Phase == c.phase && call.Op == durability.OpWrite {
					return c.hook
				}
				return nil
			})
			n, err := f.WriteAt([]byte("data"), 8)
			if c.heard != nil {
				wantErr(t, err, c.heard)
			} else if n != 4 || err != nil {
				t.Errorf("WriteAt = %d, %v, want 4 and no error", n, err)
			}
			last := r.Events()[r.Len()-1]
			if !cmp.Equal(last.Err, c.traced, equateErrors) || last.Length != c.length || last.Data != nil {
				t.Errorf("the event says %d bytes, data %q, %v; want %d, none, %v", last.Length, last.Data, last.Err, c.length, c.traced)
			}
			if diff := cmp.Diff(files(t, d.Path()), r.Final(d.Path())); diff != "" {
				t.Errorf("the trace ends otherwise (-real +trace):\n%s", diff)
			}
		})
	}
}

// TestTraceOrder reports a store before its first byte, and everything else
// around it.
func TestTraceOrder(t *testing.T) {
	t.Parallel()
	var m *durability.Mapping
	var f *durability.File
	seen := map[durability.Op]string{}
	tracer := tracerFunc(func(e durability.Event) {
		if m == nil || e.Phase != durability.Before {
			return
		}
		p := make([]byte, 1)
		if _, err := unix.Pread(f.Fd(), p, 0); err != nil {
			t.Error(err)
		}
		seen[e.Op] = string(p)
	})
	f = newFile(t, newDir(t, tracer), "f", page)
	m = mapFile(t, f, page)
	must(t, m.Store(0, []byte("s"), nil))
	_, err := f.WriteAt([]byte("w"), 0)
	must(t, err)
	must(t, m.Zero(0, 1))
	must(t, m.StoreUint64(0, 'u'))
	must(t, f.Truncate(0))
	want := map[durability.Op]string{durability.OpWrite: "s", durability.OpStore: "\x00", durability.OpTruncate: "u"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("the first byte at each Before event (-want +got):\n%s", diff)
	}
}

// tracerFunc makes a function a Tracer.
type tracerFunc func(durability.Event)

// Trace implements durability.Tracer.
func (f tracerFunc) Trace(e durability.Event) { f(e) }
