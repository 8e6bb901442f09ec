//go:build linux

package blockdev

import (
	"fmt"
	"slices"
	"sort"
)

// Recording is what a disk has recorded.
type Recording struct {
	Layer
}

// End returns the view of all that was recorded.
func (r *Recording) End() View { return View{Layer: r.ID, Cut: len(r.Events)} }

// Epoch is what lies between two flushes. What came before it is in each of its
// states; each of its writes may be missing.
type Epoch struct {
	From int // the first request behind the flush before, or 0
	To   int // the flush that ends it, or the end of the recording
}

// Epochs returns the epochs, in order. Failed flushes and those that lie end
// none.
func (r *Recording) Epochs() []Epoch {
	var list []Epoch
	from := 0
	for i := range r.Events {
		if e := &r.Events[i]; e.Op == Flush && !e.Failed && !e.Lied {
			list = append(list, Epoch{from, i})
			from = i + 1
		}
	}
	return append(list, Epoch{from, len(r.Events)})
}

// Index tells what is made of a recording by some of its requests. It is not
// changed once it was made.
type Index struct {
	r       *Recording
	sectors map[int64][]sumAt
	keys    []uint64 // of the contents before each request
}

// sumAt is what a request makes of a sector.
type sumAt struct {
	event int
	sum   uint64
}

// Index returns an index of the recording.
func (r *Recording) Index() *Index {
	x := &Index{r: r, sectors: make(map[int64][]sumAt), keys: make([]uint64, 0, len(r.Events)+1)}
	key := uint64(0)
	for i := range r.Events {
		x.keys = append(x.keys, key)
		e := &r.Events[i]
		for k := range e.Sectors() {
			n, sum := e.sector(k)
			list := x.sectors[n]
			old := r.Below[n]
			if len(list) > 0 {
				old = list[len(list)-1].sum
			}
			key ^= old ^ sum
			x.sectors[n] = append(list, sumAt{i, sum})
		}
	}
	x.keys = append(x.keys, key)
	return x
}

// sector returns the number of one of a request's sectors, and the sum of what
// the request makes of it.
func (e *Event) sector(i int) (number int64, sum uint64) {
	if e.Op == Write {
		sum = e.Sums[i]
	}
	return e.Off/SectorBytes + int64(i), sum
}

// Key returns the key of a content, which is equal for equal contents: all
// requests before from, and the kept ones, in order, but for lost sectors.
func (x *Index) Key(from int, kept []int, lost map[int][]int) uint64 {
	key := x.keys[from]
	now := make(map[int64]uint64)
	for _, n := range kept {
		e := &x.r.Events[n]
		for i := range e.Sectors() {
			if slices.Contains(lost[n], i) {
				continue
			}
			number, sum := e.sector(i)
			old, ok := now[number]
			if !ok {
				old = x.before(number, from)
			}
			key ^= old ^ sum
			now[number] = sum
		}
	}
	return key
}

// before returns the sum of a sector before a request.
func (x *Index) before(number int64, event int) uint64 {
	list := x.sectors[number]
	i := sort.Search(len(list), func(i int) bool { return list[i].event >= event })
	if i == 0 {
		return x.r.Below[number]
	}
	return list[i-1].sum
}

// Prove checks the recording against what the disk itself kept of its content: at
// each flush, what its requests up to there make is what the disk held when it
// was asked to flush. So whatever was answered before a flush is in every later
// state: a request that is missing, or was changed, is found out.
func (r *Recording) Prove() error {
	for i := range r.Events {
		if e := &r.Events[i]; e.Op == Write && len(e.Sums) != e.Sectors() {
			return fmt.Errorf("blockdev: write %d has %d sums of %d sectors", i, len(e.Sums), e.Sectors())
		}
	}
	x := r.Index()
	acks := 0
	for i := range r.Events {
		e := &r.Events[i]
		if e.Acks < acks || e.Acks > len(r.Acks) {
			return fmt.Errorf("blockdev: request %d has heard %d acknowledgements, the one before %d of %d", i, e.Acks, acks, len(r.Acks))
		}
		acks = e.Acks
		if e.Op == Flush && x.keys[i] != e.Digest {
			return fmt.Errorf("blockdev: the recording is not what the disk held at flush %d: a request before it is missing, or is another", i)
		}
	}
	return nil
}
