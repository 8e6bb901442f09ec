package wal

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// headFile is a segment's file as Inspect reads it: its head, and of the rest
// what is in memory already.
type headFile struct {
	*cachedFile
	says   bool   // the kernel says which pages are in memory
	headIn []bool // the head's pages that were in memory, before anything was read
}

var _ recovery.Bytes = (*headFile)(nil)

// errHeadsOnly reports a read that Inspect must not make.
var errHeadsOnly = errors.New("wal: only heads are read")

// Head implements recovery.Bytes. Pages that are not in memory are read around
// the page cache: the kernel writes nothing back for that, since a page that is
// not there is not dirty, and leaves no page behind.
func (h *headFile) Head() ([]byte, error) {
	if h.head != nil {
		return h.head.bytes(), nil
	}
	// Where it has to go through the cache after all, no more than this is
	// brought in.
	f, err := h.held.use()
	if err != nil {
		return nil, err
	}
	_ = unix.Fadvise(f.Fd(), 0, 0, unix.FADV_RANDOM) // a hint
	head := make([]byte, min(h.size, frame.DataOffset))
	if err := errors.Join(h.read(head, 0), h.endDirect()); err != nil {
		return nil, err
	}
	h.head = keepHead(head)
	return head, nil
}

// read reads all of p, which is of the head.
func (h *headFile) read(p []byte, at int64) error {
	f, err := h.held.use()
	if err != nil {
		return err
	}
	for off, to := at, at+int64(len(p)); off < to; {
		page := int64(pageSize)
		end := min((off/page+1)*page, to)
		var err error
		n := 0
		if i := off / page; !h.says || i >= int64(len(h.headIn)) || h.headIn[i] { // or behind its end
			n, err = f.ReadAt(p[off-at:end-at], off)
		} else {
			n, _, err = f.ReadDirect(p[off-at:end-at], off)
		}
		if n < int(end-off) {
			if err == nil || isEOF(err) {
				err = errShorter
			}
			return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off+int64(n), err)
		}
		off = end
	}
	return nil
}

// board is cachedFile.board that brings no page in.
func (h *headFile) board() board {
	head := make([]byte, frame.BoardOffset+frame.BoardBytes)
	err := h.read(head[frame.StampOffset:], frame.StampOffset)
	if errors.Join(err, h.endDirect()) != nil {
		return board{}
	}
	return boardIn(head)
}

// boardIn returns the readers' block of a segment with that head, or zeros where
// it has no stamp.
func boardIn(head []byte) board {
	if len(head) < frame.BoardOffset+frame.BoardBytes || recovery.LastNonzero(head[frame.StampOffset:][:frame.StampBytes]) == 0 {
		return board{}
	}
	return boardOf(head[frame.BoardOffset:])
}

// Load implements recovery.Bytes.
func (h *headFile) Load() ([]byte, error) { return nil, errHeadsOnly }

// Touch implements recovery.Bytes.
func (h *headFile) Touch(int64, int64) error { return errHeadsOnly }

// Release implements recovery.Bytes.
func (h *headFile) Release(int64, int64) {}

// Unload implements recovery.Bytes.
func (h *headFile) Unload() {}

// witness returns the newest valid slot, or zeros.
func (h *headFile) witness() frame.Slot {
	var newest frame.Slot
	head := h.head.bytes()
	hd, err := frame.DecodeHeader(head)
	if err != nil || len(head) < frame.DataOffset {
		return newest
	}
	for i := range frame.Slots {
		slot, err := frame.DecodeSlot(head[frame.SlotOffset+i*frame.BlockBytes:], hd.Seed())
		if err == nil && slot.Counter > newest.Counter {
			newest = slot
		}
	}
	return newest
}

// follow finds out where the log's segments end, and how many bytes are at
// risk: it follows the frame headers that are in memory.
func (x *inspecting) follow() error {
	in := x.in
	known := true
	for i, s := range x.res.Segments {
		info := &in.Segments[i]
		switch s.State {
		case recovery.StateFull, recovery.StateLeftover:
			// To the last frame that fitted: where that ends costs reading.
			info.Used = info.Size
		case recovery.StateActive:
			info.Used = frame.DataOffset
		}
		if s.State != recovery.StateActive && (s.State != recovery.StateFull || s.Last <= in.DurableLSN) {
			continue
		}
		t, ok := x.heads[i].trail(in.DurableLSN)
		if ok {
			if err := t.follow(s.Last); err != nil {
				return err
			}
		}
		if t.lsn == s.Last {
			info.Used, info.UsedKnown = t.off, true
		} else if s.State == recovery.StateActive {
			info.Used = max(info.Used, t.off)
		}
		if s.Last > in.DurableLSN {
			known = known && info.UsedKnown && t.from != 0
			in.AtRisk.Bytes += t.off - t.from
		}
	}
	if in.AtRisk.BytesKnown = known; !known {
		in.AtRisk.Bytes = 0
	}
	return nil
}

// trail is a walk along the frame headers of a segment that are in memory.
type trail struct {
	place
	h       *headFile
	seed    frame.Seed
	buf     frame.Buffer
	durable LSN
	from    int64 // where the first frame behind the durable ones begins, or 0
	mem     *durability.Mapping
	in      []bool // the pages from inFrom on that are in memory
	inFrom  int64
}

// trail returns the start of a walk: the newest witness that is not behind the
// durable LSN, or the first frame. There is none where the head does not tell.
func (h *headFile) trail(durable LSN) (*trail, bool) {
	t := &trail{h: h, durable: durable}
	head := h.head.bytes()
	hd, err := frame.DecodeHeader(head)
	if err != nil || !h.says || len(head) < frame.DataOffset {
		return t, false
	}
	st, link, err := frame.DecodeStamp(head[frame.StampOffset:], &hd)
	if err != nil {
		return t, false
	}
	t.seed = hd.Seed()
	t.place = place{off: frame.DataOffset, link: link, lsn: st.First - 1, epoch: st.Epoch}
	w := h.witness()
	if at := int64(w.Tail); w.Watermark >= st.First && w.Watermark <= durable && at > t.off && at <= h.size {
		t.place = place{off: at, link: w.Link, lsn: w.Watermark, epoch: st.Epoch}
	}
	return t, true
}

// follow goes on behind the record with that LSN and the marks behind it, as far
// as the headers are in memory.
func (t *trail) follow(last LSN) (err error) {
	f, err := t.h.held.use()
	if err != nil {
		return err
	}
	if t.mem, err = f.Map(t.h.size, false); err != nil {
		return err
	}
	// What is read of it brings nothing else in.
	if err = t.mem.Advise(durability.AdviceRandom, 0, t.h.size); err == nil {
		err = durability.Guard(func() error { return t.walk(last) })
	}
	return errors.Join(err, t.mem.Unmap())
}

// walk is follow with the file mapped.
func (t *trail) walk(last LSN) error {
	data := t.mem.Bytes()
	for {
		if t.lsn >= t.durable && t.from == 0 {
			t.from = t.off
		}
		end := t.off + frame.HeaderBytes
		if end > t.h.size {
			return nil
		}
		if in, err := t.isIn(t.off, end); err != nil || !in {
			return err
		}
		f, err := frame.Decode(data[t.off:], t.lsn)
		if err != nil || f.Epoch < t.epoch || !t.buf.Linked(data[t.off:], &f, t.seed, t.link, t.off) {
			return nil
		}
		if f.Kind == frame.KindRecord && t.lsn == last {
			return nil
		}
		t.place = place{off: t.off + f.Size(), link: f.Link, lsn: f.LSN, epoch: f.Epoch}
	}
}

// isIn reports whether all pages of a range are in memory. The kernel is asked
// about many at once.
func (t *trail) isIn(from, to int64) (bool, error) {
	page := int64(pageSize)
	if to > t.inFrom+int64(len(t.in))*page {
		var err error
		t.inFrom = from / page * page
		if t.in, err = t.mem.Resident(t.inFrom, min(populateBytes, t.h.size-t.inFrom)); err != nil {
			return false, err
		}
	}
	for off := from; off < to; off = (off/page + 1) * page {
		if !t.in[(off-t.inFrom)/page] {
			return false, nil
		}
	}
	return true, nil
}
