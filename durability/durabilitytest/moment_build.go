package durabilitytest

import (
	"slices"
	"sort"

	"github.com/seawall-wal/seawall/durability"
)

// Moment returns what a power loss after the first at events may leave in the
// directory dir and below it. It panics where at is not in [0, Len()].
func (r *Recorder) Moment(dir string, at int) *Moment {
	defer r.view(at)()
	m := &Moment{
		at: at, byNode: map[*inode]*momentFile{}, dirs: map[*directory]*momentDir{}, stale: true,
	}
	c := crash{at: at, names: map[*directory][]nameOp{}, changes: map[*inode][]change{}}
	c.interrupted(r)
	if d := r.index.dirs[absolute(dir)]; d != nil {
		m.roots = m.directory(d, "", &c)
	}
	for _, f := range m.files {
		m.prepare(f, &c)
	}
	m.option = make([]int, len(m.pieces))
	for i := range m.pieces {
		m.option[i] = m.pieces[i].Options - 1
	}
	return m
}

// directory takes a directory apart, and those below it.
func (m *Moment) directory(d *directory, prefix string, c *crash) *momentDir {
	if known := m.dirs[d]; known != nil {
		return known
	}
	s := d.durableAt(c.at)
	md := &momentDir{prefix: prefix, base: s.names}
	m.dirs[d] = md
	m.entries(s.names, prefix, c)
	done := d.ops[s.count:d.countAt(c.at)]
	for i, o := range slices.Concat(done, c.names[d]) {
		p := Piece{
			Kind: NamePiece, Name: prefix + o.name, Op: o.op, Options: 2, Event: o.pos, nameOps: len(m.ops),
		}
		if o.newName != "" {
			p.NewName = prefix + o.newName
		}
		if i >= len(done) {
			p.Event = c.at - 1
		}
		md.ops = append(md.ops, len(m.ops))
		m.ops = append(m.ops, momentOp{nameOp: o, dir: d, there: true})
		m.pieces = append(m.pieces, p)
		switch o.op {
		case durability.OpCreate, durability.OpMkdir:
			m.entries(names{o.name: o.entry}, prefix, c)
		case durability.OpLink:
			m.entries(names{o.newName: o.entry}, prefix, c)
		}
	}
	// What a file is called in the end says more than what it was born as.
	for name, e := range d.namesAt(c.at) {
		if f := m.byNode[e.file]; f != nil && e.file != nil {
			f.name = prefix + name
		}
	}
	return md
}

// entries enters what names lead to.
func (m *Moment) entries(n names, prefix string, c *crash) {
	sorted := make([]string, 0, len(n))
	for name := range n {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	for _, name := range sorted {
		e := n[name]
		switch {
		case e.dir != nil:
			m.directory(e.dir, prefix+name+"/", c)
		case e.file != nil && m.byNode[e.file] == nil:
			f := &momentFile{node: e.file, name: prefix + name, sectors: map[int64]*momentSector{}}
			m.byNode[e.file] = f
			m.files = append(m.files, f)
		}
	}
}

// prepare takes a file apart, and fills it with its newest content.
func (m *Moment) prepare(f *momentFile, c *crash) {
	for _, ch := range c.changes[f.node] {
		f.changes = append(f.changes, &momentChange{change: ch, taken: map[int64][]bool{}})
	}
	sizes := sizesAt(f.node, c)
	f.size = sizes[len(sizes)-1]
	largest := slices.Max(sizes)
	if len(sizes) > 1 {
		m.pieces = append(m.pieces, Piece{
			Kind: SizePiece, Name: f.name, Offset: sizes[0], Length: f.size - sizes[0], Options: len(sizes),
			Event: firstSize(f.node, c.at), file: f, sizes: sizes,
		})
	}
	f.data = make([]byte, sectorCeil(largest)*sectorBytes)
	copy(f.data, f.node.base)
	for number := range sectorCeil(largest) {
		m.sector(f, number, c.at)
	}
	f.resum()
}

// sector enters one sector.
func (m *Moment) sector(f *momentFile, number int64, at int) {
	var s sector
	if number < int64(len(f.node.sectors)) {
		s = f.node.sectors[number]
	}
	touched := slices.ContainsFunc(f.changes, func(ch *momentChange) bool { return ch.span.touches(number) })
	if len(s.versions) == 0 && !touched {
		return
	}
	low, high := floorAt(s.synced, at), s.newestAt(at)
	if high > 0 && s.versions[high-1].pos == at-1 &&
		slices.ContainsFunc(f.changes, func(ch *momentChange) bool { return ch.begin == at-1 }) {
		high-- // the index has the store as complete
	}
	low = min(low, high)
	ms := &momentSector{file: f, number: number, low: low, high: high, chosen: high}
	for _, ch := range f.changes {
		if ch.span.touches(number) {
			ms.changes = append(ms.changes, ch)
		}
	}
	if high > low {
		p := Piece{
			Kind: SectorPiece, Name: f.name, Offset: number * sectorBytes, Length: sectorBytes,
			Options: high - low + 1, Event: s.versions[low].pos, file: f, sector: ms,
		}
		m.pieces = append(m.pieces, p)
	}
	if high > low || len(ms.changes) > 0 {
		f.sectors[number] = ms
	}
	m.words(ms)
	copy(f.data[number*sectorBytes:], ms.content())
}

// words enters the words of what is under way in a sector.
func (m *Moment) words(s *momentSector) {
	for _, ch := range s.changes {
		step, kind := wordBytes, WordPiece
		if ch.whole {
			step, kind = sectorBytes, CutPiece
		}
		taken := make([]bool, sectorBytes/step)
		ch.taken[s.number] = taken
		for i := range taken {
			taken[i] = true
			if !s.mayDiffer(ch, i*step, step) {
				continue
			}
			m.pieces = append(m.pieces, Piece{
				Kind: kind, Name: s.file.name, Offset: s.number*sectorBytes + int64(i*step), Length: int64(step),
				Options: 2, Event: ch.begin, file: s.file, sector: s, change: ch, word: i,
			})
		}
	}
}

// mayDiffer reports whether a change makes a difference to n bytes from the
// offset on, whatever content it meets.
func (s *momentSector) mayDiffer(ch *momentChange, off, n int) bool {
	for v := s.low; v <= s.high; v++ {
		if !s.meets(ch, v) {
			continue
		}
		old := s.file.node.bytes(s.number, v)
		full := ch.span.over(s.number, old)
		if string(full[off:off+n]) != string(old[off:off+n]) || len(s.changes) > 1 {
			return true
		}
	}
	return false
}

// sizesAt returns the sizes that a file may have, the newest last.
func sizesAt(n *inode, c *crash) []int64 {
	low := floorAt(n.synced, c.at)
	high := sort.Search(len(n.sizes), func(i int) bool { return n.sizes[i].pos >= c.at })
	if high == 0 {
		return []int64{0}
	}
	list := slices.Clone(n.sizes[low:high])
	for _, ch := range c.changes[n] {
		if ch.size.size != n.sizes[high-1].size {
			list = append(list, ch.size)
		}
	}
	slices.SortFunc(list[high-low:], func(a, b sizeVersion) int { return int(a.size - b.size) })
	sizes := []int64{list[0].size}
	for _, v := range list[1:] {
		for page := v.from/pageBytes + 1; page*pageBytes < v.size; page++ {
			sizes = append(sizes, page*pageBytes)
		}
		sizes = append(sizes, v.size)
	}
	return sizes
}

// firstSize returns the position of the first change of size that no sync
// covers.
func firstSize(n *inode, at int) int {
	low := floorAt(n.synced, at)
	if low+1 < len(n.sizes) && n.sizes[low+1].pos < at {
		return n.sizes[low+1].pos
	}
	return at - 1
}
