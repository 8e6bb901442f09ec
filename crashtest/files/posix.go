//go:build linux

package files

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// POSIX promises less than any filesystem keeps: that what was synced is there, and nothing else.
// So at each moment of a life a set of things may be lost, each by itself: a name that was made, or
// removed, since its directory was synced, and content that was written since its file was. What
// is lost of them is for the caller to choose.

// Loss is something that may be lost at a moment.
type Loss struct {
	Path string
	what lossKind
}

type lossKind int

const (
	lostName    lossKind = iota + 1 // nothing is there
	lostRename                      // what was there before is there
	lostRemoval                     // it is there again
	lostContent                     // what was not synced
	lostDir                         // a directory, with all below it
)

// String tells what is lost.
func (l Loss) String() string {
	switch l.what {
	case lostName:
		return "the name " + l.Path + ", whose directory was not synced"
	case lostRename:
		return "the rename to " + l.Path + ", whose directory was not synced"
	case lostRemoval:
		return "the removal of " + l.Path + ", whose directory was not synced"
	case lostDir:
		return "the directory " + l.Path + ", whose own directory was not synced"
	}
	return "what was written to " + l.Path + " and not synced"
}

// IsContent reports whether it is the content of a file that is lost.
func (l Loss) IsContent() bool { return l.what == lostContent }

// snapshot is what there was at a moment.
type snapshot struct {
	files map[string]snapFile
	dirs  map[string]fs.FileMode
}

// snapFile is a file, or a symbolic link.
type snapFile struct {
	inode *inode
	data  *content // nil: it is a link
	mode  fs.FileMode
	link  string
}

// snap looks at all that is there, with the lock held.
func (w *watch) snap() (*snapshot, error) {
	s := &snapshot{files: map[string]snapFile{}, dirs: map[string]fs.FileMode{}}
	all, err := w.list(".")
	if err != nil {
		return nil, err
	}
	for path := range all.dirs {
		if f, err := w.at(path); err == nil {
			s.dirs[path] = fs.FileMode(f.stat.Mode & 0o777)
		}
	}
	for path := range all.names {
		f, err := w.at(path)
		if err == nil && f.is(unix.S_IFLNK) {
			var to string
			if to, err = os.Readlink(f.at); err == nil {
				s.files[path] = snapFile{link: to}
			}
		}
		if err == nil && f.is(unix.S_IFREG) {
			n := w.inode(&f)
			var data *content
			if f.stat.Size > mostBytes {
				return nil, errTooMuch
			}
			if data, err = readContent(f.at); err == nil {
				s.files[path] = snapFile{inode: n, data: data, mode: fs.FileMode(f.stat.Mode & 0o777)}
			}
		}
		if err != nil && !gone(err) {
			return nil, err
		}
	}
	return s, nil
}

// Losses returns what may be lost at the moment, by POSIX. The Known has to be of a Subject that
// Snaps.
func (k *Known) Losses() []Loss {
	k.journal.mu.Lock()
	defer k.journal.mu.Unlock()
	var list []Loss
	s := k.journal.states(k.at, false)
	for path := range k.snap.dirs {
		if !s.dirs[path] {
			list = append(list, Loss{path, lostDir})
		}
	}
	for path, f := range k.snap.files {
		e := s.entries[path]
		if e == nil {
			e = &entry{}
		}
		switch {
		case f.data == nil: // a link
		case e.older(f.inode) != nil:
			list = append(list, Loss{path, lostRename})
		case !e.must:
			list = append(list, Loss{path, lostName})
		}
		if f.data != nil && !f.data.equal(k.promised(f.inode)) {
			list = append(list, Loss{path, lostContent})
		}
	}
	for path, e := range s.entries {
		if _, there := k.snap.files[path]; !there && len(e.files) > 0 && e.movedTo == "" {
			list = append(list, Loss{path, lostRemoval})
		}
	}
	slices.SortFunc(list, func(a, b Loss) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.what, b.what)) })
	return list
}

// older returns the oldest file that a name may lead to, if that is another one.
func (e *entry) older(file *inode) *inode {
	if len(e.files) > 0 && e.files[0] != file {
		return e.files[0]
	}
	return nil
}

// promised returns what a file has to hold: what was not synced since is as it was.
func (k *Known) promised(n *inode) *content {
	need := n.need(k.at, k.journal.writes, true)
	if need == nil {
		return &content{}
	}
	return contentOf(need.Data.bytes()[:min(need.Least, need.Data.size)])
}

// seen returns what a file held when it was last looked at.
func (k *Known) seen(n *inode) *content {
	last := k.promised(n)
	for i := range n.sights {
		if n.sights[i].at <= k.at {
			last = n.sights[i].data
		}
	}
	return last
}

// node is a file of a tree.
type node struct {
	Data []byte      `json:"d,omitempty"`
	Mode fs.FileMode `json:"m,omitempty"`
	Link string      `json:"l,omitempty"` // of a symbolic link
	Same string      `json:"s,omitempty"` // another name of the same file
}

// Tree is what a power cut leaves.
type Tree struct {
	Files map[string]node        `json:"f"`
	Dirs  map[string]fs.FileMode `json:"d,omitempty"`
}

// Tree returns what is there when these are lost.
func (k *Known) Tree(lost []Loss) *Tree {
	k.journal.mu.Lock()
	defer k.journal.mu.Unlock()
	is := make(map[Loss]bool, len(lost))
	for _, l := range lost {
		is[l] = true
	}
	t := &Tree{Files: map[string]node{}, Dirs: map[string]fs.FileMode{}}
	for dir, mode := range k.snap.dirs {
		if !isBelowLost(is, dir) {
			t.Dirs[dir] = mode
		}
	}
	s := k.journal.states(k.at, false)
	first := map[*inode]string{} // name of a file
	put := func(path string, n *inode, data *content) {
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			if _, there := t.Dirs[dir]; !there {
				t.Dirs[dir] = 0o755
			}
		}
		if same, ok := first[n]; ok {
			t.Files[path] = node{Same: same}
			return
		}
		first[n] = path
		t.Files[path] = node{Data: data.bytes(), Mode: n.mode}
	}
	without := map[*inode]bool{} // their content
	for path, f := range k.snap.files {
		without[f.inode] = without[f.inode] || is[Loss{path, lostContent}]
	}
	for _, path := range slices.Sorted(maps.Keys(k.snap.files)) {
		f := k.snap.files[path]
		switch {
		case is[Loss{path, lostName}], isBelowLost(is, filepath.Dir(path)):
		case f.data == nil:
			t.Files[path] = node{Link: f.link}
		case is[Loss{path, lostRename}]:
			older := s.entries[path].files[0]
			if data := k.seen(older); is[Loss{path, lostContent}] {
				put(path, older, k.promised(older))
			} else {
				put(path, older, data)
			}
		case without[f.inode]:
			put(path, f.inode, k.promised(f.inode))
		default:
			put(path, f.inode, f.data)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[path]
		_, there := k.snap.files[path]
		back := is[Loss{path, lostRemoval}] || e.movedTo != "" &&
			(is[Loss{e.movedTo, lostRename}] || is[Loss{e.movedTo, lostName}] || isBelowLost(is, e.movedTo))
		if !there && len(e.files) > 0 && back {
			put(path, e.files[0], k.seen(e.files[0]))
		}
	}
	return t
}

// isBelowLost reports whether a directory, or one above it, is lost.
func isBelowLost(is map[Loss]bool, dir string) bool {
	for ; dir != "."; dir = filepath.Dir(dir) {
		if is[Loss{dir, lostDir}] {
			return true
		}
	}
	return false
}

// Hash returns a hash of all that is in the tree.
func (t *Tree) Hash(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, dir := range slices.Sorted(maps.Keys(t.Dirs)) {
		_, _ = fmt.Fprintf(&h, "%q %o/", dir, t.Dirs[dir]) // a hash takes all
	}
	for _, path := range slices.Sorted(maps.Keys(t.Files)) {
		n := t.Files[path]
		_, _ = fmt.Fprintf(&h, "%q %q %q %o %d:", path, n.Link, n.Same, n.Mode, len(n.Data))
		_, _ = h.Write(n.Data)
	}
	return h.Sum64()
}

// Make makes the tree in an empty directory.
func (t *Tree) Make(dir string) error {
	dirs := slices.Sorted(maps.Keys(t.Dirs)) // those above come first
	paths := slices.Sorted(maps.Keys(t.Files))
	for _, path := range slices.Concat(dirs, paths) {
		if !filepath.IsLocal(path) || t.Files[path].Same != "" && !filepath.IsLocal(t.Files[path].Same) {
			return fmt.Errorf("files: %q is not below the program's directory", path)
		}
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, step := range []func(at string, n node) error{
		func(at string, n node) error {
			if n.Link != "" || n.Same != "" {
				return nil
			}
			return errors.Join(os.WriteFile(at, n.Data, 0o600), os.Chmod(at, n.Mode))
		},
		func(at string, n node) error {
			if n.Same == "" {
				return nil
			}
			return os.Link(filepath.Join(dir, n.Same), at)
		},
		func(at string, n node) error { // last, so that nothing is made behind one
			if n.Link == "" {
				return nil
			}
			return os.Symlink(n.Link, at)
		},
	} {
		for _, path := range paths {
			if err := step(filepath.Join(dir, path), t.Files[path]); err != nil {
				return err
			}
		}
	}
	for _, d := range slices.Backward(dirs) {
		if err := os.Chmod(filepath.Join(dir, d), t.Dirs[d]); err != nil {
			return err
		}
	}
	return nil
}
