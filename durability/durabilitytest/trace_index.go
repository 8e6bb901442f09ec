package durabilitytest

import (
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seawall-wal/seawall/durability"
)

// index is the trace sorted by what it is about: the history of each file and
// each directory. It is built event by event, once, and answers for every
// position of the trace.
type index struct {
	steps []step // one an event

	// underWay holds the positions of the Before events that have no After event
	// yet, in rising order; begins finds them by Event.ID.
	underWay []int
	begins   map[uint64]int

	files map[uint64]*inode     // by Event.File
	dirs  map[string]*directory // by absolute path
	paths map[string]string     // Event.Dir to the key in dirs

	// gate is set by LoseOnFailedSync.
	gate bool
}

// step is what the index knows about the event at one position.
type step struct {
	file *inode // that the event is about; nil for none, or an unknown one
	dir  *directory
	size int64 // of the file right before the event

	// end is the position of the After event that belongs to a Before event; 0
	// for none.
	end int

	// oldest is the lowest position of the operations that are under way after
	// the event; the next position where there are none.
	oldest int
}

func newIndex() index {
	return index{
		begins: map[uint64]int{},
		files:  map[uint64]*inode{},
		dirs:   map[string]*directory{},
		paths:  map[string]string{},
	}
}

// base enters the durable files of a directory.
func (x *index) base(dir string, files Files) {
	x.directory(dir)
	for _, name := range files.Names() {
		if sub, isDir := strings.CutSuffix(name, "/"); isDir {
			x.baseSub(dir, sub)
			continue
		}
		parent := x.baseSub(dir, path.Dir(name))
		parent.base(path.Base(name), entry{file: newInode(-1, files[name])})
	}
}

// baseSub returns the directory sub below dir, which exists, durably, as do all
// that lie between.
func (x *index) baseSub(dir, sub string) *directory {
	if sub == "." {
		return x.directory(dir)
	}
	d := x.directory(filepath.Join(dir, sub))
	x.baseSub(dir, path.Dir(sub)).base(path.Base(sub), entry{dir: d})
	return d
}

// directory returns the directory of a path. One that nothing is known of
// exists, durably, and is empty.
func (x *index) directory(dir string) *directory {
	key, ok := x.paths[dir]
	if !ok {
		key = absolute(dir)
		x.paths[dir] = key
	}
	d := x.dirs[key]
	if d == nil {
		d = newDirectory()
		x.dirs[key] = d
	}
	return d
}

// add enters the next of the events.
func (x *index) add(events []record) {
	pos := len(x.steps)
	e := &events[pos]
	s := step{dir: x.directory(e.Dir)}
	s.file = x.file(e, s.dir)
	if s.file != nil {
		s.size = s.file.size()
	}
	switch {
	case e.Op == durability.OpStore:
		if s.file != nil {
			s.file.put(pos, stored(e).clip(s.size))
		}
	case e.Phase == durability.Before:
		x.begins[e.ID] = pos
		x.underWay = append(x.underWay, pos)
	default:
		if begin, ok := x.begins[e.ID]; ok {
			x.steps[begin].end = pos
			delete(x.begins, e.ID)
			i, _ := slices.BinarySearch(x.underWay, begin)
			x.underWay = slices.Delete(x.underWay, i, i+1)
			x.finish(begin, pos, &events[begin], e)
		}
	}
	s.oldest = pos + 1
	if len(x.underWay) > 0 {
		s.oldest = x.underWay[0]
	}
	x.steps = append(x.steps, s)
}

// file returns the file that an event is about, by its identity or, where that
// is new or 0, by its name; nil when neither is known.
func (x *index) file(e *record, d *directory) *inode {
	if f := x.files[e.File]; f != nil {
		return f
	}
	f := d.live[e.Name].file
	if f != nil && e.File != 0 {
		x.files[e.File] = f
	}
	return f
}

// finish enters the effect of the operation that began at begin and ended at
// pos, with its two events. Of two operations one of which returned before the
// other began, this is the order of their effects.
func (x *index) finish(begin, pos int, before, after *record) {
	s := x.steps[begin]
	ok := after.Err == nil
	switch after.Op {
	case durability.OpWrite:
		if s.file != nil {
			n := written(before, after)
			s.file.put(pos, n)
			s.file.grow(pos, n.end())
		}
	case durability.OpAllocate:
		if s.file != nil && ok {
			s.file.grow(pos, before.Offset+before.Length)
		}
	case durability.OpTruncate:
		if s.file != nil && ok {
			s.file.truncate(pos, before.Length)
		}
	case durability.OpMsync, durability.OpDatasync, durability.OpSync:
		if s.file != nil && (ok || x.gate) {
			off, length := covered(before)
			if ok {
				s.file.sync(begin, pos, off, length)
			} else {
				s.file.lose(off, length)
			}
		}
	case durability.OpSyncDir:
		if ok {
			s.dir.sync(begin, pos)
		}
	default:
		if ok {
			x.bind(s, pos, before, after)
		}
	}
}

// bind enters an operation on names.
func (x *index) bind(s step, pos int, before, after *record) {
	o := nameOp{pos: pos, op: before.Op, name: before.Name, newName: before.NewName}
	switch o.op {
	case durability.OpCreate:
		o.entry.file = newInode(pos, nil)
		if after.File != 0 {
			x.files[after.File] = o.entry.file
		}
		if o.name == "" {
			return
		}
	case durability.OpMkdir:
		o.entry.dir = newDirectory()
		x.dirs[filepath.Join(x.paths[before.Dir], o.name)] = o.entry.dir
	case durability.OpLink:
		o.entry.file = s.file
		if s.file == nil {
			return
		}
	}
	s.dir.add(o)
}

// stored returns what an OpStore or an OpWrite puts where.
func stored(e *record) span {
	if len(e.data) > 0 {
		return span{off: e.Offset, length: int64(len(e.data)), data: e.data}
	}
	return span{off: e.Offset, length: e.Length}
}

// written returns what a write that ended put where: all of it, or, where it
// failed, as much as its After event says.
func written(before, after *record) span {
	s := stored(before)
	if after.Err != nil {
		s = s.clip(s.off + after.Length)
	}
	return s
}

// covered returns the range that a sync is about.
func covered(before *record) (off, length int64) {
	if before.Op == durability.OpMsync {
		return before.Offset, before.Length
	}
	return 0, math.MaxInt64
}
