//go:build linux

package files

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
)

// sync looks at what a sync is about, makes it, and notes that it is done.
func (w *watch) sync(c *intercept.Call, makes func() unix.Errno) (intercept.Answer, error) {
	var made intercept.Answer
	if c.Op == intercept.SyncAll {
		return w.syncAll(makes)
	}
	f, ok, err := w.opened(c, c.Descriptor(0))
	if err != nil || !ok {
		return made, err
	}
	w.mu.Lock()
	var dir naming
	var n *inode
	var s *sight
	switch {
	case f.is(unix.S_IFDIR):
		dir, err = w.entries(f.path)
	case f.is(unix.S_IFREG):
		n, s, err = w.sight(&f)
	}
	at := 0
	if s != nil {
		at = s.at
	}
	w.mu.Unlock()
	if err != nil {
		return made, err
	}
	errno := makes()
	if errno == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case n != nil:
			n.promise(at, w.next())
			if f.stat.Nlink > 0 {
				w.names = append(w.names, naming{at: w.next(), what: synced, path: f.path, inode: n})
			}
			w.counts.Synced++
			w.moment()
		case dir.what == settled:
			dir.at = w.next()
			w.names = append(w.names, dir)
			w.counts.Dirs++
			w.moment()
		}
	}
	return intercept.Answer{Skip: true, Errno: errno}, nil
}

// promise notes that a sync has returned that began with a sight.
func (n *inode) promise(at, since int) {
	for i := range n.sights {
		if n.sights[i].at == at {
			n.sights[i].since, n.sights[i].synced = since, true
		}
	}
}

// syncAll is sync, of all files.
func (w *watch) syncAll(makes func() unix.Errno) (intercept.Answer, error) {
	w.mu.Lock()
	all, err := w.list(".")
	began := map[*inode]int{}
	for path, n := range all.names {
		if n == nil || err != nil {
			continue
		}
		f, ferr := w.at(path)
		if ferr == nil {
			var s *sight
			if _, s, ferr = w.sight(&f); ferr == nil {
				began[n] = s.at
			}
		}
		if ferr != nil && !gone(ferr) {
			err = ferr
		}
	}
	w.mu.Unlock()
	if err != nil {
		return intercept.Answer{}, err
	}
	errno := makes()
	if errno == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		for path, n := range all.names {
			if at, ok := began[n]; ok {
				n.promise(at, w.next())
				w.names = append(w.names, naming{at: w.next(), what: synced, path: path, inode: n})
				w.counts.Synced++
			}
		}
		all.at = w.next()
		w.names = append(w.names, all)
		w.counts.Dirs++
		w.moment()
	}
	return intercept.Answer{Skip: true, Errno: errno}, nil
}

// makeSync makes a sync in the program's place.
func makeSync(c *intercept.Call, dir string) unix.Errno {
	if c.Nr == unix.SYS_SYNC { // of this filesystem: of the others there is nothing to know
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return errnoOf(err)
		}
		defer func() { _ = unix.Close(fd) }() // nothing was written
		_ = unix.Syncfs(fd)                   // sync(2) tells of no error
		return 0
	}
	f, err := c.OpenFile(c.Descriptor(0))
	if err != nil {
		return errnoOf(err)
	}
	defer func() { _ = f.Close() }() // the program has it open
	switch c.Nr {
	case unix.SYS_FDATASYNC:
		err = unix.Fdatasync(int(f.Fd()))
	case unix.SYS_SYNCFS:
		err = unix.Syncfs(int(f.Fd()))
	default:
		err = unix.Fsync(int(f.Fd()))
	}
	return errnoOf(err)
}

// errnoOf returns the number of an error.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		return unix.EIO
	}
	return errno
}

// rename sees a file that is about to be renamed or linked.
func (w *watch) rename(c *intercept.Call) error {
	from, to := [2]int{-1, 0}, [2]int{-1, 1}
	if c.Nr == unix.SYS_RENAMEAT || c.Nr == unix.SYS_RENAMEAT2 || c.Nr == unix.SYS_LINKAT {
		from, to = [2]int{0, 1}, [2]int{2, 3}
	}
	var paths [2]string
	var inside [2]bool
	for i, at := range [][2]int{from, to} {
		path, err := c.Path(at[0], at[1])
		if err != nil {
			return err
		}
		if paths[i], err = resolved(path); err != nil {
			return err
		}
		paths[i], inside[i] = w.below(paths[i])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	over, is, err := w.there(paths[1], inside[1])
	if is && (c.Op == intercept.Link || c.Nr == unix.SYS_RENAMEAT2 && c.Args[4]&unix.RENAME_NOREPLACE != 0) {
		return err // it fails
	}
	f, ferr := w.at(paths[0])
	if err != nil || !inside[0] || ferr != nil {
		if inside[1] { // of what is elsewhere nothing is known
			w.names = append(w.names, naming{at: w.next(), what: taken, path: paths[1], over: over})
			w.moment()
		}
		return errors.Join(err, ferr)
	}
	if inside[1] && f.is(unix.S_IFREG) {
		n, s, err := w.sight(&f)
		if err != nil {
			return err
		}
		s.since, s.synced = s.at, n.isSynced(s)
		w.forget(paths[1], n)
		w.names = append(w.names, naming{at: w.next(), what: placed, path: paths[1], inode: n, over: over})
		w.counts.Placed++
	} else if inside[1] {
		w.names = append(w.names, naming{at: w.next(), what: taken, path: paths[1], over: over})
	}
	if c.Op == intercept.Rename {
		own, _, _ := w.there(paths[0], true)
		w.names = append(w.names, naming{at: w.next(), what: taken, path: paths[0], over: own})
	}
	w.moment()
	return nil
}

// isSynced reports whether all that a sight has seen was synced before.
func (n *inode) isSynced(s *sight) bool {
	for i := range n.sights {
		o := &n.sights[i]
		if o.synced && o.since > 0 && o.at < s.at && o.data.size == s.data.size && len(differing(o.data, s.data)) == 0 && len(o.free) == 0 {
			return true
		}
	}
	return false
}

// there returns the file that is at a path below the directory, if that is inside, with the lock
// held.
func (w *watch) there(path string, inside bool) (n *inode, is bool, err error) {
	if !inside {
		return nil, false, nil
	}
	f, err := w.at(path)
	switch {
	case gone(err):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case f.is(unix.S_IFREG):
		return w.inode(&f), true, nil
	}
	return nil, true, nil
}

// forget notes that a name leads to another file now: where it was the only one of the file before,
// that one's number will be another's.
func (w *watch) forget(path string, now *inode) {
	f, err := w.at(path)
	if err == nil && f.stat.Nlink == 1 && w.inodes[f.stat.Ino] != now {
		delete(w.inodes, f.stat.Ino)
	}
}

// resolved resolves the links in a path, but for its last element.
func resolved(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// unlink sees a name that is about to go.
func (w *watch) unlink(c *intercept.Call) error {
	at, arg := -1, 0
	if c.Nr == unix.SYS_UNLINKAT {
		at, arg = 0, 1
	}
	path, err := c.Path(at, arg)
	if err == nil {
		path, err = resolved(path)
	}
	rel, ok := w.below(path)
	if err != nil || !ok {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := w.at(rel)
	if err != nil {
		return err
	}
	var n *inode
	if f.is(unix.S_IFREG) {
		if n = w.inode(&f); f.stat.Nlink == 1 {
			delete(w.inodes, f.stat.Ino) // its number will be another's
		}
	}
	w.names = append(w.names, naming{at: w.next(), what: taken, path: rel, over: n})
	w.moment()
	return nil
}

// truncate sees a file that is about to end elsewhere.
func (w *watch) truncate(c *intercept.Call) error {
	var f file
	var size int64
	switch c.Nr {
	case unix.SYS_FTRUNCATE:
		var ok bool
		var err error
		if f, ok, err = w.opened(c, c.Descriptor(0)); err != nil || !ok {
			return err
		}
		size = int64(c.Args[1])
	default:
		at, arg := -1, 0
		if c.Nr == unix.SYS_OPENAT || c.Nr == unix.SYS_OPENAT2 {
			at, arg = 0, 1
		}
		if c.Nr == unix.SYS_TRUNCATE {
			size = int64(c.Args[1])
		}
		if c.Nr == unix.SYS_OPENAT2 {
			var how [8]byte
			if _, err := c.Memory(uintptr(c.Args[2]), how[:]); err != nil || binary.NativeEndian.Uint64(how[:])&unix.O_TRUNC == 0 {
				return err
			}
		}
		path, err := c.Path(at, arg)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		rel, ok := w.below(path)
		if err != nil || !ok {
			return err
		}
		if f, err = w.at(rel); err != nil {
			return err
		}
	}
	if f.is(unix.S_IFREG) && size >= 0 {
		w.writing(c, &f, span{size, max(size, f.stat.Size)}, size < f.stat.Size)
	}
	return nil
}

// written sees a file that is about to be written to.
func (w *watch) written(c *intercept.Call) error {
	fd := c.Descriptor(0)
	f, ok, err := w.opened(c, fd)
	if err != nil || !ok || !f.is(unix.S_IFREG) {
		return err
	}
	length := int64(c.Args[2])
	if c.Nr == unix.SYS_WRITEV || c.Nr == unix.SYS_PWRITEV || c.Nr == unix.SYS_PWRITEV2 {
		if length, err = vectorBytes(c); err != nil {
			return err
		}
	}
	off, positioned := int64(c.Args[3]), c.Nr == unix.SYS_PWRITE64 || c.Nr == unix.SYS_PWRITEV || c.Nr == unix.SYS_PWRITEV2 && int64(c.Args[3]) != -1
	if !positioned {
		if off, err = c.Position(fd); err != nil {
			return err
		}
	}
	appends, err := c.Appends(fd)
	if err != nil {
		return err
	}
	if appends {
		off = f.stat.Size
	}
	w.writing(c, &f, span{off, off + length}, false)
	return nil
}

// vectorBytes returns how many bytes the vector of a call holds.
func vectorBytes(c *intercept.Call) (length int64, err error) {
	const vectorBytes = 16 // struct iovec
	p := make([]byte, vectorBytes*min(c.Args[2], 1024))
	if len(p) == 0 {
		return 0, nil
	}
	if _, err = c.Memory(uintptr(c.Args[1]), p); err != nil {
		return 0, err
	}
	for v := range slices.Chunk(p, vectorBytes) {
		length += int64(binary.NativeEndian.Uint64(v[8:]))
	}
	return length, nil
}

// copied sees a file that the kernel is about to write to by itself, and takes all of it as
// written: these calls are rare.
func (w *watch) copied(c *intercept.Call) error {
	fd := 0
	if c.Nr == unix.SYS_COPY_FILE_RANGE || c.Nr == unix.SYS_SPLICE {
		fd = 2
	}
	f, ok, err := w.opened(c, c.Descriptor(fd))
	if err != nil || !ok || !f.is(unix.S_IFREG) {
		return err
	}
	if c.Nr == unix.SYS_FALLOCATE && c.Args[1]&^unix.FALLOC_FL_KEEP_SIZE == 0 {
		return nil // it changes nothing that was there
	}
	w.writing(c, &f, span{0, 1 << 62}, true)
	return nil
}

// writing notes what is about to be written, where it changes what is asked for.
func (w *watch) writing(c *intercept.Call, f *file, s span, cuts bool) {
	if s.From >= s.To && !cuts {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.inode(f)
	w.underway[c.Thread] = underway{c.Op, n, s}
	if len(n.sights) == 0 {
		return
	}
	last := n.sights[len(n.sights)-1].data.size
	asked := outside(w.freed[n], last)
	w.writes = append(w.writes, write{at: w.next(), inode: n, span: s, cuts: cuts})
	w.freed[n] = joined(append(w.freed[n], s))
	if cuts || !slices.Equal(asked, outside(w.freed[n], last)) {
		w.moment()
	}
}
