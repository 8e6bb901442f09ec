package durability_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestCheck changes the file behind the writer's back, in every way that a sync
// does not see.
func TestCheck(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	cases := []struct {
		name   string
		change func(path string, f *durability.File) error
		what   string // of the ChangedError; "" for no change
	}{
		{"nothing", func(string, *durability.File) error { return nil }, ""},
		{"stored and synced", func(_ string, f *durability.File) error {
			if _, err := f.WriteAt([]byte("data"), 12345); err != nil {
				return err
			}
			return f.Sync()
		}, ""},
		{"second name", func(path string, _ *durability.File) error { return os.Link(path, path+"2") }, ""},
		{"truncated", func(path string, _ *durability.File) error { return os.Truncate(path, 5000) }, "5000 bytes instead of 1048576"},
		{"truncated to nothing", func(path string, _ *durability.File) error { return os.Truncate(path, 0) }, "0 bytes instead"},
		{"grown", func(path string, _ *durability.File) error { return os.Truncate(path, size+1) }, "1048577 bytes instead"},
		{"truncated and extended again", func(path string, _ *durability.File) error {
			return errors.Join(os.Truncate(path, 5000), os.Truncate(path, size))
		}, "blocks"},
		{"hole punched", func(_ string, f *durability.File) error {
			return unix.Fallocate(f.Fd(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 64<<10, 64<<10)
		}, "blocks"},
		{"deleted", func(path string, _ *durability.File) error { return os.Remove(path) }, "removed"},
		{"moved away", func(path string, _ *durability.File) error { return os.Rename(path, path+"2") }, "name is gone"},
		{"deleted, with another name left", func(path string, _ *durability.File) error {
			return errors.Join(os.Link(path, path+"2"), os.Remove(path))
		}, "name is gone"},
		{"replaced by rename", func(path string, _ *durability.File) error {
			return errors.Join(os.WriteFile(path+"2", make([]byte, size), 0o644), os.Rename(path+"2", path))
		}, "removed"},
		{"replaced, with another name left", func(path string, _ *durability.File) error {
			return errors.Join(os.Link(path, path+"3"), os.WriteFile(path+"2", make([]byte, size), 0o644), os.Rename(path+"2", path))
		}, "leads to another file"},
		{"replaced by another of its name", func(path string, _ *durability.File) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, make([]byte, size), 0o644))
		}, "removed"},
		{"replaced by a link to it", func(path string, _ *durability.File) error {
			return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path))
		}, "leads to another file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDir(t, nil)
			f := newFile(t, d, "f", size)
			must(t, f.Sync())
			e, err := f.Expect()
			must(t, err)
			must(t, f.Check(e))
			must(t, c.change(f.Path(), f))
			must(t, f.Sync())
			wantChanged(t, f, f.Check(e), c.what)
		})
	}
}

// wantChanged fails unless the error is a ChangedError that says what, or there
// is none where what is empty.
func wantChanged(t *testing.T, f *durability.File, err error, what string) {
	t.Helper()
	if what == "" {
		must(t, err)
		return
	}
	var changed *durability.ChangedError
	if !errors.As(err, &changed) || !strings.Contains(changed.What, what) || changed.File != f.Path() {
		t.Errorf("Check returns %v, want a ChangedError of %s with %q", err, f.Path(), what)
	}
}

// TestDirCheck moves, removes and replaces the directory, and changes the working
// directory under a relative path of it.
func TestDirCheck(t *testing.T) {
	cases := []struct {
		name   string
		change func(path string) error
		what   string // of the ChangedError; "" for no change
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"another working directory", func(string) error { return os.Chdir("/") }, ""},
		{"renamed and back", func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Rename(path+"2", path)) }, ""},
		{"moved away", func(path string) error { return os.Rename(path, path+"2") }, "name is gone"},
		{"removed", os.Remove, "name is gone"},
		{"its parent moved", func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+"2") }, "name is gone"},
		{"replaced", func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Mkdir(path, 0o755)) }, "another directory"},
		{"replaced by a file", func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o644)) }, "another directory"},
		{"its parent a file", func(path string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(path)), os.WriteFile(filepath.Dir(path), nil, 0o644))
		}, "name is gone"},
		{"replaced by a link to it", func(path string) error {
			return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path))
		}, ""},
	}
	for _, relative := range []bool{false, true} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s/relative %v", c.name, relative), func(t *testing.T) {
				root := t.TempDir()
				t.Chdir(root)
				path := filepath.Join(root, "parent", "dir")
				must(t, os.MkdirAll(path, 0o755))
				given := path
				if relative {
					given = "parent/dir"
				}
				d, err := durability.OpenDir(given, nil)
				must(t, err)
				defer d.Close()
				must(t, d.Check())
				must(t, c.change(path))
				err = d.Check()
				var changed *durability.ChangedError
				switch {
				case c.what == "":
					must(t, err)
				case !errors.As(err, &changed) || !strings.Contains(changed.What, c.what) || changed.File != given:
					t.Errorf("Check returns %v, want a ChangedError of %s with %q", err, given, c.what)
				}
			})
		}
	}
}

// TestCheckSparse expects no blocks of a file that never had them.
func TestCheckSparse(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 0)
	must(t, f.Truncate(1<<20))
	e, err := f.Expect()
	must(t, err)
	must(t, f.Check(e))
}

// TestCheckOther refuses an expectation about another file.
func TestCheckOther(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f, other := newFile(t, d, "f", page), newFile(t, d, "other", page)
	e, err := other.Expect()
	must(t, err)
	wantChanged(t, f, f.Check(e), "another file")
	must(t, f.Close())
	wantErr(t, f.Check(e), durability.ErrClosed)
	_, err = f.Expect()
	wantErr(t, err, durability.ErrClosed)
	must(t, d.Close())
	wantErr(t, other.Check(e), durability.ErrClosed)
}

// TestCheckBesideRename checks a file while it is renamed to and fro.
func TestCheckBesideRename(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "a", page)
	e, err := f.Expect()
	must(t, err)
	// Each Check is held between its two calls until a rename is in progress.
	between := make(chan struct{})
	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpStatx && c.Phase == durability.After {
			select {
			case between <- struct{}{}:
			default:
			}
		}
		return nil
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		names := [2]string{"a", "b"}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-between:
			}
			if err := d.Rename(names[i%2], names[1-i%2], f); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5000 {
		if err := f.Check(e); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// TestCheckErrors checks that what cannot be asked is no change, and that a file that is whole is
// asked about once.
func TestCheckErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, to string // the file is moved there
		fails    int    // call
	}{{"whole", "f", 1}, {"moved", "g", 1}, {"moved, the second time", "g", 2}} {
		d := newDir(t, nil)
		f := newFile(t, d, "f", page)
		e, err := f.Expect()
		must(t, err)
		must(t, os.Rename(filepath.Join(d.Path(), "f"), filepath.Join(d.Path(), tt.to)))
		calls := 0
		durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
			if c.Phase == durability.Before {
				calls++
			}
			if c.Op == durabilitytest.OpStatx && calls == tt.fails {
				return unix.EIO
			}
			return nil
		})
		wantErr(t, f.Check(e), unix.EIO, f.Path())
		must(t, os.Rename(filepath.Join(d.Path(), tt.to), filepath.Join(d.Path(), "f")))
		calls = 10
		must(t, f.Check(e))
		if calls != 11 {
			t.Errorf("%s: Check asks the kernel %d times, want once", tt.name, calls-10)
		}
	}
}

// TestCheckAsksForNoTimes looks on with strace: a Check is one statx call whose
// mask leaves mtime and ctime out, and nothing else asks for them either.
func TestCheckAsksForNoTimes(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	c := startChild(t, "checks", dir, nil, strace, "-f", "-o", trace, "-e", "trace=stat,fstat,newfstatat,statx,write")
	_, err = io.ReadAll(c.out)
	must(t, err)
	if err = c.Wait(); err != nil {
		t.Skip("strace cannot trace here: ", err)
	}
	data, err := os.ReadFile(trace)
	must(t, err)
	_, after, _ := strings.Cut(string(data), `"checks begin\n"`)
	checks, _, ok := strings.Cut(after, `"checks end\n"`)
	if !ok {
		t.Fatalf("the trace has no checks:\n%s", data)
	}
	stats := regexp.MustCompile(`(?m)^.*\b(stat|fstat|newfstatat|statx)\(.*$`).FindAllString(checks, -1)
	if len(stats) != 10 {
		t.Errorf("%d calls for 10 checks, want 10:\n%s", len(stats), strings.Join(stats, "\n"))
	}
	for _, s := range stats {
		request, _, _ := strings.Cut(s, "{") // behind it, the answer
		if !strings.Contains(s, "statx(") || strings.Contains(request, "TIME") || strings.Contains(request, "STATS") {
			t.Errorf("%s", s)
		}
	}
}

// checkForever is the child of TestCheckAsksForNoTimes.
func checkForever(dir string) error {
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		return err
	}
	f, err := d.Create("f", 0o644)
	if err != nil {
		return err
	}
	err = f.Allocate(1<<16, durability.AllocateOptions{})
	if err != nil {
		return err
	}
	e, err := f.Expect()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "checks begin")
	for range 10 {
		err = errors.Join(err, f.Check(e))
	}
	fmt.Fprintln(os.Stderr, "checks end")
	return err
}
