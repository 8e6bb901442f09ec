package recovery

const (
	// touchBytes is how far ahead of the frame at hand bytes are made readable.
	touchBytes = 1 << 20
	// windowBytes is how much stays readable behind it: a file that is no longer
	// is made readable once, however often recovery goes back in it.
	windowBytes = 4 << 20
)

// window is the part of a segment that can be read: a run of bytes that moves
// through it. So what is needed in memory does not depend on the segment's size.
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
// where the window is, or begins a new one. It reads ahead by touchBytes, and keeps
// windowBytes behind, since a search may go back to an earlier frame.
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
// in ascending order.
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
