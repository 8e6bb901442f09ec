package durabilitytest

import (
	"fmt"
	"math"
)

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

	names []momentName // of the chosen state; nil where they have to be found again
	view  Files
	stale bool // view has to be made again
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

// resum sums all sectors again.
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
