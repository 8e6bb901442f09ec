//go:build linux

package files

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// journal is what a program was seen to do with its files, in one life. What happens is numbered
// in order; what lets a file be other than before has its number before it is done, and what
// promises something after.
type journal struct {
	mu     sync.Mutex
	last   int // number
	names  []naming
	writes []write
	wants  map[int]map[string]*Want
}

// next numbers something that happens.
func (j *journal) next() int {
	j.last++
	return j.last
}

// naming is what becomes of a name.
type naming struct {
	at    int
	what  change
	path  string // below the program's directory
	inode *inode // that is there from now on
	over  *inode // that was there before
	to    string // of what is taken: the name that it is renamed to
	isDir bool   // a directory is taken
	ended int    // when that was done; 0 where it is not, or nobody knows

	thread int // that does it

	// Of a directory that was synced: when that began, and what there was in it then, by path.
	skipped bool // it was left out, and the program believes in it
	began   int
	names   map[string]*inode // nil: a directory, or a file of which nothing is known
	dirs    map[string]bool
}

// change is what becomes of a name.
type change int

const (
	placed  change = iota + 1 // a file is renamed or linked there
	synced                    // the file there is synced
	taken                     // it is unlinked, or renamed to elsewhere
	settled                   // its directory is synced
)

// everywhere is in place of the directory of a sync of the whole filesystem.
const everywhere = "*"

// Want is what has to be behind a name: a file that is one of these, the newest last, or anything;
// nothing may be there unless it must.
type Want struct {
	Any   bool    `json:"any,omitempty"`
	Needs []*Need `json:"needs,omitempty"`
	Must  bool    `json:"must,omitempty"`
}

// want returns what has to be behind each name at a moment.
func (j *journal) want(now int) map[string]*Want {
	j.mu.Lock()
	defer j.mu.Unlock()
	if all, ok := j.wants[now]; ok {
		return all
	}
	all, s := map[string]*Want{}, j.states(now, true)
	for path, e := range s.entries {
		w := &Want{Any: e.any, Must: e.must && s.leadsTo(path)}
		for _, n := range e.files {
			need := n.need(now, j.writes, false)
			w.Any = w.Any || need == nil
			w.Needs = append(w.Needs, need)
		}
		if w.Any {
			w.Needs = nil
		}
		if len(w.Needs) == 0 {
			w.Any = true // a name of which nothing but itself is known
		}
		if !w.Any || w.Must {
			all[path] = w
		}
	}
	if j.wants == nil {
		j.wants = map[int]map[string]*Want{}
	}
	j.wants[now] = all
	return all
}

// entry is what a name may lead to.
type entry struct {
	files []*inode // one of these
	any   bool     // or anything
	must  bool
	taken int // when it was, last

	movedTo string // the name that it was renamed to then
}

// states are what all names may lead to at a moment.
type states struct {
	entries map[string]*entry
	dirs    map[string]bool // directories whose own names were synced
}

// states goes through what became of names up to a moment: as the program believes, or as it is.
func (j *journal) states(now int, believed bool) *states {
	s := &states{entries: map[string]*entry{}, dirs: map[string]bool{}}
	for i := range j.names {
		n := &j.names[i]
		if n.at > now {
			break
		}
		if n.skipped && !believed {
			continue
		}
		switch n.what {
		case placed, synced:
			e := s.at(n.path)
			e.before(n.over)
			e.any, e.movedTo = false, ""
			e.files = append(slices.DeleteFunc(e.files, func(o *inode) bool { return o == n.inode }), n.inode)
		case taken:
			s.take(n)
		case settled:
			s.settle(n)
		}
	}
	return s
}

// at returns what a name may lead to.
func (s *states) at(path string) *entry {
	if s.entries[path] == nil {
		s.entries[path] = &entry{}
	}
	return s.entries[path]
}

// before notes what was there, until its directory is synced: it may come back.
func (e *entry) before(file *inode) {
	if file != nil && !slices.Contains(e.files, file) {
		e.files = append(e.files, file)
	}
}

// take notes that a name goes, and with a directory all below it.
func (s *states) take(n *naming) {
	below := func(path string) bool { return path == n.path || strings.HasPrefix(path, n.path+"/") }
	s.at(n.path).before(n.over)
	ended := n.ended
	if ended == 0 {
		ended = math.MaxInt
	}
	moved, movedDirs := map[string]*entry{}, []string(nil)
	for path, e := range s.entries {
		if !below(path) {
			continue
		}
		to := n.to
		if n.isDir && n.to != "" {
			to = n.to + strings.TrimPrefix(path, n.path)
			moved[to] = &entry{files: slices.Clone(e.files), any: e.any, must: e.must, taken: e.taken}
		}
		e.any, e.must, e.taken, e.movedTo = true, false, ended, to
	}
	for path := range s.dirs {
		if n.isDir && n.to != "" && path != n.path && below(path) {
			movedDirs = append(movedDirs, n.to+strings.TrimPrefix(path, n.path))
		}
	}
	maps.DeleteFunc(s.dirs, func(path string, _ bool) bool { return below(path) })
	if n.isDir {
		delete(moved, n.to) // no file
	}
	maps.Copy(s.entries, moved)
	for _, path := range movedDirs {
		s.dirs[path] = true
	}
}

// settle notes that a directory was synced: what was in it when that began is there.
func (s *states) settle(n *naming) {
	for path := range n.dirs {
		s.dirs[path] = true
	}
	for path, e := range s.entries {
		if n.lacks(path) && e.any && e.taken <= n.began {
			e.files = nil // it does not come back
		}
	}
	for path, file := range n.names {
		e := s.at(path)
		if e.taken > n.began {
			continue
		}
		e.must = true
		switch i := slices.Index(e.files, file); {
		case file == nil:
			e.files, e.any = nil, true
		case i >= 0 && !e.any:
			e.files = slices.Clone(e.files[i:])
		default: // a file of which nothing is known, and no older one
			e.files, e.any = []*inode{file}, true
		}
	}
}

// lacks reports whether a path, or a directory above it, is one of the directory that is synced,
// and was not there.
func (n *naming) lacks(path string) bool {
	for ; path != "."; path = filepath.Dir(path) {
		_, there := n.names[path]
		if in := n.path == everywhere || filepath.Dir(path) == n.path; in && !there && !n.dirs[path] {
			return true
		}
	}
	return false
}

// leadsTo reports whether the directories above a name are there.
func (s *states) leadsTo(path string) bool {
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if !s.dirs[dir] {
			return false
		}
	}
	return true
}
