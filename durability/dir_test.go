package durability_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestOpenRefuses opens what is no regular file. A fifo without a writer would
// block open(2) for ever.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	at := func(name string) string { return filepath.Join(d.Path(), name) }
	must(t, os.Mkdir(at("directory"), 0o755))
	must(t, unix.Mkfifo(at("fifo"), 0o644))
	must(t, os.WriteFile(at("file"), nil, 0o644))
	must(t, os.Symlink("file", at("link")))
	must(t, os.Symlink("missing", at("dangling")))
	short, err := os.MkdirTemp("", "s") // a socket's path has 108 bytes at most
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(short)) })
	l, err := net.Listen("unix", filepath.Join(short, "socket"))
	must(t, err)
	defer func() { must(t, l.Close()) }()
	s := openDir(t, short, nil)
	for _, c := range []struct {
		d    *durability.Dir
		name string
	}{{d, "directory"}, {d, "fifo"}, {d, "link"}, {d, "dangling"}, {s, "socket"}} {
		for _, writable := range []bool{false, true} {
			_, err = c.d.Open(c.name, writable)
			wantErr(t, err, durability.ErrNotRegular, filepath.Join(c.d.Path(), c.name))
		}
		_, err = c.d.Create(c.name, 0o644)
		wantErr(t, err, fs.ErrExist, filepath.Join(c.d.Path(), c.name))
	}
	_, err = d.Open("missing", true)
	wantErr(t, err, fs.ErrNotExist, at("missing"))
	if _, err = os.Lstat(at("missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create followed a dangling link: %v", err)
	}
	f, err := d.Create("new", 0o640)
	must(t, err)
	must(t, f.Close())
	fi, err := os.Stat(at("new"))
	must(t, err)
	if fi.Mode() != 0o640 || fi.Size() != 0 {
		t.Errorf("the new file is %v of %d bytes", fi.Mode(), fi.Size())
	}
	_, err = d.Create("new", 0o644)
	wantErr(t, err, fs.ErrExist)
	if f, err = d.Open("new", false); err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a file that is open for reading was written")
	}
	must(t, f.Close())
}

// TestNamesStayInside refuses names that lead elsewhere.
func TestNamesStayInside(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	for _, name := range []string{"", ".", "..", "a/b", "/etc/passwd", "../x", "nul\x00"} {
		_, openErr := d.Open(name, false)
		_, createErr := d.Create(name, 0o644)
		for i, err := range []error{
			openErr, createErr, d.Remove(name), d.Rename(name, "ok", nil), d.Rename("ok", name, nil),
			d.WriteFile(name, nil, 0o644), d.CreateFile(name, nil, 0o644),
		} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("call %d with %q: %v, want %v", i, name, err, fs.ErrInvalid)
			}
		}
	}
}

// TestRename checks that a file follows its name.
func TestRename(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	a := newFile(t, d, "a", page)
	b := newFile(t, d, "b", page)
	e, err := a.Expect()
	must(t, err)
	must(t, d.Rename("a", "b", a))
	if a.Name() != "b" || a.Path() != filepath.Join(d.Path(), "b") {
		t.Errorf("after the rename the file is %s", a.Path())
	}
	must(t, a.Check(e))
	if err = d.Rename("c", "d", a); err == nil || !strings.Contains(err.Error(), a.Path()) {
		t.Errorf("a rename of c with the file %s given returns %v", a.Path(), err)
	}
	if st, serr := b.Stat(); serr != nil || st.Links != 0 {
		t.Errorf("what was replaced has %d links, %v", st.Links, serr)
	}
	must(t, d.Rename("b", "c", nil))
	if a.Name() != "b" {
		t.Errorf("a file that was not given learnt its name: %s", a.Name())
	}
	names, err := d.Names()
	must(t, err)
	if diff := cmp.Diff([]string{"c"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	wantErr(t, d.Rename("missing", "x", nil), fs.ErrNotExist, "missing", "to x")
}

// TestNames reads afresh, sorted, and from several goroutines.
func TestNames(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	want := []string{}
	for _, name := range []string{"a", "b", "c"} {
		want = append(want, name)
		newFile(t, d, name, 0)
		got, err := d.Names()
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	}
	must(t, d.Remove("b"))
	if got, err := d.Names(); err != nil || !cmp.Equal(got, []string{"a", "c"}) {
		t.Errorf("names are %q, %v", got, err)
	}
	wantErr(t, d.Remove("b"), fs.ErrNotExist, filepath.Join(d.Path(), "b"))
}

// TestOpenDir checks what cannot be opened, and that a closed directory does
// nothing more.
func TestOpenDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	_, err := durability.OpenDir(file, nil)
	wantErr(t, err, unix.ENOTDIR, file)
	_, err = durability.OpenDir(filepath.Join(dir, "missing"), nil)
	wantErr(t, err, fs.ErrNotExist, "missing")

	d := openDir(t, dir, nil)
	must(t, d.Close())
	_, openErr := d.Open("file", false)
	_, createErr := d.Create("new", 0o644)
	_, namesErr := d.Names()
	_, fsErr := d.Filesystem()
	for i, err := range []error{
		openErr, createErr, namesErr, fsErr, d.Sync(), d.Rename("file", "x", nil), d.Remove("file"),
		d.WriteFile("x", nil, 0o644), d.CreateFile("x", nil, 0o644), d.Close(),
	} {
		wantErr(t, err, durability.ErrClosed)
		if err == nil {
			t.Errorf("call %d", i)
		}
	}
}

// TestDirFollowsMove works on the directory that was opened, wherever it is.
func TestDirFollowsMove(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	old, moved := filepath.Join(parent, "old"), filepath.Join(parent, "moved")
	must(t, os.Mkdir(old, 0o755))
	d := openDir(t, old, nil)
	must(t, os.Rename(old, moved))
	must(t, os.Mkdir(old, 0o755))
	must(t, d.WriteFile("a", []byte("a"), 0o644))
	must(t, d.CreateFile("b", []byte("b"), 0o644))
	newFile(t, d, "c", 0)
	got, err := durabilitytest.ReadFiles(moved)
	must(t, err)
	want := durabilitytest.Files{"a": []byte("a"), "b": []byte("b"), "c": {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the moved directory (-want +got):\n%s", diff)
	}
}

// TestMkdirAll makes a path, and syncs the parent of each directory right after
// it, so that a crash never leaves a child without its parent.
func TestMkdirAll(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	r := durabilitytest.NewRecorder()
	path := filepath.Join(root, "a", "b", "c")
	must(t, durability.MkdirAll(path, 0o750, r))
	type step struct {
		op        durability.Op
		dir, name string
	}
	var got []step
	for _, e := range r.Events() {
		if e.Phase == durability.After && e.Err == nil {
			got = append(got, step{e.Op, e.Dir, e.Name})
		}
	}
	want := []step{
		{durability.OpSyncDir, filepath.Dir(root), ""},
		{durability.OpMkdir, root, "a"},
		{durability.OpSyncDir, root, ""},
		{durability.OpMkdir, root + "/a", "b"},
		{durability.OpSyncDir, root + "/a", ""},
		{durability.OpMkdir, root + "/a/b", "c"},
		{durability.OpSyncDir, root + "/a/b", ""},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	fi, err := os.Stat(path)
	must(t, err)
	if fi.Mode() != fs.ModeDir|0o750 {
		t.Errorf("the directory's mode is %v", fi.Mode())
	}
	must(t, durability.MkdirAll(path, 0o700, nil))
	if fi, err = os.Stat(path); err != nil || fi.Mode() != fs.ModeDir|0o750 {
		t.Errorf("a directory that was there has mode %v, %v", fi.Mode(), err)
	}
	must(t, os.WriteFile(path+"/file", nil, 0o644))
	wantErr(t, durability.MkdirAll(path+"/file", 0o755, nil), unix.ENOTDIR, path+"/file")
	wantErr(t, durability.MkdirAll(path+"/file/x", 0o755, nil), unix.ENOTDIR, path+"/file")
	must(t, os.Symlink("missing", path+"/dangling"))
	wantErr(t, durability.MkdirAll(path+"/dangling", 0o755, nil), unix.ENOTDIR, path+"/dangling")
}

// TestMkdirAllFails fails each step, also the sync of a directory that is there
// already: the process that made it may have died before that.
func TestMkdirAllFails(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	there := filepath.Join(root, "there")
	must(t, os.Mkdir(there, 0o755))
	cases := []struct {
		op   durability.Op
		path string
	}{
		{durability.OpSyncDir, there},
		{durabilitytest.OpOpen, there},
		{durability.OpSyncDir, filepath.Join(root, "there", "new")},
		{durability.OpMkdir, filepath.Join(root, "there", "new2")},
		{durabilitytest.OpOpen, filepath.Join(root, "there", "new3")},
	}
	for _, c := range cases {
		remove := durabilitytest.InjectDir(filepath.Dir(c.path), func(call *durabilitytest.Call) error {
			if call.Op == c.op {
				return unix.EIO
			}
			return nil
		})
		wantErr(t, durability.MkdirAll(c.path, 0o755, nil), unix.EIO)
		remove()
	}
}

// TestMkdirAllPseudo takes no offence at a directory above that cannot be synced.
func TestMkdirAllPseudo(t *testing.T) {
	t.Parallel()
	must(t, durability.MkdirAll("/proc/self", 0o755, nil))
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	must(t, os.Mkdir(there, 0o755))
	for _, errno := range []unix.Errno{unix.EROFS, unix.EINVAL} {
		remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
			if c.Op == durability.OpSyncDir {
				return errno
			}
			return nil
		})
		must(t, durability.MkdirAll(there, 0o755, nil))
		remove()
	}
}

// TestWritable asks as a user who may write to a directory, and as one who may
// not.
func TestWritable(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	must(t, d.Writable())
	must(t, os.Chmod(d.Path(), 0o555)) //nolint:gosec // a test's directory
	denied := make(chan error)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, and its user too.
		runtime.LockOSThread()
		if os.Getuid() == 0 {
			_ = unix.Setfsuid(65534) // seen by the answer
		}
		denied <- d.Writable()
	}()
	wantErr(t, <-denied, fs.ErrPermission, d.Path())
	must(t, os.Chmod(d.Path(), 0o755)) //nolint:gosec // a test's directory
	must(t, d.Close())
	wantErr(t, d.Writable(), durability.ErrClosed)
}

// TestFailuresLeakNothing counts the descriptors after what failed too late.
func TestFailuresLeakNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := openDir(t, dir, nil)
	must(t, d.CreateFile("there", []byte("x"), 0o644))
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.After && c.Err == nil && (c.Op == durabilitytest.OpOpen || c.Op == durability.OpCreate) {
			return unix.EIO
		}
		return nil
	})
	_, dirErr := durability.OpenDir(dir, nil)
	_, openErr := d.Open("there", true)
	_, createErr := d.Create("new", 0o644)
	for _, err := range []error{dirErr, openErr, createErr, d.WriteFile("w", nil, 0o644)} {
		wantErr(t, err, unix.EIO)
	}
	_, err := durability.OpenDir(filepath.Join(dir, "there"), nil)
	wantErr(t, err, unix.ENOTDIR)
	must(t, os.Symlink("there", filepath.Join(dir, "link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	_, err = d.Open("fifo", true)
	wantErr(t, err, durability.ErrNotRegular)
	if got := descriptors(t, dir); !cmp.Equal(got, []string{dir}) {
		t.Errorf("open are %q, want the directory only", got)
	}
}

// descriptors returns what this process has open in a directory.
func descriptors(t *testing.T, dir string) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	var open []string
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
			open = append(open, to)
		}
	}
	return open
}

// TestMkdirAllRelative works from where the process is, also for "." itself.
func TestMkdirAllRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, durability.MkdirAll(".", 0o755, nil))
	must(t, durability.MkdirAll("x/y", 0o755, nil))
	must(t, durability.MkdirAll("x/../x/./y", 0o755, nil))
	must(t, durability.WriteFile("file", []byte("here"), 0o644))
	must(t, durability.CreateFile("x/y/file", []byte("there"), 0o644))
	got, err := durabilitytest.ReadFiles(".")
	must(t, err)
	want := durabilitytest.Files{"file": []byte("here"), "x/": nil, "x/y/": nil, "x/y/file": []byte("there")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
