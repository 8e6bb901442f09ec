//go:build linux

package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
)

// sync looks at what a sync is about, makes it, and notes that it is done.
func (w *watch) sync(c *intercept.Call) (intercept.Answer, error) {
	var made intercept.Answer
	if c.Op == intercept.SyncAll {
		return w.syncAll(c)
	}
	f, ok, err := w.opened(c, c.Descriptor(0))
	if err != nil || !ok {
		return made, err
	}
	skips := w.weak.Skips(c)
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
	errno := w.makes(c, skips)
	if errno == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case n != nil:
			n.promise(at, w.next(), skips)
			w.named(&f, n, skips)
			w.counts.Synced++
			w.moment()
		case dir.what == settled:
			dir.at, dir.skipped = w.next(), skips
			w.names = append(w.names, dir)
			w.counts.Dirs++
			w.moment()
		}
	}
	return intercept.Answer{Skip: true, Errno: errno}, nil
}

// named notes that a file was synced whose name this is, if it is that still, with the lock held.
func (w *watch) named(f *file, n *inode, skips bool) {
	if now, err := w.at(f.path); err == nil && !f.nameless && now.stat.Ino == f.stat.Ino {
		w.names = append(w.names, naming{at: w.next(), what: synced, path: f.path, inode: n, skipped: skips})
	}
}

// promise notes that a sync has returned that began with a sight.
func (n *inode) promise(at, since int, skipped bool) {
	for i := range n.sights {
		if n.sights[i].at == at {
			n.sights[i].since, n.sights[i].synced, n.sights[i].skipped = since, true, skipped
		}
	}
}

// syncAll is sync, of all files.
func (w *watch) syncAll(c *intercept.Call) (intercept.Answer, error) {
	if c.Nr == unix.SYS_SYNCFS {
		var own, dir unix.Stat_t
		err := unix.Stat("/proc/"+strconv.Itoa(c.Thread)+"/fd/"+strconv.Itoa(c.Descriptor(0)), &own)
		if err = errors.Join(err, unix.Stat(w.dir, &dir)); err != nil || own.Dev != dir.Dev {
			return intercept.Answer{}, err // of another filesystem
		}
	}
	skips := w.weak.Skips(c)
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
	errno := w.makes(c, skips)
	if errno == 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		for path, n := range all.names {
			if at, ok := began[n]; ok {
				n.promise(at, w.next(), skips)
				if f, err := w.at(path); err == nil && w.inodes[f.stat.Ino] == n {
					w.names = append(w.names, naming{at: w.next(), what: synced, path: path, inode: n, skipped: skips})
				}
				w.counts.Synced++
			}
		}
		all.at, all.skipped = w.next(), skips
		w.names = append(w.names, all)
		w.counts.Dirs++
		w.moment()
	}
	return intercept.Answer{Skip: true, Errno: errno}, nil
}

// makes makes a sync in the program's place, unless it is left out.
func (w *watch) makes(c *intercept.Call, skips bool) unix.Errno {
	if skips {
		return 0
	}
	return makeSync(c, w.dir)
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

// isSynced reports whether all that a sight has seen was synced before, and whether that sync was
// left out.
func (n *inode) isSynced(s *sight) (synced, skipped bool) {
	for i := range n.sights {
		o := &n.sights[i]
		if o.synced && o.since > 0 && o.at < s.at && o.data.equal(s.data) && len(o.free) == 0 {
			synced, skipped = true, o.skipped
		}
	}
	return synced, skipped
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
		if flags, ferr := c.OpenFlags(c.Descriptor(0)); ferr != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
			return ferr // it fails
		}
	default:
		at, arg, flags := -1, 0, c.Args[1]
		if c.Nr == unix.SYS_OPENAT || c.Nr == unix.SYS_OPENAT2 {
			at, arg, flags = 0, 1, c.Args[2]
		}
		if c.Op == intercept.Open && c.Nr != unix.SYS_OPENAT2 && flags&unix.O_EXCL != 0 && flags&unix.O_CREAT != 0 {
			return nil // what is there is not opened
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

// written sees a file that is about to be written to. Most writes it makes itself, so that it is
// known when they have ended.
func (w *watch) written(c *intercept.Call) (a intercept.Answer, err error) {
	fd := c.Descriptor(0)
	if w.snaps {
		if path, perr := c.OpenPath(fd); perr == nil && path == w.out {
			return a, w.hear(c)
		}
	}
	f, ok, err := w.opened(c, fd)
	if err != nil || !ok || !f.is(unix.S_IFREG) {
		return a, err
	}
	parts := [][2]uint64{{c.Args[1], c.Args[2]}}
	if c.Nr == unix.SYS_WRITEV || c.Nr == unix.SYS_PWRITEV || c.Nr == unix.SYS_PWRITEV2 {
		if parts, err = vector(c); err != nil {
			return a, err
		}
	}
	length := int64(0)
	for _, part := range parts {
		length += int64(min(part[1], 1<<40))
	}
	off, positioned := int64(c.Args[3]), c.Nr == unix.SYS_PWRITE64 || c.Nr == unix.SYS_PWRITEV || c.Nr == unix.SYS_PWRITEV2 && int64(c.Args[3]) != -1
	if !positioned {
		if off, err = c.Position(fd); err != nil {
			return a, err
		}
	}
	flags, err := c.OpenFlags(fd)
	if err != nil {
		return a, err
	}
	at := off
	if flags&unix.O_APPEND != 0 || c.Nr == unix.SYS_PWRITEV2 && c.Args[5]&unix.RWF_APPEND != 0 {
		at = f.stat.Size
	}
	w.writing(c, &f, span{at, at + length}, false)
	if length > mostMade || flags&unix.O_DIRECT != 0 || c.Nr == unix.SYS_PWRITEV2 && c.Args[5] != 0 {
		return a, nil // the program makes it
	}
	data, err := c.Read(parts)
	if err != nil {
		return a, err
	}
	own, err := c.OpenFile(fd)
	if err != nil {
		return a, err
	}
	defer func() { _ = own.Close() }() // the program has it open
	var n int
	if positioned {
		n, err = unix.Pwrite(int(own.Fd()), data, off)
	} else {
		n, err = unix.Write(int(own.Fd()), data)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.underway, c.Thread)
	a = intercept.Answer{Skip: true, Value: int64(max(n, 0)), Errno: errnoOf(err)}
	if err == nil && flags&unix.O_DSYNC != 0 { // O_SYNC is that, and more
		return a, w.wroteThrough(&f, span{at, at + int64(n)})
	}
	return a, nil
}

// wroteThrough notes that a part of a file was written and synced by one call, with the lock held.
func (w *watch) wroteThrough(f *file, part span) error {
	before := w.inode(f).need(w.last, w.writes, false)
	n, s, err := w.sight(f)
	if err != nil {
		return err
	}
	s.onlyIn(part, before)
	w.freed[n] = slices.Clone(s.free)
	n.promise(s.at, w.next(), false)
	w.named(f, n, false)
	w.counts.Synced++
	w.moment()
	return nil
}

// mostMade is how long a write is at most that is made in the program's place.
const mostMade = 1 << 20

// mostSaid is how much of what a program prints in one call is looked at.
const mostSaid = 1 << 20

// hear takes acknowledgements from what the program prints.
func (w *watch) hear(c *intercept.Call) error {
	parts := [][2]uint64{{c.Args[1], c.Args[2]}}
	if c.Nr == unix.SYS_WRITEV {
		var err error
		if parts, err = vector(c); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range parts {
		parts[i][1] = min(parts[i][1], mostSaid)
	}
	said, err := c.Read(parts)
	if err != nil {
		return err
	}
	w.said = append(w.said, said...)
	defer func() { // a line is not as long
		w.said = w.said[max(0, len(w.said)-mostSaid):]
	}()
	for {
		line, rest, ok := bytes.Cut(w.said, []byte("\n"))
		if !ok {
			return nil
		}
		w.said = rest
		word, token, ok := strings.Cut(string(line), " ")
		if ok && (word == "ack" || word == "acked") {
			w.acks = append(w.acks[:len(w.acks):len(w.acks)], token)
			w.moment()
		}
	}
}

// vector returns the addresses and lengths that the vector of a call holds.
func vector(c *intercept.Call) (parts [][2]uint64, err error) {
	const vectorBytes = 16 // struct iovec
	p := make([]byte, vectorBytes*min(c.Args[2], 1024))
	if len(p) == 0 {
		return nil, nil
	}
	if _, err = c.Memory(uintptr(c.Args[1]), p); err != nil {
		return nil, err
	}
	for v := range slices.Chunk(p, vectorBytes) {
		parts = append(parts, [2]uint64{binary.NativeEndian.Uint64(v), binary.NativeEndian.Uint64(v[8:])})
	}
	return parts, nil
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
		w.relax()
	}
}
