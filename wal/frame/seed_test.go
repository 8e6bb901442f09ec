package frame_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/seawall-wal/seawall/wal/frame"
)

// TestSeedOf finds the seed of encoded frames and slots.
func TestSeedOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := frame.Seed(rapid.Uint32().Draw(t, "seed"))
		prev := frame.Link(rapid.Uint32().Draw(t, "prev"))
		off := frame.Alignment * rapid.Int64Range(0, 1<<28).Draw(t, "off")
		f := frame.Frame{
			Kind: frame.KindRecord, First: true, Last: true, Length: 0,
			PayloadCRC: rapid.Uint32().Draw(t, "crc"), Epoch: rapid.Uint32().Draw(t, "epoch"),
			LSN: frame.LSN(rapid.Uint64().Draw(t, "lsn")),
		}
		var b frame.Buffer
		h, _ := b.Encode(&f, seed, prev, off)
		p := append([]byte(nil), h...)
		got, err := frame.Decode(p, f.LSN)
		if err != nil {
			t.Fatal(err)
		}
		if s := b.SeedOf(&got, prev, off); s != seed {
			t.Fatalf("the seed is %x, found %x", seed, s)
		}
		slot := frame.Slot{Counter: 1, Epoch: f.Epoch, Watermark: f.LSN, Front: 1}
		e := slot.Encode(seed)
		if s, ok := frame.SlotSeed(e[:]); !ok || s != seed {
			t.Fatalf("the slot's seed is %x, found %x, %v", seed, s, ok)
		}
		if _, ok := frame.SlotSeed(make([]byte, frame.SlotBytes)); ok {
			t.Fatal("zeros are a slot")
		}
	})
}
