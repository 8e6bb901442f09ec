package durability_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// files returns what a directory holds.
func files(t *testing.T, dir string) durabilitytest.Files {
	t.Helper()
	got, err := durabilitytest.ReadFiles(dir)
	must(t, err)
	return got
}

// TestWriteFile creates and replaces, with the permissions that were given.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for i, data := range []string{"first", "", "a longer second"} {
		perm := fs.FileMode(0o600 + i*0o40)
		must(t, durability.WriteFile(path, []byte(data), perm))
		if diff := cmp.Diff(durabilitytest.Files{"f": []byte(data)}, files(t, dir)); diff != "" {
			t.Errorf("the directory (-want +got):\n%s", diff)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != perm {
			t.Errorf("the mode is %v, %v, want %v", fi.Mode(), err, perm)
		}
	}
	must(t, os.Symlink("f", filepath.Join(dir, "link")))
	must(t, durability.WriteFile(filepath.Join(dir, "link"), []byte("own"), 0o644))
	if fi, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("a link under the name is %v, %v, want it replaced", fi.Mode(), err)
	}
	wantErr(t, durability.WriteFile(filepath.Join(dir, "missing", "f"), nil, 0o644), fs.ErrNotExist, "missing")
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	err := durability.WriteFile(filepath.Join(dir, "sub"), nil, 0o644)
	wantErr(t, err, fs.ErrExist, filepath.Join(dir, "sub"))
	if strings.Contains(err.Error(), "/proc") {
		t.Errorf("the error %q tells the way through /proc", err)
	}
}

// TestCreateFile creates, and leaves alone what is there.
func TestCreateFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, durability.CreateFile(path, []byte("first"), 0o640))
	wantErr(t, durability.CreateFile(path, []byte("second"), 0o600), fs.ErrExist, path)
	if diff := cmp.Diff(durabilitytest.Files{"f": []byte("first")}, files(t, dir)); diff != "" {
		t.Errorf("the directory (-want +got):\n%s", diff)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o640 {
		t.Errorf("the mode is %v, %v", fi.Mode(), err)
	}
}

// TestCreateFileWithoutNoReplace goes by a second name where the filesystem has
// no RENAME_NOREPLACE.
func TestCreateFileWithoutNoReplace(t *testing.T) {
	t.Parallel()
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS} {
		r := durabilitytest.NewRecorder()
		d := newDir(t, r)
		durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
			if c.Op == durability.OpRename {
				return errno
			}
			return nil
		})
		must(t, d.CreateFile("f", []byte("first"), 0o644))
		wantErr(t, d.CreateFile("f", []byte("second"), 0o644), fs.ErrExist, "f")
		want := durabilitytest.Files{"f": []byte("first")}
		if diff := cmp.Diff(want, files(t, d.Path())); diff != "" {
			t.Errorf("the directory (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, r.Final(d.Path())); diff != "" {
			t.Errorf("the trace ends otherwise (-want +got):\n%s", diff)
		}
	}
}

// replacements are the two ways to make a file at once, in a directory that has
// an old one.
var replacements = []struct {
	name string
	old  durabilitytest.Files
	do   func(d *durability.Dir) error
}{
	{"WriteFile", durabilitytest.Files{"f": []byte("old")}, func(d *durability.Dir) error {
		return d.WriteFile("f", []byte("the new content"), 0o644)
	}},
	{"CreateFile", durabilitytest.Files{}, func(d *durability.Dir) error {
		return d.CreateFile("f", []byte("the new content"), 0o644)
	}},
}

// TestReplaceFails fails each step in turn: the old state stays, without a
// leftover, until the name is there; after that the new one stays.
func TestReplaceFails(t *testing.T) {
	t.Parallel()
	for _, c := range replacements {
		for _, phase := range []durability.Phase{durability.Before, durability.After} {
			for _, op := range []durability.Op{
				durability.OpCreate, durability.OpWrite, durability.OpSync, durability.OpRename, durability.OpSyncDir,
			} {
				if op == durability.OpCreate && phase == durability.After && c.name == "CreateFile" {
					continue // a file that is there, and an error: no kernel does that
				}
				t.Run(c.name+" "+op.String()+" "+phase.String(), func(t *testing.T) {
					r := durabilitytest.NewRecorder()
					d := newDir(t, r)
					must(t, c.old.WriteTo(d.Path()))
					must(t, r.Base(d.Path()))
					durabilitytest.Inject(t, d.Path(), func(call *durabilitytest.Call) error {
						if call.Op == op && call.Phase == phase {
							return unix.EIO
						}
						return nil
					})
					wantErr(t, c.do(d), unix.EIO)
					got := files(t, d.Path())
					want := c.old
					if op == durability.OpSyncDir || (op == durability.OpRename && phase == durability.After && c.name == "WriteFile") {
						want = durabilitytest.Files{"f": []byte("the new content")}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("the directory (-want +got):\n%s", diff)
					}
					if diff := cmp.Diff(got, r.Final(d.Path())); diff != "" {
						t.Errorf("the trace ends otherwise (-real +trace):\n%s", diff)
					}
					for _, e := range r.Events() {
						if e.Op == durability.OpRemove && len(want["f"]) > len("old") {
							t.Errorf("the trace removes %s, which is under its new name", e.Name)
						}
					}
					if open := descriptors(t, d.Path()); len(open) != 1 {
						t.Errorf("open are %q, want the directory only", open)
					}
				})
			}
		}
	}
}

// TestReplaceCrashes cuts the power at every event of a replacement: the file is
// old or new, and new once the call has returned.
func TestReplaceCrashes(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	for _, c := range replacements {
		t.Run(c.name, func(t *testing.T) {
			r := durabilitytest.NewRecorder()
			d := newDir(t, r)
			must(t, c.old.WriteTo(d.Path()))
			must(t, r.Base(d.Path()))
			must(t, c.do(d))
			if diff := cmp.Diff(files(t, d.Path()), r.Final(d.Path())); diff != "" {
				t.Errorf("the trace ends otherwise (-real +trace):\n%s", diff)
			}
			seen := map[string]bool{}
			for at := range r.Len() + 1 {
				for range 40 {
					got, ok := r.Crash(d.Path(), at, rng)["f"]
					state := string(got)
					if !ok {
						state = "none"
					}
					seen[state] = true
					if at == r.Len() && state != "the new content" {
						t.Errorf("after the call has returned, the file is %q", state)
					}
				}
			}
			old := "none"
			if p, ok := c.old["f"]; ok {
				old = string(p)
			}
			want := []string{old, "the new content"}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(seen))); diff != "" {
				t.Errorf("the file's states after crashes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWriteFileIgnoresTMPDIR keeps the temporary file in the directory: from
// another one, a rename is not what the directory's sync makes durable.
func TestWriteFileIgnoresTMPDIR(t *testing.T) {
	other := t.TempDir()
	t.Setenv("TMPDIR", other)
	d := newDir(t, nil)
	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durability.OpSync && c.Phase == durability.Before {
			if got := files(t, other); len(got) > 0 {
				t.Errorf("the temporary file is elsewhere: %q", got.Names())
			}
			if got := files(t, d.Path()); len(got) != 1 {
				t.Errorf("the directory has %q, want one temporary file", got.Names())
			}
			return errors.New("seen")
		}
		return nil
	})
	if err := d.WriteFile("f", []byte("x"), 0o644); err == nil {
		t.Error("the sync was not asked for")
	}
}
