package durabilitytest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/seawall-wal/seawall/durability"
)

// Crash returns one state that a power loss after the first at events may leave
// in the directory dir and below it, by the rule in the package comment. rng
// chooses which: the same trace, position and choices give the same state. It
// panics where at is not in [0, Len()].
func (r *Recorder) Crash(dir string, at int, rng Rand) Files {
	return r.CrashAs(Mix, dir, at, rng)
}

// CrashAs is Crash in the given mode. Only Mix uses rng, which may be nil for
// the others.
func (r *Recorder) CrashAs(mode CrashMode, dir string, at int, rng Rand) Files {
	defer r.view(at)()
	c := crash{
		at:      at,
		rng:     mode.rand(rng),
		names:   map[*directory][]nameOp{},
		changes: map[*inode][]change{},
		done:    map[*inode][]byte{},
	}
	c.interrupted(r)
	files := Files{}
	if d := r.index.dirs[absolute(dir)]; d != nil {
		c.directory(files, "", d)
	}
	return files
}

// Device returns what the device may hold at least of the files in dir, while
// the system lives: each sector the oldest content that a power loss now could
// leave, under the names that processes see. It is what to answer direct reads
// with in a process that must not believe its page cache. Directories in dir
// are left out.
func (r *Recorder) Device(dir string) Files {
	at := r.Len()
	defer r.view(at)()
	c := crash{at: at, rng: oldest{}, changes: map[*inode][]change{}, done: map[*inode][]byte{}}
	files := Files{}
	if d := r.index.dirs[absolute(dir)]; d != nil {
		for name, e := range d.namesAt(at) {
			if e.dir == nil {
				files[name] = c.content(e.file)
			}
		}
	}
	return files
}

// Killed returns what the death of the process after the first at events leaves
// in the directory dir and below it: all that was stored and done. Of the last
// event, if it is a store or the Before event of a write, only the first torn
// bytes arrived. It panics where at is not in [0, Len()]. A file's bytes are shared with
// the results of other calls, and must not be written to.
func (r *Recorder) Killed(dir string, at, torn int) Files {
	defer r.view(at)()
	k := death{at: at, indexed: len(r.index.steps)}
	if at > 0 {
		e, s := &r.events[at-1], r.index.steps[at-1]
		if s.file != nil && e.Phase == durability.Before && (e.Op == durability.OpStore || e.Op == durability.OpWrite) {
			k.torn = s.file
			k.span = stored(e)
			k.span = k.span.clip(k.span.off + min(int64(torn), k.span.length))
			k.grows = e.Op == durability.OpWrite
		}
	}
	files := Files{}
	if d := r.index.dirs[absolute(dir)]; d != nil {
		k.directory(files, "", d)
	}
	return files
}

// death is the death of a process after the first at events, the last of which
// got as far as span in the file torn.
type death struct {
	at      int
	indexed int // events that the histories of files know of
	torn    *inode
	span    span
	grows   bool
}

// directory adds what is in d to files, each name behind the prefix.
func (k *death) directory(files Files, prefix string, d *directory) {
	for name, e := range d.namesAt(k.at) {
		if e.dir != nil {
			files[prefix+name+"/"] = nil
			k.directory(files, prefix+name+"/", e.dir)
			continue
		}
		files[prefix+name] = k.content(e.file)
	}
}

// content returns the file's bytes. From one moment to another most files stay as they are,
// and then the same bytes are returned.
func (k *death) content(n *inode) []byte {
	if n == k.torn {
		return k.tornContent(n)
	}
	if c := n.kept.Load(); c != nil && c.from < k.at && k.at <= c.until {
		return c.data
	}
	c := &keptContent{from: -1, until: k.indexed, data: make([]byte, n.sizeAt(k.at))}
	for i := range n.sizes {
		c.narrow(n.sizes[i].pos, k.at)
	}
	for number := range n.sectors {
		for i := range n.sectors[number].versions {
			c.narrow(n.sectors[number].versions[i].pos, k.at)
		}
	}
	n.fillAt(c.data, k.at)
	n.kept.Store(c)
	return c.data
}

// narrow takes into account that the content changed by the event at pos.
func (c *keptContent) narrow(pos, at int) {
	if pos < at {
		c.from = max(c.from, pos)
	} else {
		c.until = min(c.until, pos)
	}
}

// tornContent is content of the file whose last store or write is torn.
func (k *death) tornContent(n *inode) []byte {
	size := n.sizeAt(k.at)
	if k.grows {
		size = max(size, k.span.end())
	}
	content := make([]byte, size)
	n.fillAt(content, k.at-1) // without the store, all of which the index has at this position
	k.span.clip(size).into(content)
	return content
}

// fillAt copies what the file holds after the first at events, as far as it goes.
func (n *inode) fillAt(content []byte, at int) {
	copy(content, n.base)
	for number := range n.sectors[:min(int64(len(n.sectors)), sectorCeil(int64(len(content))))] {
		if v := n.sectors[number].newestAt(at); v > 0 {
			copy(content[number*sectorBytes:], n.sectors[number].versions[v-1].data)
		}
	}
}

// crash is one power loss after the first at events.
type crash struct {
	at      int
	rng     Rand
	names   map[*directory][]nameOp // under way
	changes map[*inode][]change     // under way
	done    map[*inode][]byte       // a file with two names has one content
}

// change is a store, a write or a change of size that is under way.
type change struct {
	begin int
	span  span
	whole bool        // each sector takes it or not; else each word does
	size  sizeVersion // that it leads to
}

// interrupted collects what is under way at the crash: every operation without
// an After event so far, and the last event, if it is a store.
func (c *crash) interrupted(r *Recorder) {
	if c.at == 0 {
		return
	}
	first := min(r.index.steps[c.at-1].oldest, c.at-1)
	for i := first; i < c.at; i++ {
		e, s := &r.events[i], r.index.steps[i]
		switch {
		case e.Phase != durability.Before:
		case e.Op == durability.OpStore:
			if i == c.at-1 && s.file != nil {
				now := sizeVersion{size: s.size, from: s.size}
				ch := change{begin: i, span: stored(e).clip(s.size), size: now}
				c.changes[s.file] = append(c.changes[s.file], ch)
			}
		case s.end == 0 || s.end >= c.at:
			c.underWay(i, e, s)
		}
	}
}

// underWay notes the operation that began at begin.
func (c *crash) underWay(begin int, e *record, s step) {
	switch e.Op {
	case durability.OpMsync, durability.OpDatasync, durability.OpSync, durability.OpSyncDir:
		return // a sync promises nothing before it has returned
	case durability.OpWrite, durability.OpAllocate, durability.OpTruncate:
	default:
		c.name(e, s)
		return
	}
	if s.file == nil {
		return
	}
	old := s.file.sizeAt(c.at)
	ch := change{begin: begin, size: sizeVersion{size: old, from: old}}
	switch e.Op {
	case durability.OpWrite:
		ch.span = stored(e)
		ch.size.size = max(old, ch.span.end())
	case durability.OpAllocate:
		ch.size.size = max(old, e.Offset+e.Length)
	case durability.OpTruncate:
		ch.span = span{off: e.Length, length: max(0, old-e.Length)}
		ch.whole = true
		ch.size = sizeVersion{size: e.Length, from: e.Length}
	}
	c.changes[s.file] = append(c.changes[s.file], ch)
}

// name notes a directory operation that is under way. What it would bind has
// nothing in it yet.
func (c *crash) name(e *record, s step) {
	o := nameOp{op: e.Op, name: e.Name, newName: e.NewName}
	switch e.Op {
	case durability.OpCreate:
		o.entry.file = newInode(c.at, nil)
	case durability.OpMkdir:
		o.entry.dir = newDirectory()
	case durability.OpLink:
		o.entry.file = s.file
	}
	if e.Op == durability.OpCreate && e.Name == "" || e.Op == durability.OpLink && s.file == nil {
		return
	}
	c.names[s.dir] = append(c.names[s.dir], o)
}

// directory adds what is left in d to files, each name behind the prefix.
func (c *crash) directory(files Files, prefix string, d *directory) {
	left := d.crashAt(c.at, c.names[d], c.rng)
	for _, name := range slices.Sorted(maps.Keys(left)) {
		e := left[name]
		if e.dir != nil {
			files[prefix+name+"/"] = nil
			c.directory(files, prefix+name+"/", e.dir)
			continue
		}
		content, again := c.done[e.file]
		if again {
			content = slices.Clone(content)
		} else {
			content = c.content(e.file)
			c.done[e.file] = content
		}
		files[prefix+name] = content
	}
}

// content returns the bytes that are left of a file.
func (c *crash) content(n *inode) []byte {
	content := make([]byte, c.size(n))
	copy(content, n.base)
	changes := c.changes[n]
	for number := range sectorCeil(int64(len(content))) {
		known := number < int64(len(n.sectors)) && len(n.sectors[number].versions) > 0
		if known || touched(changes, number) {
			copy(content[number*sectorBytes:], c.sector(n, number, changes))
		}
	}
	return content
}

// size chooses the size of a file.
func (c *crash) size(n *inode) int64 {
	low := floorAt(n.synced, c.at)
	high := sort.Search(len(n.sizes), func(i int) bool { return n.sizes[i].pos >= c.at })
	if high == 0 {
		return 0
	}
	sizes := n.sizes[low:high:high]
	now := n.sizes[high-1].size
	for _, ch := range c.changes[n] {
		if ch.size.size != now {
			sizes = append(sizes, ch.size)
		}
	}
	// The largest comes last: it has all that is under way.
	slices.SortFunc(sizes[high-low:], func(a, b sizeVersion) int { return cmp.Compare(a.size, b.size) })
	i := choose(c.rng, len(sizes))
	if i == 0 {
		return sizes[0].size
	}
	// On the way to a larger size there are the pages between.
	to, first := sizes[i].size, sizes[i].from/pageBytes+1
	between := int((to+pageBytes-1)/pageBytes - first)
	if between <= 0 || choose(c.rng, 2) == 1 {
		return to
	}
	return (first + int64(choose(c.rng, between))) * pageBytes
}

// sector chooses the content of one sector. It must not be written to.
func (c *crash) sector(n *inode, number int64, changes []change) []byte {
	var s sector
	if number < int64(len(n.sectors)) {
		s = n.sectors[number]
	}
	low, high := floorAt(s.synced, c.at), s.newestAt(c.at)
	if high > 0 && s.versions[high-1].pos == c.at-1 && inFlight(changes, c.at-1) {
		high-- // the index has the store as complete
	}
	v := low + choose(c.rng, high-low+1)
	content := n.bytes(number, v)
	for _, ch := range changes {
		// The change may meet any content that was there since it began.
		if ch.span.touches(number) && (v == high || s.versions[v].pos > ch.begin) {
			content = c.apply(ch, number, content)
		}
	}
	return content
}

// inFlight reports whether one of the changes began at begin.
func inFlight(changes []change, begin int) bool {
	return slices.ContainsFunc(changes, func(ch change) bool { return ch.begin == begin })
}

// touched reports whether one of the changes is about the sector.
func touched(changes []change, number int64) bool {
	return slices.ContainsFunc(changes, func(ch change) bool { return ch.span.touches(number) })
}

// apply chooses how much of a change is in a sector that held old.
func (c *crash) apply(ch change, number int64, old []byte) []byte {
	full := ch.span.over(number, old)
	step := wordBytes
	if ch.whole {
		step = sectorBytes
	}
	for i := 0; i < sectorBytes; i += step {
		if !bytes.Equal(full[i:i+step], old[i:i+step]) && choose(c.rng, 2) == 0 {
			copy(full[i:i+step], old[i:i+step])
		}
	}
	return full
}
