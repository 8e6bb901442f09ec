//go:build linux

package files

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
)

// target is what a call is about by a path.
type target struct {
	abs    string
	rel    string // below the program's directory
	inside bool
}

// errPlain is a path that is left to the kernel: it ends in no name.
var errPlain = errors.New("files: a path without a name")

// target resolves an argument: the links of the directories above the name, not the name's own.
func (w *watch) target(c *intercept.Call, at, arg int) (t target, err error) {
	path, err := c.Path(at, arg)
	if err != nil {
		return t, err
	}
	i := strings.LastIndexByte(path, '/')
	dir, name := path[:i+1], path[i+1:]
	if name == "" || name == "." || name == ".." {
		return t, errPlain
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return t, err
	}
	t.abs = filepath.Join(dir, name)
	t.rel, t.inside = w.below(t.abs)
	return t, nil
}

// changing is what one call changes of names, to be forgotten where that fails.
type changing struct {
	*watch
	from   int // what was noted since
	sight  *sight
	inodes map[uint64]*inode // that lose their number
}

// change begins a change, with the lock held.
func (w *watch) change() *changing {
	return &changing{watch: w, from: w.last, inodes: map[uint64]*inode{}}
}

// goes notes that a name of a file goes: where it is the only one, its number will be another's.
func (g *changing) goes(f *file) (*inode, error) {
	if !f.is(unix.S_IFREG) {
		return nil, nil //nolint:nilnil // it has no content
	}
	n := g.inode(f)
	if len(n.sights) > 0 { // what a mapping has changed may be there, too
		if _, _, err := g.watch.sight(f); err != nil {
			return nil, err
		}
	}
	if f.stat.Nlink == 1 {
		g.inodes[f.stat.Ino] = n
		delete(g.watch.inodes, f.stat.Ino)
	}
	return n, nil
}

// end makes the call in the program's place, where that has root's rights, too, and notes when it
// was done, or forgets the change.
func (g *changing) end(c *intercept.Call, makes func() error) (intercept.Answer, error) {
	g.relax()
	if !c.IsRoot() {
		return intercept.Answer{}, nil // it may fail for want of rights: nobody knows when it is done
	}
	from := g.from
	g.mu.Unlock()
	err := makes()
	g.mu.Lock()
	if err == nil {
		done := g.next()
		for i := range g.names {
			if g.names[i].at > from && g.names[i].thread == c.Thread {
				g.names[i].ended = done
			}
		}
		return intercept.Answer{Skip: true}, nil
	}
	g.names = slices.DeleteFunc(g.names, func(n naming) bool { return n.at > from && n.thread == c.Thread && n.ended == 0 })
	for ino, n := range g.inodes {
		g.watch.inodes[ino] = n
	}
	if g.sight != nil {
		g.counts.Placed--
	}
	for _, n := range g.watch.inodes {
		for i := range n.sights {
			if g.sight != nil && n.sights[i].at == g.sight.at {
				n.sights[i].since = 0
			}
		}
	}
	return intercept.Answer{Skip: true, Errno: errnoOf(err)}, nil
}

// notes notes what becomes of a name.
func (g *changing) notes(c *intercept.Call, n naming) {
	n.at, n.thread = g.next(), c.Thread
	g.names = append(g.names, n)
}

// rename sees a file that is renamed or linked.
func (w *watch) rename(c *intercept.Call) (intercept.Answer, error) {
	from, to, flags := [2]int{-1, 0}, [2]int{-1, 1}, uint(0)
	if c.Nr == unix.SYS_RENAMEAT || c.Nr == unix.SYS_RENAMEAT2 || c.Nr == unix.SYS_LINKAT {
		from, to = [2]int{0, 1}, [2]int{2, 3}
	}
	if c.Nr == unix.SYS_RENAMEAT2 || c.Nr == unix.SYS_LINKAT {
		flags = uint(c.Args[4])
	}
	dst, err := w.target(c, to[0], to[1])
	if err != nil {
		return intercept.Answer{}, err
	}
	var src target
	if c.Op == intercept.Link && flags&(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_FOLLOW) != 0 {
		src, flags, err = w.linkSource(c, flags)
	} else {
		src, err = w.target(c, from[0], from[1])
	}
	if err != nil || !src.inside && !dst.inside {
		return intercept.Answer{}, err
	}
	makes := func() error {
		if c.Op == intercept.Link {
			return unix.Linkat(unix.AT_FDCWD, src.abs, unix.AT_FDCWD, dst.abs, int(flags))
		}
		return unix.Renameat2(unix.AT_FDCWD, src.abs, unix.AT_FDCWD, dst.abs, flags)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.change()
	if err = g.rename(c, src, dst, flags&unix.RENAME_EXCHANGE != 0 && c.Op == intercept.Rename); err != nil {
		return intercept.Answer{}, err
	}
	return g.end(c, makes)
}

// rename notes what a rename, or a link, changes.
func (g *changing) rename(c *intercept.Call, src, dst target, exchange bool) error {
	f := file{path: src.rel, at: src.abs}
	if err := unix.Stat(f.at, &f.stat); err != nil {
		return err
	}
	over := file{path: dst.rel, at: dst.abs}
	var old *inode
	if dst.inside && unix.Lstat(over.at, &over.stat) == nil && over.stat.Ino != f.stat.Ino {
		var err error
		if exchange {
			old = g.inode(&over)
		} else if old, err = g.goes(&over); err != nil {
			return err
		}
	}
	placed := func(path string, f *file, over *inode) error {
		n, s, err := g.watch.sight(f)
		if err != nil {
			return err
		}
		s.since = s.at
		s.synced, s.skipped = n.isSynced(s)
		g.sight = &sight{at: s.at}
		g.notes(c, naming{what: placed, path: path, inode: n, over: over})
		g.counts.Placed++
		return nil
	}
	isFile := f.is(unix.S_IFREG)
	var own *inode
	if isFile {
		own = g.inode(&f)
	}
	switch {
	case dst.inside && isFile:
		if err := placed(dst.rel, &f, old); err != nil {
			return err
		}
	case dst.inside:
		g.notes(c, naming{what: taken, path: dst.rel, over: old})
	}
	switch {
	case !src.inside || c.Op == intercept.Link:
	case exchange && over.is(unix.S_IFREG) && dst.inside:
		return placed(src.rel, &over, own)
	default:
		n := naming{what: taken, path: src.rel, over: own, isDir: f.is(unix.S_IFDIR)}
		if dst.inside {
			n.to = dst.rel
		}
		g.notes(c, n)
	}
	return nil
}

// linkSource returns what a link is made to that is named by a descriptor, or by a link that is
// followed.
func (w *watch) linkSource(c *intercept.Call, flags uint) (t target, made uint, err error) {
	path, err := c.Path(0, 1)
	if err != nil {
		return t, 0, err
	}
	own := "/proc/" + strconv.Itoa(c.Thread)
	switch fd, is := strings.CutPrefix(path, "/proc/self/fd/"); {
	case is:
		t.abs = own + "/fd/" + fd
	case flags&unix.AT_EMPTY_PATH != 0 && strings.HasSuffix(path, "/"):
		t.abs = own + "/fd/" + strconv.Itoa(c.Descriptor(0))
	default:
		if t.abs, err = filepath.EvalSymlinks(path); err == nil {
			t.rel, t.inside = w.below(t.abs)
		}
		return t, 0, err
	}
	t.inside = false // it has no name
	return t, unix.AT_SYMLINK_FOLLOW, nil
}

// unlink sees a name that goes.
func (w *watch) unlink(c *intercept.Call) (intercept.Answer, error) {
	at, arg, flags := -1, 0, 0
	if c.Nr == unix.SYS_UNLINKAT {
		at, arg, flags = 0, 1, int(c.Args[2])
	} else if c.IsRmdir() {
		flags = unix.AT_REMOVEDIR
	}
	t, err := w.target(c, at, arg)
	if err != nil || !t.inside {
		return intercept.Answer{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := w.at(t.rel)
	if err != nil {
		return intercept.Answer{}, err
	}
	g := w.change()
	n, err := g.goes(&f)
	if err != nil {
		return intercept.Answer{}, err
	}
	g.notes(c, naming{what: taken, path: t.rel, over: n, isDir: f.is(unix.S_IFDIR)})
	return g.end(c, func() error { return unix.Unlinkat(unix.AT_FDCWD, t.abs, flags) })
}
