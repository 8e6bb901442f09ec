package wal

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// headFile is a segment's file as Inspect reads it: its head, and of the rest only
// what is in memory already, so that an inspection does not change what it reports.
//
// It implements recovery.Bytes for Survey only, which asks for heads: the other methods fail,
// or do nothing. countPages has set says and headIn before anything is read.
type headFile struct {
	*logdir.MappedFile
	says   bool   // the kernel says which pages are in memory
	headIn []bool // the head's pages that were in memory, before anything was read
}

var _ recovery.Bytes = (*headFile)(nil)

// errHeadsOnly reports a read that Inspect must not make.
var errHeadsOnly = errors.New("wal: only heads are read")

// Head implements recovery.Bytes. Pages that are not in memory are read around
// the page cache: the kernel writes nothing back for that, since a page that is
// not there is not dirty, and leaves no page behind. The head is read once and kept, so
// that what Survey, newestSlot and trail see is the same.
func (h *headFile) Head() ([]byte, error) {
	if h.Kept != nil {
		return h.Kept.Bytes(), nil
	}
	// Where a direct read is not possible, the hint keeps the kernel from reading
	// ahead, so that no more than the head is brought into the page cache.
	f, err := h.Held.Use()
	if err != nil {
		return nil, err
	}
	_ = unix.Fadvise(f.Fd(), 0, 0, unix.FADV_RANDOM) // a hint
	head := make([]byte, min(h.Size, frame.DataOffset))
	if err := errors.Join(h.read(head, 0), h.EndDirect()); err != nil {
		return nil, err
	}
	h.Kept = logdir.KeepHead(head)
	return head, nil
}

// read reads all of p, which is of the head. Each page that was in memory is read
// through the page cache, which then has the newest bytes; any other is read directly,
// so that it is not in memory afterwards either. Where the kernel does not say which
// pages are in memory, all are read through the cache: then nothing is reported that the
// read could change.
func (h *headFile) read(p []byte, at int64) error {
	f, err := h.Held.Use()
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
				err = logdir.ErrTruncatedFile
			}
			return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off+int64(n), err)
		}
		off = end
	}
	return nil
}

// Control is MappedFile.Control, but brings no page into memory. A block that cannot
// be read is zeros. The block is read from the file each time, unlike the head: how it
// changes is what is asked.
func (h *headFile) Control() frame.Control {
	head := make([]byte, frame.ControlOffset+frame.ControlBytes)
	err := h.read(head[frame.StampOffset:], frame.StampOffset)
	if errors.Join(err, h.EndDirect()) != nil {
		return frame.Control{}
	}
	return controlIn(head)
}

// controlIn returns the control block of a segment with that head, or zeros where
// it has no stamp. The block of a prepared segment is not the log's yet.
func controlIn(head []byte) frame.Control {
	if len(head) < frame.ControlOffset+frame.ControlBytes || recovery.LastNonzero(head[frame.StampOffset:][:frame.StampBytes]) == 0 {
		return frame.Control{}
	}
	return frame.DecodeControl(head[frame.ControlOffset:])
}

// Load implements recovery.Bytes.
func (h *headFile) Load() ([]byte, error) { return nil, errHeadsOnly }

// Touch implements recovery.Bytes.
func (h *headFile) Touch(int64, int64) error { return errHeadsOnly }

// Release implements recovery.Bytes.
func (h *headFile) Release(int64, int64) {}

// Unload implements recovery.Bytes.
func (h *headFile) Unload() {}

// newestSlot returns the newest valid slot, or zeros.
func (h *headFile) newestSlot() frame.Slot {
	head := frame.DecodeHead(h.Kept.Bytes())
	if i := head.Newest(); i >= 0 {
		return head.Slots[i]
	}
	return frame.Slot{}
}

// follow finds out where the log's segments end, and how many bytes are at
// risk: it follows the frame headers that are in memory. Where one is not, it stops, and
// the numbers are marked as not known. Segments that are durable as a whole are not
// followed: they add nothing to what is at risk.
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
		if t.LSN == s.Last {
			info.Used, info.UsedKnown = t.Off, true
		} else if s.State == recovery.StateActive {
			info.Used = max(info.Used, t.Off)
		}
		if s.Last > in.DurableLSN {
			known = known && info.UsedKnown && t.from != 0
			in.AtRisk.Bytes += t.Off - t.from
		}
	}
	if in.AtRisk.BytesKnown = known; !known {
		in.AtRisk.Bytes = 0
	}
	return nil
}

// trail is a walk along the frame headers of a segment that are in memory.
//
// It begins at a checkpoint record where it can, since the frames before that need not be in
// memory. durable decides where the bytes at risk begin: right behind that record.
type trail struct {
	frame.Chain
	h       *headFile
	durable LSN
	from    int64 // where the first frame behind the durable ones begins, or 0
	mem     *durability.Mapping
	in      []bool // the pages from inFrom on that are in memory
	inFrom  int64
}

// trail returns the start of a walk: the newest checkpoint record that is not behind the
// durable LSN, or the first frame. It reports false where the head is damaged, or the
// kernel does not tell which pages are in memory. A checkpoint record behind the durable
// LSN would be of no use: the walk has to come past the place where the bytes at risk
// begin.
func (h *headFile) trail(durable LSN) (*trail, bool) {
	t := &trail{h: h, durable: durable}
	if !h.says || h.Size < frame.DataOffset {
		return t, false
	}
	head := frame.DecodeHead(h.Kept.Bytes())
	if head.StampErr != nil {
		return t, false
	}
	t.Seed = head.Seed
	t.Place = head.Start()
	w := h.newestSlot()
	if at := int64(w.Tail); w.Watermark >= head.Stamp.First && w.Watermark <= durable && at > t.Off && at <= h.Size {
		t.Place = w.Place(head.Stamp.Epoch)
	}
	return t, true
}

// follow walks up to the end of the record with that LSN and of the marks behind it,
// or as far as the headers are in memory. The writer may store to these pages at the same
// time. A header that is not whole yet does not fit the chain, and the walk ends there,
// as at the log's end.
func (t *trail) follow(last LSN) (err error) {
	f, err := t.h.Held.Use()
	if err != nil {
		return err
	}
	if t.mem, err = f.Map(t.h.Size, false); err != nil {
		return err
	}
	// What is read of it brings nothing else in.
	if err = t.mem.Advise(durability.AdviceRandom, 0, t.h.Size); err == nil {
		err = durability.Guard(func() error { return t.walk(last) })
	}
	return errors.Join(err, t.mem.Unmap())
}

// walk is follow with the file mapped. Headers are checked against the chain, payloads
// are not read: they need not be in memory.
func (t *trail) walk(last LSN) error {
	data := t.mem.Bytes()
	var f frame.Frame
	for {
		if t.LSN >= t.durable && t.from == 0 {
			t.from = t.Off
		}
		end := t.Off + frame.HeaderBytes
		if end > t.h.Size {
			return nil
		}
		if in, err := t.isIn(t.Off, end); err != nil || !in {
			return err
		}
		if t.Next(data[t.Off:], &f) != nil {
			return nil // the frames end here
		}
		// This is the record behind the last one: all marks before it are passed by now.
		if f.Kind == frame.KindRecord && t.LSN == last {
			return nil
		}
		t.Pass(&f)
	}
}

// isIn reports whether all pages of a range are in memory. The kernel is asked
// about many at once, since frames are small. The answer may be outdated when the page
// is read; then the read brings in that page, and no other (AdviceRandom). A header may
// lie in two pages, and both have to be there.
func (t *trail) isIn(from, to int64) (bool, error) {
	page := int64(pageSize)
	if to > t.inFrom+int64(len(t.in))*page {
		var err error
		t.inFrom = from / page * page
		if t.in, err = t.mem.Resident(t.inFrom, min(segment.PopulateBytes, t.h.Size-t.inFrom)); err != nil {
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
