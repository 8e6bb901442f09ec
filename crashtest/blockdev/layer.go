//go:build linux

package blockdev

// layer is what was written since a disk was forked.
type layer struct {
	under  *view // nil: zeros
	events []Event
	acks   []string
	blocks map[int64]*block
	digest uint64

	// plain layers keep what is there, and not how it came about.
	plain bool
}

// block holds the versions of its sectors, in order.
type block [blockSectors][]version

// version is what one request made of a sector.
type version struct {
	event  int32
	sector int32  // of the request
	data   []byte // nil: zeros
}

// view is a layer without some of its requests.
type view struct {
	layer *layer
	cut   int
	lost  map[int32]map[int32]bool // sectors by requests; nil: all of them
}

// newLayer returns an empty layer.
func newLayer(under *view) *layer {
	return &layer{under: under, blocks: make(map[int64]*block)}
}

// whole returns the view of all that the layer has now, and will have.
func (l *layer) whole() *view { return &view{layer: l, cut: 1 << 30} }

// of returns the newest version of a sector that the view has.
func (v *view) of(list []version) *version {
	for i := len(list) - 1; i >= 0; i-- {
		e := &list[i]
		if int(e.event) >= v.cut {
			continue
		}
		if sectors, lost := v.lost[e.event]; lost && (sectors == nil || sectors[e.sector]) {
			continue
		}
		return e
	}
	return nil
}

// read fills p with what the view holds from off on.
func (v *view) read(p []byte, off int64) {
	for len(p) > 0 {
		n := off / BlockBytes
		size := min(int64(len(p)), (n+1)*BlockBytes-off)
		v.readBlock(p[:size], n, int(off%BlockBytes)/SectorBytes)
		p, off = p[size:], off+size
	}
}

// readBlock fills p with sectors of one block.
func (v *view) readBlock(p []byte, n int64, first int) {
	var have [blockSectors]bool
	missing := len(p) / SectorBytes
	for at := v; at != nil && missing > 0; at = at.layer.under {
		b := at.layer.blocks[n]
		if b == nil {
			continue
		}
		for i := range len(p) / SectorBytes {
			if have[i] {
				continue
			}
			e := at.of(b[first+i])
			if e == nil {
				continue
			}
			have[i] = true
			missing--
			to := p[i*SectorBytes : (i+1)*SectorBytes]
			if e.data == nil {
				clear(to)
			} else {
				copy(to, e.data)
			}
		}
	}
	for i := range len(p) / SectorBytes {
		if !have[i] {
			clear(p[i*SectorBytes : (i+1)*SectorBytes])
		}
	}
}

// keep is add for a plain layer: it costs a third.
func (l *layer) keep(e Event, data []byte) {
	for i := range e.Sectors() {
		n := e.Off/SectorBytes + int64(i)
		b := l.blocks[n/blockSectors]
		if b == nil {
			b = new(block)
			l.blocks[n/blockSectors] = b
		}
		list := b[n%blockSectors]
		if len(list) == 0 {
			list = make([]version, 1)
			b[n%blockSectors] = list
		}
		if list[0].data = nil; e.Op == Write {
			list[0].data = data[i*SectorBytes : (i+1)*SectorBytes]
		}
	}
}

// add appends a request, and what it makes of its sectors. The data is the
// layer's from then on.
func (l *layer) add(e Event, data []byte) {
	if l.plain {
		l.keep(e, data)
		return
	}
	number := int32(len(l.events))
	whole := l.whole()
	old := make([]byte, SectorBytes)
	for i := range e.Sectors() {
		n := e.Off/SectorBytes + int64(i)
		ver := version{event: number, sector: int32(i)}
		sum := uint64(0)
		if e.Op == Write {
			ver.data = data[i*SectorBytes : (i+1)*SectorBytes]
			sum = SectorSum(n, ver.data)
			e.Sums = append(e.Sums, sum)
		}
		whole.read(old, n*SectorBytes)
		l.digest ^= SectorSum(n, old) ^ sum
		b := l.blocks[n/blockSectors]
		if b == nil {
			b = new(block)
			l.blocks[n/blockSectors] = b
		}
		b[n%blockSectors] = append(b[n%blockSectors], ver)
	}
	if e.Op == Flush {
		e.Digest = l.digest
	}
	e.Acks = len(l.acks)
	l.events = append(l.events, e)
}
