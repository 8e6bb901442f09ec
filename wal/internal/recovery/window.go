package recovery

const (
	// touchBytes is how far ahead of the frame at hand bytes are made readable.
	touchBytes = 1 << 20
	// windowBytes is how much stays readable behind it: a file that is no longer
	// is made readable once, however often the judgement goes back in it.
	windowBytes = 4 << 20
	// peekBytes is how much is made readable around a header that lies far ahead,
	// a multiple of every page size; maxPeeked is how many of these at once.
	peekBytes = 64 << 10
	maxPeeked = 256
)

// window is the part of a segment that can be read: a run of bytes that moves
// through it, and some places ahead of that. So what is needed in memory does not
// depend on the segment's size.
type window struct {
	data   []byte // all of the segment
	file   Bytes
	note   func(error) error // takes what Touch finds, and returns any other error
	low    int64             // bytes [low, ready) can be read
	ready  int64
	peeked map[int64]struct{} // offsets of what can be read besides
	moved  func()             // called when ready has risen
	stop   func() error       // asked when the window has moved, or nil
}

// need makes the bytes [from, to) readable, in one piece.
func (w *window) need(from, to int64) error {
	if from >= w.low && to <= w.ready {
		return nil
	}
	return w.move(from, to)
}

// move is need for bytes that are not all within the window. It goes on from
// where the window is, or begins a new one.
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

// peek makes the bytes [from, to) readable, which lie ahead of at. They may lie
// anywhere: what claims that they matter is not proved to be a frame.
func (w *window) peek(at, from, to int64) error {
	if to <= w.ready || to-at <= touchBytes {
		return w.need(at, to)
	}
	if len(w.peeked) >= maxPeeked {
		w.forget()
	}
	if w.peeked == nil {
		w.peeked = make(map[int64]struct{})
	}
	for unit := from &^ (peekBytes - 1); unit < to; unit += peekBytes {
		if _, ok := w.peeked[unit]; ok {
			continue
		}
		if err := w.note(w.file.Touch(unit, min(unit+peekBytes, int64(len(w.data))))); err != nil {
			return err
		}
		w.peeked[unit] = struct{}{}
	}
	return nil
}

// forget gives up what was looked at ahead of the window.
func (w *window) forget() {
	for unit := range w.peeked {
		// What is in the window goes with it.
		end := min(unit+peekBytes, int64(len(w.data)))
		if to := min(end, w.low); unit < to { // the window went past it
			w.file.Release(unit, to)
		}
		if from := max(unit, w.ready); from < end {
			w.file.Release(from, end)
		}
	}
	w.peeked = nil
}
