package frame_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
)

// TestFramesDoNotAllocate covers what appending and reading do for each frame.
func TestFramesDoNotAllocate(t *testing.T) {
	at := sampleStart()
	payload := make([]byte, 100)
	p, f := encoded(t, at, frame.Frame{Kind: frame.KindRecord, Distance: 1}, payload)
	buf := new(frame.Buffer)
	mark := new([frame.MarkBytes]byte)
	var sum uint64 // of all results, so that none is left out
	for _, tt := range []struct {
		name string
		run  func()
	}{
		{"Checksum", func() { sum += uint64(frame.Checksum(payload)) }},
		{"Distance", func() { sum += uint64(frame.Distance(9, 3)) }},
		{"Buffer.Encode", func() {
			b, link := buf.Encode(&f, at.seed, at.link, at.off)
			sum += uint64(link) + uint64(b[0])
		}},
		{"PutMark", func() { sum += uint64(frame.PutMark(mark, at.lsn)[0]) }},
		{"MarkChecksum", func() { sum += uint64(frame.MarkChecksum(mark[:], 4072)) }},
		{"Decode", func() {
			d, err := frame.Decode(p, at.lsn)
			if err != nil {
				t.Fatal(err)
			}
			sum += uint64(d.LSN)
		}},
		{"Decode of zeros", func() {
			if _, err := frame.Decode(payload, at.lsn); err == nil {
				t.Fatal("zeros decode")
			}
		}},
		{"Buffer.Linked", func() {
			if !buf.Linked(&f, at.seed, at.link, at.off) {
				t.Fatal("not linked")
			}
		}},
		{"Frame.Payload", func() {
			if _, ok := f.Payload(p); !ok {
				t.Fatal("payload is not valid")
			}
		}},
	} {
		if n := testing.AllocsPerRun(100, tt.run); n != 0 {
			t.Errorf("%s allocates %v times", tt.name, n)
		}
	}
	if sum == 0 {
		t.Error("nothing was computed")
	}
}

// BenchmarkEncode is what a record costs before it is copied: the checksum of
// its payload, then its header.
func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{100, 1 << 10} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			at := sampleStart()
			payload := make([]byte, n)
			buf := new(frame.Buffer)
			f := frame.Frame{Kind: frame.KindRecord, Length: uint32(n), LSN: at.lsn, Epoch: at.epoch}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				f.LSN++
				f.PayloadCRC = frame.Checksum(payload)
				_, at.link = buf.Encode(&f, at.seed, at.link, frame.DataOffset)
			}
		})
	}
}

// BenchmarkDecode is what reading the same record costs, all rules checked.
func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{100, 1 << 10} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			at := sampleStart()
			p, _ := encoded(b, at, frame.Frame{Kind: frame.KindRecord}, make([]byte, n))
			buf := new(frame.Buffer)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				f, err := frame.Decode(p, at.lsn)
				if err != nil || !buf.Linked(&f, at.seed, at.link, at.off) {
					b.Fatal("not valid")
				}
				if _, ok := f.Payload(p); !ok {
					b.Fatal("payload is not valid")
				}
			}
		})
	}
}
