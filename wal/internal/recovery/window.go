package recovery

const (
	// touchBytes is in which steps bytes are made readable: up to its next multiple.
	touchBytes = 1 << 20
	// windowBytes is how much may stay readable behind the frame at hand: a file that is not
	// longer than that is made readable once, however often recovery goes back in it.
	windowBytes = 4 << 20
)

// window is the part of a segment that can be read: a run of bytes that moves
// through it. So what is needed in memory does not depend on the segment's size: it is
// some MiB, or what one call of need asks for where that is more, as of a record that is
// handed out in one piece.
//
// A byte of data that need was not asked for must not be touched: in a mapping the load
// may fault, which holds up the garbage collector, and in a buffer nothing was read there
// yet. The window tells the file by Touch and Release which bytes it needs, and notes in
// the segment which of them cannot be read.
type window struct {
	data  []byte // all of the segment
	file  Bytes
	note  func(error) error // takes what Touch finds, and returns any other error
	low   int64             // bytes [low, ready) can be read
	ready int64
	moved func()       // called when ready has risen
	stop  func() error // called when the window has moved, or nil
}

// need makes the bytes [from, to) readable, in one piece.
func (w *window) need(from, to int64) error {
	if from >= w.low && to <= w.ready {
		return nil
	}
	return w.move(from, to)
}

// move is need for bytes that are not all within the window. It goes on from
// where the window is, or begins a new one. Its end goes up to a multiple of touchBytes.
// Its start stays where it is, since a search may go back to an earlier frame, until
// windowBytes lie behind; then all of these are released at once. Going back farther than
// that costs a second reading.
func (w *window) move(from, to int64) error {
	if from < w.low || from > w.ready {
		w.file.Release(w.low, w.ready)
		w.low = from &^ (touchBytes - 1)
		w.ready = w.low
	}
	if keep := from &^ (touchBytes - 1); keep-w.low >= windowBytes {
		w.file.Release(w.low, keep)
		w.low = keep
	}
	if end := min((to+touchBytes-1)&^(touchBytes-1), int64(len(w.data))); end > w.ready {
		if err := w.note(w.file.Touch(w.ready, end)); err != nil {
			return err
		}
		w.ready = end
		w.moved()
	}
	if w.stop != nil {
		return w.stop()
	}
	return nil
}

// farWindow is a second, small window outside of the first one: a unit or two at a time,
// in ascending order. By it settle (search.go) looks at headers far ahead, and the first
// window stays where the search goes on.
type farWindow struct {
	*window
	from, to int64 // bytes [from, to) can be read, whole units
}

// need makes the bytes [from, to) readable, which begin no earlier than those of the
// call before. Units that the first window covers are not read twice, and units behind
// are released at once: few bytes of each are needed.
func (g *farWindow) need(from, to int64) error {
	first := from &^ (unitBytes - 1)
	if g.from < first {
		g.release(first)
	}
	for unit := first; unit < to; unit += unitBytes {
		if unit < g.to || unit >= g.low && unit < g.ready {
			continue
		}
		if g.from == g.to {
			g.from = unit
		}
		g.to = min(unit+unitBytes, int64(len(g.data)))
		if err := g.note(g.file.Touch(unit, g.to)); err != nil {
			return err
		}
		if g.stop != nil {
			if err := g.stop(); err != nil {
				return err
			}
		}
	}
	return nil
}

// release releases the bytes of the second window below an offset.
func (g *farWindow) release(below int64) {
	if end := min(below, g.to); g.from < end {
		g.file.Release(g.from, end)
	}
	g.from, g.to = below, max(below, g.to)
}
