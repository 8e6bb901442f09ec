package frame_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seawall-wal/seawall/wal/frame"
)

// drawUUID draws a log's identity.
func drawUUID(t *rapid.T) frame.UUID {
	return frame.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
}

// drawCut draws any cut.
func drawCut(t *rapid.T) frame.Cut {
	return frame.Cut{
		Ordinal: rapid.Uint64().Draw(t, "cut.ordinal"),
		Offset:  rapid.Uint64().Draw(t, "cut.offset"),
		LSN:     frame.LSN(rapid.Uint64().Draw(t, "cut.lsn")),
	}
}

// drawHeader draws a valid header.
func drawHeader(t *rapid.T) frame.Header {
	const blocks = frame.BlockBytes
	return frame.Header{
		UUID:         drawUUID(t),
		Ordinal:      rapid.Uint64Min(1).Draw(t, "ordinal"),
		SegmentBytes: blocks * rapid.Int64Range(frame.MinSegmentBytes/blocks, frame.MaxSegmentBytes/blocks).Draw(t, "blocks"),
		Salt:         rapid.Uint64().Draw(t, "salt"),
		Epoch:        rapid.Uint32Min(1).Draw(t, "epoch"),
		FillBytes:    rapid.Uint32().Draw(t, "fill"),
	}
}

// drawStamp draws a valid stamp of a segment.
func drawStamp(t *rapid.T, h *frame.Header) frame.Stamp {
	first := rapid.Uint64Min(1).Draw(t, "first")
	return frame.Stamp{
		UUID: h.UUID, Ordinal: h.Ordinal, Salt: h.Salt,
		First:     frame.LSN(first),
		Previous:  frame.Link(rapid.Uint32().Draw(t, "previous")),
		Epoch:     rapid.Uint32Min(1).Draw(t, "epoch"),
		Cut:       drawCut(t),
		Front:     frame.LSN(rapid.Uint64Min(1).Draw(t, "front")),
		Watermark: frame.LSN(rapid.Uint64Max(first-1).Draw(t, "watermark")),
		Flags:     rapid.Uint32Max(frame.StampReset).Draw(t, "flags"),
	}
}

func TestHeaderRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawHeader(t)
		b := want.Encode()
		got, err := frame.DecodeHeader(b[:])
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestStampRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		want := drawStamp(t, &h)
		b, wantLink := want.Encode()
		got, link, err := frame.DecodeStamp(b[:], &h)
		if diff := cmp.Diff(linkedStamp{want, wantLink}, linkedStamp{got, link}); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestSlotRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := frame.Seed(rapid.Uint32().Draw(t, "seed"))
		want := frame.Slot{
			Counter:   rapid.Uint64Min(1).Draw(t, "counter"),
			Epoch:     rapid.Uint32Min(1).Draw(t, "epoch"),
			Link:      frame.Link(rapid.Uint32().Draw(t, "link")),
			Cut:       drawCut(t),
			Front:     frame.LSN(rapid.Uint64Min(1).Draw(t, "front")),
			Watermark: frame.LSN(rapid.Uint64().Draw(t, "watermark")),
			Tail:      rapid.Uint64().Draw(t, "tail"),
		}
		b := want.Encode(seed)
		got, err := frame.DecodeSlot(b[:], seed)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		other := frame.Seed(rapid.Uint32().Draw(t, "other"))
		if _, err := frame.DecodeSlot(b[:], other); (err == nil) != (seed == other) {
			t.Fatalf("decoded with seed %#x: %v", other, err)
		}
	})
}

func TestDistanceNeverClaimsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lsn, watermark := frame.LSN(rapid.Uint64().Draw(t, "lsn")), frame.LSN(rapid.Uint64().Draw(t, "watermark"))
		if rapid.Bool().Draw(t, "near") {
			watermark = lsn - frame.LSN(rapid.Uint64Max(frame.MaxDistance+2).Draw(t, "distance"))
		}
		f := frame.Frame{LSN: lsn, Distance: frame.Distance(lsn, watermark)}
		w, ok := f.Watermark()
		if ok && w != watermark {
			t.Fatalf("LSN %d names %d, durable is %d", lsn, w, watermark)
		}
		if want := watermark < lsn && lsn-watermark <= frame.MaxDistance; ok != want {
			t.Fatalf("LSN %d, durable %d: names it %v, want %v", lsn, watermark, ok, want)
		}
	})
}

// written is a frame of a drawn chain, and where it lies.
type written struct {
	Frame   frame.Frame
	Payload []byte
	Off     int64
}

// drawChain draws frames and puts them behind a stamp, and returns the segment
// and the place where the chain begins.
func drawChain(t *rapid.T) ([]byte, place, []written) {
	h := drawHeader(t)
	stamp := drawStamp(t, &h)
	stamp.First = min(stamp.First, 1<<64-64)
	if rapid.Bool().Draw(t, "boundary") { // of the LSN's halves
		stamp.First = stamp.First>>32<<32 | 1<<32 - 3
	}
	_, link := stamp.Encode()
	start := place{seed: h.Seed(), link: link, off: frame.DataOffset, lsn: stamp.First - 1, epoch: stamp.Epoch}
	seg := make([]byte, frame.MinSegmentBytes)
	at := start
	var list []written
	for range rapid.IntRange(1, 8).Draw(t, "frames") {
		at.epoch = max(at.epoch, at.epoch+rapid.Uint32Max(1).Draw(t, "cuts"))
		w := written{Off: at.off, Frame: frame.Frame{Kind: frame.KindRecord}}
		w.Payload = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload")
		if rapid.IntRange(0, 3).Draw(t, "mark") == 0 {
			w.Frame.Kind = frame.KindMark
			var b [frame.MarkBytes]byte
			watermark := frame.LSN(rapid.Uint64().Draw(t, "watermark"))
			w.Payload = append(frame.PutMark(&b, watermark), make([]byte, len(w.Payload))...)
		} else {
			w.Frame.First, w.Frame.Last = rapid.Bool().Draw(t, "first"), rapid.Bool().Draw(t, "last")
			w.Frame.Distance = rapid.Uint32Max(frame.MaxDistance).Draw(t, "distance")
		}
		at.put(seg, &w.Frame, w.Payload)
		list = append(list, w)
	}
	return seg, start, list
}

// readChain returns the frames of the chain's valid prefix.
func readChain(seg []byte, at place) []written {
	var list []written
	for {
		off := at.off
		f, payload, rule := at.next(seg)
		if rule != 0 {
			return list
		}
		list = append(list, written{f, append([]byte{}, payload...), off})
	}
}

func TestChainsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seg, start, want := drawChain(t)
		if diff := cmp.Diff(want, readChain(seg, start)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

// TestADamagedBitEndsTheChain flips one bit of a header or payload: the frames
// before it stay valid, it and all behind it are not.
func TestADamagedBitEndsTheChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seg, start, want := drawChain(t)
		i := rapid.IntRange(0, len(want)-1).Draw(t, "victim")
		w := want[i]
		bit := rapid.Int64Range(0, 8*(frame.HeaderBytes+int64(w.Frame.Length))-1).Draw(t, "bit")
		seg[w.Off+bit/8] ^= 1 << (bit % 8)
		if got := readChain(seg, start); len(got) != i {
			t.Fatalf("%d frames are valid, %d lie before the damage", len(got), i)
		}
	})
}

// TestRemainsAreNotRead puts a chain into a segment that held another one, of
// another salt, of which frames lie right behind it.
func TestRemainsAreNotRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, _, _ := drawChain(t)
		seg, start, want := drawChain(t)
		end := want[len(want)-1].Off + want[len(want)-1].Frame.Size()
		copy(seg[end:], old[end:])                               // where a frame may begin
		copy(seg[end+512:], old[frame.DataOffset:][:len(old)/2]) // moved
		if diff := cmp.Diff(want, readChain(seg, start)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}
