package durabilitytest

import (
	"bytes"
	"slices"
	"sort"
	"sync/atomic"
)

const (
	// sectorBytes is what a device writes atomically.
	sectorBytes = 512

	// wordBytes is what a processor stores atomically, where it is aligned.
	wordBytes = 8

	// pageBytes is the step in which a file grows while a write is under way, and
	// what one store makes dirty: the smallest VM page that Linux has.
	pageBytes = 4096
)

var zeroSector [sectorBytes]byte

// inode is the history of one file's content and size, by positions in the
// trace. Nothing in it is ever changed, only added to: a look at an earlier
// position finds what was there then.
type inode struct {
	base    []byte // durable before the trace began; whole sectors
	sectors []sector
	sizes   []sizeVersion
	synced  []floor // of sizes

	// dirty holds the sectors with versions that no successful sync covers yet,
	// as far as the trace is indexed; cuts holds the truncations of that kind.
	dirty map[int64]struct{}
	cuts  []cut

	// lost holds the pages that a failed sync covered and that nothing was
	// written to since. Filled only after LoseOnFailedSync.
	lost map[int64]struct{}

	kept atomic.Pointer[keptContent] // what was last made of it
}

// keptContent is what a file holds after the first at events, for each at above from and up
// to until.
type keptContent struct {
	from, until int
	data        []byte
}

// sector is the history of 512 bytes. Version 0 is the base; version v > 0 is
// versions[v-1].
type sector struct {
	versions []version
	synced   []floor
}

// version is the content of a sector from the event at pos on.
type version struct {
	pos  int
	data []byte
}

// sizeVersion is the size of a file from the event at pos on. Where it grew page
// by page, from is the size that it grew from; else it is the size itself.
type sizeVersion struct {
	pos        int
	size, from int64
}

// floor says that a sync whose After event is at end made version durable, and
// with it everything older obsolete. Floors rise in a list.
type floor struct{ end, version int }

// cut is a truncation at pos to less than the file was; everything from the
// byte at on went.
type cut struct {
	pos int
	at  int64
}

// newInode returns a file that begins its existence at the event at pos, with
// the given durable content.
func newInode(pos int, content []byte) *inode {
	n := &inode{
		base:  make([]byte, sectorCeil(int64(len(content)))*sectorBytes),
		sizes: []sizeVersion{{pos: pos, size: int64(len(content)), from: int64(len(content))}},
		dirty: map[int64]struct{}{},
	}
	copy(n.base, content)
	return n
}

func sectorCeil(size int64) int64 { return (size + sectorBytes - 1) / sectorBytes }

// raise adds a floor, unless what it says is known.
func raise(floors []floor, end, version int) []floor {
	known := 0
	if len(floors) > 0 {
		known = floors[len(floors)-1].version
	}
	if version <= known {
		return floors
	}
	return append(floors, floor{end, version})
}

// floorAt returns the oldest version that is legal after the first at events.
func floorAt(floors []floor, at int) int {
	i := sort.Search(len(floors), func(i int) bool { return floors[i].end >= at })
	if i == 0 {
		return 0
	}
	return floors[i-1].version
}

// newestAt returns the newest version after the first at events.
func (s *sector) newestAt(at int) int {
	return sort.Search(len(s.versions), func(i int) bool { return s.versions[i].pos >= at })
}

// bytes returns version v of the sector with the number number. It must not be
// written to.
func (n *inode) bytes(number int64, v int) []byte {
	if v > 0 {
		return n.sectors[number].versions[v-1].data
	}
	if off := number * sectorBytes; off < int64(len(n.base)) {
		return n.base[off : off+sectorBytes]
	}
	return zeroSector[:]
}

// sizeAt returns the file's newest size after the first at events.
func (n *inode) sizeAt(at int) int64 {
	i := sort.Search(len(n.sizes), func(i int) bool { return n.sizes[i].pos >= at })
	if i == 0 {
		return 0
	}
	return n.sizes[i-1].size
}

func (n *inode) size() int64 { return n.sizes[len(n.sizes)-1].size }

// grow records that from the event at pos on the file is at least size long,
// having been of every length on the way.
func (n *inode) grow(pos int, size int64) {
	if old := n.size(); size > old {
		n.sizes = append(n.sizes, sizeVersion{pos: pos, size: size, from: old})
	}
}

// span is a range of a file and what an operation puts there: data, or zeros
// where data is empty.
type span struct {
	off, length int64
	data        []byte
}

// end returns the first byte behind the span; an empty span reaches nowhere.
func (s span) end() int64 {
	if s.length == 0 {
		return 0
	}
	return s.off + s.length
}

// clip cuts the span off at the byte end.
func (s span) clip(end int64) span {
	s.length = max(0, min(s.length, end-s.off))
	if len(s.data) > 0 {
		s.data = s.data[:s.length]
	}
	return s
}

// touches reports whether the span has a byte in the sector.
func (s span) touches(number int64) bool {
	return s.off < (number+1)*sectorBytes && number*sectorBytes < s.end()
}

// into puts the span's bytes into content, which reaches as far.
func (s span) into(content []byte) {
	switch {
	case s.length == 0:
	case len(s.data) == 0:
		clear(content[s.off : s.off+s.length])
	default:
		copy(content[s.off:], s.data)
	}
}

// over returns a copy of old, the content of the sector with the number number,
// with the span's bytes in it.
func (s span) over(number int64, old []byte) []byte {
	updated := slices.Clone(old)
	start := number * sectorBytes
	from, to := max(s.off, start), min(s.off+s.length, start+sectorBytes)
	if len(s.data) == 0 {
		clear(updated[from-start : to-start])
	} else {
		copy(updated[from-start:to-start], s.data[from-s.off:to-s.off])
	}
	return updated
}

// put records that the event at pos stored or wrote the span.
func (n *inode) put(pos int, s span) {
	if s.length <= 0 {
		return
	}
	last := (s.off + s.length - 1) / sectorBytes
	for number := s.off / sectorBytes; number <= last; number++ {
		delete(n.lost, number*sectorBytes/pageBytes)
		old := n.newest(number)
		if len(s.data) == 0 && bytes.Equal(old, zeroSector[:]) {
			continue
		}
		if updated := s.over(number, old); !bytes.Equal(updated, old) {
			n.push(pos, number, updated)
		}
	}
}

// newest returns the content of a sector after all that is indexed.
func (n *inode) newest(number int64) []byte {
	if number >= int64(len(n.sectors)) {
		return n.bytes(number, 0)
	}
	return n.bytes(number, len(n.sectors[number].versions))
}

// push adds a version to a sector.
func (n *inode) push(pos int, number int64, data []byte) {
	if grow := number + 1 - int64(len(n.sectors)); grow > 0 {
		n.sectors = append(n.sectors, make([]sector, grow)...)
	}
	s := &n.sectors[number]
	s.versions = append(s.versions, version{pos, data})
	n.dirty[number] = struct{}{}
}

// truncate records that the event at pos made the file size bytes long.
func (n *inode) truncate(pos int, size int64) {
	if old := n.size(); size < old {
		n.put(pos, span{off: size, length: old - size})
		n.cuts = append(n.cuts, cut{pos, size})
	}
	if size != n.size() {
		n.sizes = append(n.sizes, sizeVersion{pos: pos, size: size, from: size})
	}
}

// sync records a successful sync of the bytes [off, off+length) with its Before
// event at start and its After event at end. The size is covered whatever the
// range is, and so is what truncations took away: the blocks behind a durable
// size are gone.
func (n *inode) sync(start, end int, off, length int64) {
	for number := range n.dirty {
		// A sector that is covered in part is not covered.
		if number*sectorBytes >= off && (number+1)*sectorBytes <= off+length {
			n.cover(number, start, end)
		}
	}
	sizes := sort.Search(len(n.sizes), func(i int) bool { return n.sizes[i].pos >= start })
	n.synced = raise(n.synced, end, sizes-1)

	open := n.cuts[:0]
	for _, c := range n.cuts {
		if c.pos >= start {
			open = append(open, c)
			continue
		}
		for number := range n.dirty {
			if number*sectorBytes >= c.at {
				n.cover(number, c.pos+1, end)
			}
		}
	}
	n.cuts = open
}

// cover makes a sector's newest version from before the event at start durable
// from the event at end on.
func (n *inode) cover(number int64, start, end int) {
	if _, lost := n.lost[number*sectorBytes/pageBytes]; lost {
		return
	}
	s := &n.sectors[number]
	v := s.newestAt(start)
	s.synced = raise(s.synced, end, v)
	if v == len(s.versions) {
		delete(n.dirty, number)
	}
}

// lose records a failed sync of the bytes [off, off+length): the kernel has
// marked their pages clean, although the device never got them.
func (n *inode) lose(off, length int64) {
	if n.lost == nil {
		n.lost = map[int64]struct{}{}
	}
	for number := range n.dirty {
		if number*sectorBytes >= off && number*sectorBytes < off+length {
			n.lost[number*sectorBytes/pageBytes] = struct{}{}
		}
	}
}
