package frame_test

import (
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
)

// TestChain checks frames against a place by each of the rules: one that breaks it is
// invalid, whatever else is right.
func TestChain(t *testing.T) {
	const seed = frame.Seed(99)
	at := frame.Place{Off: 20480, Link: 7, LSN: 1<<32 + 5, Epoch: 3}
	record := frame.Frame{Length: 2, LSN: at.LSN + 1, Epoch: 3, Kind: frame.KindRecord, First: true, Last: true}
	mark := frame.Frame{Length: frame.MarkBytes, LSN: at.LSN, Epoch: 3, Kind: frame.KindMark}
	with := func(f frame.Frame, change func(*frame.Frame)) frame.Frame {
		change(&f)
		return f
	}
	for _, c := range []struct {
		name string
		f    frame.Frame
		at   func(*frame.Place)
		seed frame.Seed
		want error
	}{
		{name: "a record", f: record},
		{name: "a watermark", f: mark},
		{name: "a record of a later epoch", f: with(record, func(f *frame.Frame) { f.Epoch = 9 })},
		{name: "part of a batch", f: with(record, func(f *frame.Frame) { f.First = false })},
		{name: "an unknown kind", f: with(record, func(f *frame.Frame) { f.Kind = 3 }), want: frame.ErrInvalid},
		{name: "a watermark in a batch", f: with(mark, func(f *frame.Frame) { f.Last = true }), want: frame.ErrInvalid},
		{name: "longer than the segment", f: with(record, func(f *frame.Frame) { f.Length = 90 }), want: frame.ErrInvalid},
		{name: "a watermark without space", f: with(mark, func(f *frame.Frame) { f.Length = 7 }), want: frame.ErrInvalid},
		{name: "another predecessor", f: record, at: func(p *frame.Place) { p.Link++ }, want: frame.ErrInvalid},
		{name: "another place", f: record, at: func(p *frame.Place) { p.Off += 8 }, want: frame.ErrInvalid},
		{name: "another segment", f: record, seed: 1, want: frame.ErrInvalid},
		{name: "a record with its predecessor's LSN", f: with(record, func(f *frame.Frame) { f.LSN-- }), want: frame.ErrInvalid},
		{name: "a record that skips an LSN", f: with(record, func(f *frame.Frame) { f.LSN++ }), want: frame.ErrInvalid},
		{name: "a record 2^32 further", f: with(record, func(f *frame.Frame) { f.LSN += 1 << 32 }), want: frame.ErrInvalid},
		{name: "a watermark with an LSN of its own", f: with(mark, func(f *frame.Frame) { f.LSN++ }), want: frame.ErrInvalid},
		{name: "an earlier epoch", f: with(record, func(f *frame.Frame) { f.Epoch-- }), want: frame.ErrInvalid},
	} {
		var buf frame.Buffer
		h, link := buf.Encode(&c.f, seed, at.Link, at.Off)
		b := append(append([]byte{}, h...), make([]byte, 64)...)
		chain := frame.Chain{Place: at, Seed: seed ^ c.seed}
		if c.at != nil {
			c.at(&chain.Place)
		}
		before := chain.Place
		var got frame.Frame
		err := chain.Next(b, &got)
		if !errors.Is(err, c.want) || chain.Place != before {
			t.Errorf("%s: %v, want %v; at %+v", c.name, err, c.want, chain.Place)
			continue
		}
		if c.want != nil {
			continue
		}
		chain.Pass(&got)
		want := frame.Place{Off: at.Off + c.f.Size(), Link: link, LSN: c.f.LSN, Epoch: c.f.Epoch}
		if chain.Place != want || got.Link != link {
			t.Errorf("%s: behind it is %+v, want %+v", c.name, chain.Place, want)
		}
	}
	chain := frame.Chain{Place: at, Seed: seed}
	if err := chain.Next(make([]byte, 64), new(frame.Frame)); !errors.Is(err, frame.ErrZero) {
		t.Errorf("zeros: %v", err)
	}
}

// TestFollows checks a frame against the one before it, whose own predecessor is lost.
func TestFollows(t *testing.T) {
	var buf frame.Buffer
	chain := frame.Chain{Seed: 5}
	before := frame.Frame{LSN: 8, Epoch: 2, Link: 77}
	f := frame.Frame{LSN: 9, Epoch: 2, Kind: frame.KindRecord, First: true, Last: true}
	h, _ := buf.Encode(&f, 5, 77, 800)
	got, err := frame.Decode(append([]byte{}, h...), 8)
	if err != nil || !chain.Follows(&got, &before, 800) {
		t.Fatalf("a frame does not follow the one before it: %v", err)
	}
	for name, change := range map[string]func(before, f *frame.Frame, off *int64){
		"link":   func(b, _ *frame.Frame, _ *int64) { b.Link++ },
		"LSN":    func(b, _ *frame.Frame, _ *int64) { b.LSN++ },
		"epoch":  func(b, _ *frame.Frame, _ *int64) { b.Epoch++ },
		"offset": func(_, _ *frame.Frame, off *int64) { *off += 8 },
	} {
		b, f, off := before, got, int64(800)
		if change(&b, &f, &off); chain.Follows(&f, &b, off) {
			t.Errorf("a frame follows one with another %s", name)
		}
	}
}

// TestHead decodes what the blocks in front of a segment's frames say, and what is
// left of it where one of them is lost or not there.
func TestHead(t *testing.T) {
	hd := frame.Header{UUID: frame.UUID{1}, Ordinal: 4, SegmentBytes: frame.MinSegmentBytes, Salt: 6, Epoch: 2}
	st := frame.Stamp{UUID: hd.UUID, Ordinal: 4, Salt: 6, First: 30, Previous: 9, Epoch: 2, Front: 3, Watermark: 20}
	slot := func(counter uint64) []byte {
		s := frame.Slot{Counter: counter, Epoch: 2, Link: 11, Front: 3, Watermark: 31, Tail: 20528}
		b := s.Encode(hd.Seed())
		return b[:]
	}
	p := make([]byte, frame.DataOffset)
	header := hd.Encode()
	stamp, link := st.Encode()
	copy(p, header[:])
	copy(p[frame.StampOffset:], stamp[:])
	copy(p[frame.SlotOffset:], slot(8))
	h := frame.DecodeHead(p)
	if h.HeaderErr != nil || h.StampErr != nil || h.Header != hd || h.Stamp != st || h.Link != link || h.Seed != hd.Seed() {
		t.Errorf("%+v", h)
	}
	if want := (frame.Place{Off: frame.DataOffset, Link: link, LSN: 29, Epoch: 2}); h.Start() != want {
		t.Errorf("starts at %+v, want %+v", h.Start(), want)
	}
	if !errors.Is(h.SlotErrs[1], frame.ErrZero) || h.Newest() != 0 {
		t.Errorf("slots %v, newest %d", h.SlotErrs, h.Newest())
	}
	copy(p[frame.SlotOffset+frame.BlockBytes:], slot(9))
	if h = frame.DecodeHead(p); h.Newest() != 1 {
		t.Errorf("the newest slot is %d", h.Newest())
	}
	if want := (frame.Place{Off: 20528, Link: 11, LSN: 31, Epoch: 2}); h.Slots[1].Place(2) != want {
		t.Errorf("the slot names %+v, want %+v", h.Slots[1].Place(2), want)
	}
	for n := range p { // shorter ones have less, and nothing else
		if n != 0 && n%97 != 0 {
			continue
		}
		h = frame.DecodeHead(p[:n])
		hasHeader, hasStamp := n >= frame.SegmentHeaderBytes, n >= frame.StampOffset+frame.StampBytes
		if (h.HeaderErr == nil) != hasHeader || (h.StampErr == nil) != hasStamp || (h.Newest() >= 0) != (n >= frame.SlotOffset+frame.SlotBytes) {
			t.Fatalf("%d bytes: %v, %v, newest slot %d", n, h.HeaderErr, h.StampErr, h.Newest())
		}
	}
	p[20] ^= 1
	if h = frame.DecodeHead(p); h.HeaderErr == nil || h.StampErr == nil || h.Newest() != -1 {
		t.Errorf("without a header: %+v", h)
	}
}

// TestControlLater joins blocks of several segments: those of the latest epoch count,
// and of each word the greatest.
func TestControlLater(t *testing.T) {
	a := frame.Control{Epoch: 2, Front: 5, Appended: 90, Durable: 40, Next: 7}
	b := frame.Control{Epoch: 2, Front: 4, Appended: 95, Durable: 41}
	want := frame.Control{Epoch: 2, Front: 5, Appended: 95, Durable: 41}
	if a.Later(b) != want || b.Later(a) != want {
		t.Errorf("%+v, %+v, want %+v", a.Later(b), b.Later(a), want)
	}
	c := frame.Control{Epoch: 3, Front: 1, Appended: 2, Durable: 2, Next: 9}
	want = frame.Control{Epoch: 3, Front: 1, Appended: 2, Durable: 2}
	if a.Later(c) != want || c.Later(a) != want {
		t.Errorf("%+v, %+v, want %+v", a.Later(c), c.Later(a), want)
	}
	if a.CutSince(a) || !c.CutSince(a) || !b.CutSince(a) || b.CutSince(frame.Control{Epoch: 2, Front: 4}) {
		t.Error("a cut is seen where none was, or one is not")
	}
}
