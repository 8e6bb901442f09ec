package recovery

import (
	"cmp"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
)

const (
	// unitBytes is how much is made readable around a header that lies far ahead of
	// the window, a multiple of every page size.
	unitBytes = 64 << 10
	// maxFar is how many headers whose successors lie far ahead are kept at most, and
	// farBytes over how many bytes they are collected before the successors are read.
	maxFar   = 1 << 17
	farBytes = 2 << 20
)

// header is bytes that decode as a frame header, and where that frame and the next
// one would begin.
type header struct {
	frame.Frame
	off, next int64
}

// pair is two frames of which the second could follow the first.
type pair struct {
	a    header
	b    frame.Frame
	seed frame.Seed
}

// findPair returns the first pair from an offset on that passes a test, or nil.
//
// Only headers are read, in one pass. A header says how long its frame is, but bytes
// that are no header may name any length: a search that jumped to each named place
// would read the segment thousands of times. So headers whose successors lie far
// ahead are collected, and then the successors are read in the order of the file.
//
// Each time that they are read, the next collection may span twice as many bytes. So in a
// segment of 64 MiB that is full of far headers, they are read after 2, 6, 14, 30 and 62
// MiB and at the end, unless maxFar, which bounds their memory to some 6 MiB, comes first.
// Each of these readings moves forward through the rest of the segment once.
//
// The pair that begins first is returned, so that no frame before it is passed over. So where
// a pair was found near by, what was collected before is read before it counts.
func (c *cursor) findPair(off, end int64, least frame.LSN, test func(*pair) bool) (*pair, error) {
	var far []header
	var p pair
	span := int64(farBytes)
	for ; off+2*frame.HeaderBytes <= end; off += frame.Alignment {
		n, err := c.zeroRun(off, end)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			off += n - frame.Alignment
			continue
		}
		at, err := c.headerAt(off, end, least, &p.a)
		if err != nil {
			return nil, err
		}
		if at == isFar {
			far = append(far, p.a)
		}
		found := at == isNear && c.follows(&p, test)
		if found || len(far) == maxFar || len(far) > 0 && off-far[0].off >= span {
			first, err := c.settle(far, test)
			if err != nil || first != nil {
				return first, err
			}
			if found {
				return &p, nil
			}
			far, span = far[:0], min(2*span, int64(len(c.data)))
		}
	}
	return c.settle(far, test)
}

// What headerAt found: no header, one whose successor can be read, or one whose
// successor lies far ahead.
const (
	isNone = iota
	isNear
	isFar
)

// headerAt decodes the header at an offset, and makes the one behind it readable
// unless it lies far ahead: out of the window, which would have to grow by as much as the
// header names, on the word of bytes that may be none. A frame whose successor would lie
// behind the end cannot be proved by it, and counts as none.
func (c *cursor) headerAt(off, end int64, least frame.LSN, h *header) (int, error) {
	err := c.need(off, off+frame.HeaderBytes)
	if err != nil {
		return isNone, err
	}
	if h.Frame, err = frame.Decode(c.data[off:], least); err != nil {
		return isNone, nil //nolint:nilerr // there is none
	}
	h.off, h.next = off, off+h.Size()
	behind := h.next + frame.HeaderBytes
	switch {
	case behind > end:
		return isNone, nil
	case behind > c.ready && h.next-off > touchBytes:
		return isFar, nil
	default:
		return isNear, c.need(off, behind)
	}
}

// follows reports whether the second header of a pair, which can be read, could
// follow the first, and passes the test. LSN and epoch are compared first: that refuses
// nearly all bytes that pass for two headers, while most tests compute a CRC.
func (c *cursor) follows(p *pair, test func(*pair) bool) bool {
	var err error
	p.b, err = frame.Decode(c.data[p.a.next:], p.a.LSN)
	before := frame.Place{LSN: p.a.LSN, Epoch: p.a.Epoch}
	return err == nil && before.Continues(&p.b) && test(p)
}

// settle returns the first pair of those that begin with the headers and pass the
// test, if there is one. It sorts the headers by where their successors lie, so that
// these are read in one pass through the file; the pair that begins first still wins.
func (c *cursor) settle(far []header, test func(*pair) bool) (*pair, error) {
	slices.SortFunc(far, func(a, b header) int { return cmp.Compare(a.next, b.next) })
	g := farWindow{window: &c.window}
	var first, p pair
	for i := range far {
		if p.a = far[i]; first.a.next != 0 && p.a.off > first.a.off {
			continue // a pair that begins earlier was found
		}
		if err := g.need(p.a.next, p.a.next+frame.HeaderBytes); err != nil {
			return nil, err
		}
		if c.follows(&p, test) {
			first = p
		}
	}
	g.release(int64(len(c.data)))
	if first.a.next == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &first, nil
}
