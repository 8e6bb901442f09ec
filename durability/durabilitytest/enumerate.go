package durabilitytest

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/seawall-wal/seawall/durability"
)

// PieceKind says what a crash may take or leave.
type PieceKind uint8

// The kinds of pieces. Zero is none.
const (
	// SectorPiece is a sector of a file: the options are what it held since the
	// last sync.
	SectorPiece PieceKind = iota + 1

	// WordPiece is an aligned 8-byte word of a store or a write that is under
	// way: there or not.
	WordPiece

	// CutPiece is a sector that a truncation under way takes, or does not.
	CutPiece

	// SizePiece is the size of a file.
	SizePiece

	// NamePiece is an operation on a directory: there or not.
	NamePiece
)

// String returns the kind in a word.
func (k PieceKind) String() string {
	return [...]string{"none", "sector", "word", "cut", "size", "name"}[k]
}

// Piece is one thing that a power loss may take or leave by itself.
type Piece struct {
	Kind PieceKind

	// Name is the file's, relative to the directory of the Moment; that of a
	// NamePiece is what the operation is about. A file without a name has that
	// which it got last, or is going to get.
	Name    string
	Op      durability.Op // of a NamePiece
	NewName string        // of a rename, exchange or link

	// Offset and Length are the piece's place in the file, in bytes.
	Offset, Length int64

	// Options is how many there are, at least 2: from 0, the oldest, to
	// Options-1, the newest.
	Options int

	// Event is the position in the trace of what the oldest option lacks: the
	// first change that no sync covers.
	Event int

	file    *momentFile
	sector  *momentSector
	change  *momentChange
	word    int // byte offset in the sector
	sizes   []int64
	nameOps int // index into the moment's operations
}

// Moment is a place in a trace to crash at, taken apart into the pieces that a
// power loss there may take or leave, and one of the states: the one that Set
// has chosen. Every legal state of the package comment is a choice of options,
// and every choice is a legal state; several may be the same one.
//
// It begins with the newest option of every piece. Changing a piece costs what
// the piece is large, not what the files are: that is what it is for. A Moment
// must not be used by several goroutines at once.
type Moment struct {
	at     int
	pieces []Piece
	option []int
	files  []*momentFile
	byNode map[*inode]*momentFile
	ops    []momentOp
	roots  *momentDir
	dirs   map[*directory]*momentDir

	names []momentName // of the chosen state; nil where they have to be found anew
	view  Files
	stale bool // view has to be made anew
}

// momentFile is a file in its chosen state.
type momentFile struct {
	node    *inode
	name    string
	data    []byte // as long as the largest size
	size    int64
	sectors map[int64]*momentSector
	changes []*momentChange
	sum     Key // over the sectors below the size that lie whole below it
}

// momentSector is a sector with something to choose.
type momentSector struct {
	file    *momentFile
	number  int64
	low     int // the oldest version
	high    int // the newest
	chosen  int // from low on
	changes []*momentChange
}

// momentChange is a store, a write or a truncation that is under way.
type momentChange struct {
	change
	taken map[int64][]bool // by sector: which words are there
}

// momentOp is a directory operation that may be missing.
type momentOp struct {
	nameOp
	dir   *directory
	there bool
}

// momentDir is a directory's durable names, and the operations behind them.
type momentDir struct {
	prefix string
	base   names
	ops    []int
}

// momentName is a name in the chosen state.
type momentName struct {
	name string
	file *momentFile // nil for a directory
	hash uint64
}

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

// meets reports whether the change may have come to that version of the sector:
// to any content that was there since it began.
func (s *momentSector) meets(ch *momentChange, v int) bool {
	return v == s.high || s.file.node.sectors[s.number].versions[v].pos > ch.begin
}

// content returns the chosen content of a sector. It must not be written to.
func (s *momentSector) content() []byte {
	content := s.file.node.bytes(s.number, s.chosen)
	for _, ch := range s.changes {
		if !s.meets(ch, s.chosen) {
			continue
		}
		full := ch.span.over(s.number, content)
		taken := ch.taken[s.number]
		step := sectorBytes / len(taken)
		for i, there := range taken {
			if !there {
				copy(full[i*step:(i+1)*step], content[i*step:])
			}
		}
		content = full
	}
	return content
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

// At returns the moment's position in the trace.
func (m *Moment) At() int { return m.at }

// Pieces returns what there is to choose, in an order that depends on the trace
// and the position alone. It must not be written to.
func (m *Moment) Pieces() []Piece { return m.pieces }

// Option returns what is chosen of a piece.
func (m *Moment) Option(piece int) int { return m.option[piece] }

// States returns how many choices there are, or math.MaxInt64 if they are more
// than that.
func (m *Moment) States() int64 {
	n := int64(1)
	for i := range m.pieces {
		o := int64(m.pieces[i].Options)
		if n > math.MaxInt64/o {
			return math.MaxInt64
		}
		n *= o
	}
	return n
}

// Set chooses an option of a piece. It panics where there is no such option.
func (m *Moment) Set(piece, option int) {
	p := &m.pieces[piece]
	if option < 0 || option >= p.Options {
		panic(fmt.Sprintf("durabilitytest: option %d of %d of a piece", option, p.Options))
	}
	if m.option[piece] == option {
		return
	}
	m.option[piece] = option
	switch p.Kind {
	case SectorPiece:
		p.sector.chosen = p.sector.low + option
		p.file.update(p.sector)
	case WordPiece, CutPiece:
		p.change.taken[p.sector.number][p.word] = option == 1
		p.file.update(p.sector)
	case SizePiece:
		p.file.size = p.sizes[option]
		p.file.resum()
		m.stale = true
	case NamePiece:
		m.ops[p.nameOps].there = option == 1
		m.names, m.stale = nil, true
	}
}

// update brings the content and the sum up to date after a choice.
func (f *momentFile) update(s *momentSector) {
	at := f.data[s.number*sectorBytes : (s.number+1)*sectorBytes]
	whole := (s.number+1)*sectorBytes <= f.size
	if whole {
		f.sum.sub(sectorKey(s.number, at))
	}
	copy(at, s.content())
	if whole {
		f.sum.add(sectorKey(s.number, at))
	}
}

// resum sums the sectors anew.
func (f *momentFile) resum() {
	f.sum = Key{}
	for number := range f.size / sectorBytes {
		f.sum.add(sectorKey(number, f.data[number*sectorBytes:(number+1)*sectorBytes]))
	}
}

// Files returns the chosen state. It shares its bytes with the Moment: they are
// valid until the next Set, and must not be written to.
func (m *Moment) Files() Files {
	if !m.stale {
		return m.view
	}
	m.find()
	m.view = make(Files, len(m.names))
	for _, n := range m.names {
		if n.file == nil {
			m.view[n.name] = nil
			continue
		}
		m.view[n.name] = n.file.data[:n.file.size:n.file.size]
	}
	m.stale = false
	return m.view
}

// find finds which names lead where.
func (m *Moment) find() {
	if m.names != nil {
		return
	}
	m.names = make([]momentName, 0, 16)
	if m.roots != nil {
		m.findIn(m.roots)
	}
}

func (m *Moment) findIn(d *momentDir) {
	n := make(names, len(d.base)+len(d.ops))
	for name, e := range d.base {
		n[name] = e
	}
	missing := map[string]bool{}
	for _, i := range d.ops {
		o := &m.ops[i]
		if !o.there || o.blocked(missing) {
			o.block(missing)
			continue
		}
		o.apply(n)
	}
	for name, e := range n {
		if e.dir != nil {
			full := d.prefix + name + "/"
			m.names = append(m.names, momentName{name: full, hash: nameHash(full)})
			if below := m.dirs[e.dir]; below != nil {
				m.findIn(below)
			}
			continue
		}
		full := d.prefix + name
		m.names = append(m.names, momentName{name: full, file: m.byNode[e.file], hash: nameHash(full)})
	}
}

// Key returns the key of the chosen state: that of Files().Key().
func (m *Moment) Key() Key {
	m.find()
	var k Key
	for _, n := range m.names {
		if n.file == nil {
			k.add(fileKey(n.hash, -1, Key{}))
			continue
		}
		k.add(fileKey(n.hash, n.file.size, n.file.contentKey()))
	}
	return k
}

// contentKey returns the sum over the file's content.
func (f *momentFile) contentKey() Key {
	sum := f.sum
	if part := f.size % sectorBytes; part != 0 {
		number := f.size / sectorBytes
		sum.add(partKey(number, f.data[number*sectorBytes:][:part]))
	}
	return sum
}
