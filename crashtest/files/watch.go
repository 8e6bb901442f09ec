//go:build linux

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// mostBytes bounds what is remembered of the files of one life.
const mostBytes = 256 << 20

// errTooMuch reports a program whose files are too large to be looked at.
var errTooMuch = fmt.Errorf("files: the program has synced or renamed more than %d MiB of changes: let it run shorter, or write less", mostBytes>>20)

// watch sees what a program does with the files in a directory.
type watch struct {
	journal
	dir  string
	note func(campaign.Known)
	weak *kill.Weakener

	// With the journal's lock held.
	inodes   map[uint64]*inode // those that have a name, by number
	freed    map[*inode][]span // what may be anything since the last sight
	underway map[int]underway  // by thread
	bytes    int64
	counts   Counts
	err      error

	// Of a Subject that Snaps.
	snaps bool
	out   string // the program's standard output, as /proc names it
	said  []byte // on it, after the last line
	acks  campaign.Acks
}

// underway is a write that a thread has begun, and of which it is not known whether it has ended.
type underway struct {
	op    intercept.Op
	inode *inode
	span  span
}

// watched are the calls that are looked at.
var watched = []intercept.Op{
	intercept.Sync, intercept.Msync, intercept.SyncAll, intercept.Rename, intercept.Link, intercept.Unlink,
	intercept.Truncate, intercept.Open, intercept.Write, intercept.Copy, intercept.Ring,
}

// start is a kill.Starter.
func (w *watch) start(cmd *exec.Cmd) (end func() error, err error) {
	i, err := intercept.Start(cmd, watched, w.handle)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(i.Close(), w.end()) }, nil
}

// handle answers a call. What the program is told, and what is done, is as without it.
func (w *watch) handle(c *intercept.Call) intercept.Answer {
	w.mu.Lock()
	delete(w.underway, c.Thread) // what it did before has ended
	if w.snaps && c.Op != intercept.Write && c.Op != intercept.Copy {
		w.moment()
	}
	w.mu.Unlock()
	a, err := w.look(c)
	if err != nil && !gone(err) {
		w.failed(err)
	}
	return a
}

// gone reports an error that comes of the program itself: it ends, or another thread closes or
// removes what the call is about, or the call is one that the kernel refuses.
func gone(err error) bool {
	for _, e := range []error{fs.ErrNotExist, unix.ESRCH, unix.EBADF, unix.EFAULT, unix.ENAMETOOLONG, unix.ENOTDIR, unix.ELOOP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// failed notes that the program could not be watched.
func (w *watch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// look sees what a call is about to do.
func (w *watch) look(c *intercept.Call) (intercept.Answer, error) {
	var made intercept.Answer
	switch c.Op {
	case intercept.Ring:
		return intercept.Answer{Skip: true, Errno: unix.ENOSYS}, nil
	case intercept.Sync, intercept.SyncAll:
		return w.sync(c)
	case intercept.Msync:
		return w.msync(c)
	case intercept.Rename, intercept.Link:
		return w.rename(c)
	case intercept.Unlink:
		return w.unlink(c)
	case intercept.Truncate, intercept.Open:
		return made, w.truncate(c)
	case intercept.Write:
		return w.written(c)
	case intercept.Copy:
		return made, w.copied(c)
	}
	return made, nil
}

// below returns a path as one below the program's directory.
func (w *watch) below(path string) (string, bool) {
	rel, err := filepath.Rel(w.dir, path)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// file is a file of the program's.
type file struct {
	path string // below the directory
	at   string // where it can be opened
	stat unix.Stat_t

	nameless bool // the name that it was opened by is gone
}

// opened returns what a descriptor is open on, if that is a regular file or a directory below the
// program's.
func (w *watch) opened(c *intercept.Call, fd int) (f file, ok bool, err error) {
	path, err := c.OpenPath(fd)
	if err != nil {
		return f, false, err
	}
	path, f.nameless = strings.CutSuffix(path, " (deleted)")
	if f.path, ok = w.below(path); !ok {
		return f, false, nil
	}
	f.at = filepath.Join("/proc", strconv.Itoa(c.Thread), "fd", strconv.Itoa(fd))
	err = unix.Stat(f.at, &f.stat)
	return f, err == nil, err
}

// at returns what is at a path below the directory.
func (w *watch) at(path string) (f file, err error) {
	f = file{path: path, at: filepath.Join(w.dir, path)}
	return f, unix.Lstat(f.at, &f.stat)
}

func (f *file) is(mode uint32) bool { return f.stat.Mode&unix.S_IFMT == mode }

// inode returns the file's, with the lock held.
func (w *watch) inode(f *file) *inode {
	n := w.inodes[f.stat.Ino]
	if n == nil {
		n = &inode{}
		w.inodes[f.stat.Ino] = n
	}
	n.mode = fs.FileMode(f.stat.Mode & 0o777)
	return n
}

// sight looks at a file, with the lock held.
func (w *watch) sight(f *file) (*inode, *sight, error) {
	n := w.inode(f)
	var older *content
	if len(n.sights) > 0 {
		older = n.sights[len(n.sights)-1].data
	}
	if f.stat.Size > mostBytes {
		return n, nil, errTooMuch
	}
	data, err := readContent(f.at)
	if err != nil {
		return n, nil, err
	}
	if w.bytes += data.fresh(older); w.bytes > mostBytes {
		return n, nil, errTooMuch
	}
	s := sight{at: w.next(), data: data, size: data.size}
	for thread, u := range w.underway {
		if u.inode == n && intercept.Within(thread, u.op) {
			s.free = append(s.free, u.span)
		}
	}
	w.freed[n] = slices.Clone(s.free)
	n.sights = append(n.sights, s)
	return n, &n.sights[len(n.sights)-1], nil
}

// relax notes a moment: what is known changes, before what changes it is done. One that snaps has
// looked at what there is before.
func (w *watch) relax() {
	if !w.snaps {
		w.moment()
	}
}

// moment notes that what is known changes, or has changed.
func (w *watch) moment() {
	k := &Known{journal: &w.journal, at: w.last, counts: w.counts, Acks: w.acks}
	if w.snaps {
		var err error
		if k.snap, err = w.snap(); err != nil && w.err == nil {
			w.err = err
		}
	}
	w.note(k)
}

// begin looks at what is there when the program begins: it was there after the last crash.
func (w *watch) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	all, err := w.list(".")
	if err != nil {
		return err
	}
	for path, n := range all.names {
		f, err := w.at(path)
		if err != nil {
			return err
		}
		if n == nil || !f.is(unix.S_IFREG) {
			continue
		}
		_, s, err := w.sight(&f)
		if err != nil {
			return err
		}
		s.since, s.synced = s.at, true
		w.names = append(w.names, naming{at: w.next(), what: synced, path: path, inode: n})
	}
	all.at = w.next()
	w.names = append(w.names, all)
	w.moment()
	return nil
}

// end looks at what the program has left.
func (w *watch) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.snaps {
		w.moment()
	}
	all, err := w.list(".")
	if err != nil {
		return err
	}
	for path, n := range all.names {
		if n == nil || len(n.sights) == 0 {
			continue
		}
		f, err := w.at(path)
		if err == nil {
			_, _, err = w.sight(&f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list returns what is below a directory, as of a sync of all, with the lock held. Files get an
// inode.
func (w *watch) list(dir string) (naming, error) {
	n := naming{what: settled, path: everywhere, began: w.last, names: map[string]*inode{}, dirs: map[string]bool{}}
	return n, filepath.WalkDir(filepath.Join(w.dir, dir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
		}
		rel, _ := w.below(path)
		if err != nil || rel == dir {
			return err
		}
		return w.enter(&n, rel, d)
	})
}

// enter adds what is in a directory to what its sync settles.
func (w *watch) enter(n *naming, rel string, d fs.DirEntry) error {
	if d.IsDir() {
		n.dirs[rel] = true
		return nil
	}
	n.names[rel] = nil
	f, err := w.at(rel)
	if errors.Is(err, fs.ErrNotExist) {
		delete(n.names, rel)
		return nil
	}
	if f.is(unix.S_IFREG) {
		n.names[rel] = w.inode(&f)
	}
	return err
}

// entries returns what is in one directory, with the lock held.
func (w *watch) entries(dir string) (naming, error) {
	n := naming{what: settled, path: dir, began: w.last, names: map[string]*inode{}, dirs: map[string]bool{}}
	list, err := os.ReadDir(filepath.Join(w.dir, dir))
	for _, d := range list {
		if err == nil {
			err = w.enter(&n, filepath.Join(dir, d.Name()), d)
		}
	}
	return n, err
}
