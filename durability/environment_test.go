package durability_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// mountTmpfs mounts a tmpfs of the given size until the test ends.
func mountTmpfs(t *testing.T, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, unix.EPERM) {
		cannot(t, "needs root to mount a tmpfs")
	}
	must(t, err)
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// TestFullDisk fills a small filesystem: an allocation says so before anything
// is stored, and a store into a hole says so instead of dying.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	d := openDir(t, mountTmpfs(t, size), nil)
	sparse := newFile(t, d, "sparse", 0)
	must(t, sparse.Truncate(2*size))
	m := mapFile(t, sparse, 2*size)
	filler := newFile(t, d, "filler", size/2)

	for range 2 {
		f, err := d.Create("big", 0o644)
		must(t, err)
		err = f.Allocate(size, durability.AllocateOptions{})
		wantErr(t, err, durability.ErrNoSpace, f.Path())
		wantErr(t, err, unix.ENOSPC)
		must(t, errors.Join(f.Close(), d.Remove("big")))
	}

	var fault *durability.FaultError
	err := m.Zero(0, 2*size)
	if !errors.As(err, &fault) || fault.Op != "store" || fault.Offset < size/4 || fault.Offset > size {
		t.Errorf("filling the filesystem through holes: %v, want a FaultError near %d", err, size/2)
	}
	_, err = sparse.FillHoles(durability.AllocateOptions{})
	wantErr(t, err, durability.ErrNoSpace)
	for name, err := range map[string]error{
		"Store":         m.Store(2*size-page, []byte("x"), nil),
		"PopulateWrite": m.PopulateWrite(size, page),
		"WriteFile":     d.WriteFile("new", make([]byte, size), 0o644),
	} {
		if !errors.As(err, &fault) && !errors.Is(err, durability.ErrNoSpace) {
			t.Errorf("%s on a full filesystem returns %v", name, err)
		}
	}
	names, err := d.Names()
	must(t, err)
	if len(names) != 2 {
		t.Errorf("failures left %q behind", names)
	}

	must(t, filler.Truncate(0))
	must(t, m.Store(2*size-page, []byte("x"), nil))
	must(t, newFile(t, d, "more", 0).Allocate(size/4, durability.AllocateOptions{}))
}

// TestTmpfs says that nothing on it is durable, and that reads are buffered.
func TestTmpfs(t *testing.T) {
	t.Parallel()
	d := openDir(t, mountTmpfs(t, 1<<20), nil)
	f := newFile(t, d, "f", 2*page)
	for name, ask := range map[string]func() (durability.Filesystem, error){"Dir": d.Filesystem, "File": f.Filesystem} {
		fsys, err := ask()
		must(t, err)
		if fsys.Name != "tmpfs" || fsys.Durable || fsys.Why == "" || fsys.Magic != unix.TMPFS_MAGIC {
			t.Errorf("%s.Filesystem() = %+v", name, fsys)
		}
	}
	p := make([]byte, 10)
	n, how, err := f.ReadDirect(p, 2*page-5)
	if n != 5 || how != durability.ModeBuffered || !errors.Is(err, io.EOF) {
		t.Errorf("ReadDirect = %d, %v, %v, want 5, buffered, EOF", n, how, err)
	}
	if f.DirectReason() == "" {
		t.Error("no reason for a buffered read")
	}
}

// TestMount finds a mount by the directory, also where its name is escaped in the list.
func TestMount(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b\\c")
	must(t, os.Mkdir(dir, 0o755))
	err := unix.Mount("any word", dir, "tmpfs", unix.MS_NOATIME, "size=1m")
	if errors.Is(err, unix.EPERM) {
		cannot(t, "needs root to mount a tmpfs")
	}
	must(t, err)
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	m, err := openDir(t, dir, nil).Mount()
	must(t, err)
	if m.Point != dir || m.Kind != "tmpfs" || m.Source != "any word" || m.Root != "/" || !strings.Contains(m.Options, "noatime") {
		t.Errorf("%+v, want the tmpfs on %q", m, dir)
	}
	if size := m.SuperOptions()["size"]; size != "1024k" {
		t.Errorf("its size is told as %q", size)
	}
}

// TestFilesystem names a disk's filesystem as /proc/self/mountinfo does.
func TestFilesystem(t *testing.T) {
	t.Parallel()
	d := openDir(t, "/proc/self", nil)
	fsys, err := d.Filesystem()
	must(t, err)
	if fsys.Name != "0x9fa0" || fsys.Magic != unix.PROC_SUPER_MAGIC || fsys.Why == "" {
		t.Errorf("/proc is %+v, want an unknown kind by its number", fsys)
	}
}

// TestOverlay asks what syncs come to on overlays: what they come to on the upper
// layer, and nothing where they are mounted volatile.
func TestOverlay(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	memory := mountTmpfs(t, 1<<20)
	plain, err := openDir(t, root, nil).Filesystem()
	must(t, err)
	for _, c := range []struct {
		name, upper, options string
		durable              bool
		says                 string
	}{
		{"plain", root, "", plain.Durable, "its upper layer is on " + plain.Name},
		{"a comma, and a space", root, "", plain.Durable, "its upper layer is on " + plain.Name},
		{"memory", memory, "", false, "its upper layer is on tmpfs: it lives in memory"},
		{"volatile", root, ",volatile", false, "volatile"},
	} {
		dirs := make(map[string]string)
		for _, kind := range []string{"lower", "upper", "work", "merged"} {
			at := root
			if kind == "upper" || kind == "work" {
				at = c.upper
			}
			dirs[kind] = filepath.Join(at, c.name+"."+kind)
			must(t, os.Mkdir(dirs[kind], 0o755))
			dirs[kind+"dir"] = strings.ReplaceAll(dirs[kind], ",", "\\,")
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s%s", dirs["lowerdir"], dirs["upperdir"], dirs["workdir"], c.options)
		check := func(where string) {
			fsys, err := openDir(t, dirs["merged"], nil).Filesystem()
			if err != nil || fsys.Name != "overlay" || fsys.Durable != c.durable || !strings.Contains(fsys.Why, c.says) {
				t.Errorf("%s%s: %+v, want durable %v, %q: %v", c.name, where, fsys, c.durable, c.says, err)
			}
		}
		if c.options == "" { // what was mounted volatile is not mounted again
			must(t, elsewhere(func() error {
				err := unix.Mount("overlay", dirs["merged"], "overlay", 0, options)
				if err == nil {
					check(" in a mount namespace of the thread's own")
					err = unix.Unmount(dirs["merged"], unix.MNT_DETACH) // a directory is open
				}
				return err
			}))
		}
		must(t, unix.Mount("overlay", dirs["merged"], "overlay", 0, options))
		// A child that is being forked for another test holds descriptors for a moment.
		t.Cleanup(func() { must(t, unix.Unmount(dirs["merged"], unix.MNT_DETACH)) })
		check("")
	}
}

// elsewhere calls fn on a thread with a mount namespace of its own. The thread ends
// with the call, unless it is the process's first one.
func elsewhere(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the test has ended")
		defer func() { done <- err }()
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err == nil {
			err = fn()
		}
	}()
	return <-done
}

// TestUnprivileged runs everything that needs no privilege as the user nobody.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		cannot(t, "needs root to become nobody; the other tests run without root here")
	}
	dir, err := os.MkdirTemp("", "unprivileged")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.WriteFile(filepath.Join(dir, "root"), make([]byte, page), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "secret"), 0o711))
	must(t, os.Chmod(filepath.Join(dir, "secret"), 0o711))
	must(t, os.Mkdir(filepath.Join(dir, "secret", "theirs"), 0o777))
	must(t, os.Chown(filepath.Join(dir, "secret", "theirs"), 65534, 65534))
	must(t, os.Chmod(dir, 0o777))
	c := startChild(t, "unprivileged", dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if got := c.line(t); got != "done" {
		t.Errorf("the child says %q", got)
	}
}

// useUnprivileged is the child of TestUnprivileged.
func useUnprivileged(dir string) error {
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		return err
	}
	f, err := d.Create("mine", 0o644)
	if err != nil {
		return err
	}
	if err = errors.Join(f.Allocate(16*page, durability.AllocateOptions{}), f.NoCOW(), f.Lock()); err != nil {
		return err
	}
	m, err := f.Map(16*page, true)
	if err != nil {
		return err
	}
	e, err := f.Expect()
	if err != nil {
		return err
	}
	_, how, err := f.ReadDirect(make([]byte, 10), 5)
	if err == nil && how == durability.ModeBuffered && f.DirectReason() == "" {
		err = errors.New("buffered without a reason")
	}
	pc, perr := f.PageCache(0, 0)
	if perr == nil && pc.Known == durability.Unknown {
		perr = fmt.Errorf("of its own file the page cache is %+v", pc)
	}
	err = errors.Join(err, perr,
		m.PopulateRead(0, 16*page), m.PopulateWrite(0, 16*page), m.Store(5, []byte("x"), nil),
		m.Sync(0, 16*page), f.Check(e), d.Sync(),
		d.WriteFile("replaced", []byte("x"), 0o644), d.CreateFile("created", []byte("x"), 0o644),
		durability.MkdirAll(filepath.Join(dir, "a", "b"), 0o755, nil),
		durability.MkdirAll(filepath.Join(dir, "secret", "theirs"), 0o755, nil),
		m.Unmap(), f.Close())
	if err != nil {
		return err
	}
	return lookUnprivileged(d)
}

// lookUnprivileged looks at a file of another user.
func lookUnprivileged(d *durability.Dir) error {
	f, err := d.Open("root", false)
	if err != nil {
		return err
	}
	pc, err := f.PageCache(0, 0)
	if err == nil && (pc.Known == durability.Known || pc.Reason == "") {
		err = fmt.Errorf("of a file of root the page cache is %+v, want it unknown, with a reason", pc)
	}
	locked, lerr := f.Locked()
	if lerr == nil && locked {
		lerr = errors.New("locked by nobody")
	}
	_, _, rerr := f.ReadDirect(make([]byte, 10), 5)
	_, werr := d.Open("root", true)
	if !errors.Is(werr, os.ErrPermission) {
		return fmt.Errorf("opened a file of root for writing: %w", werr)
	}
	if err = errors.Join(err, lerr, rerr, f.Close()); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}
