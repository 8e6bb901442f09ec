package frame_test

import (
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
)

// Two frames are put into a segment, the second chained to the first, and
// checked as a reader does, which knows the segment and its stamp only.
func Example() {
	header := frame.Header{
		UUID: frame.UUID{1, 2, 3}, Ordinal: 1, SegmentBytes: frame.MinSegmentBytes, Salt: 42, Epoch: 1,
	}
	stamp := frame.Stamp{UUID: header.UUID, Ordinal: 1, Salt: 42, First: 1, Epoch: 1, Front: 1}
	_, first := stamp.Encode()
	seed := header.Seed()
	segment := make([]byte, header.SegmentBytes)
	var buf frame.Buffer

	off, link := int64(frame.DataOffset), first
	for i, payload := range []string{"high", "low water"} {
		f := frame.Frame{
			Length: uint32(len(payload)), PayloadCRC: frame.Checksum([]byte(payload)),
			LSN: frame.LSN(i + 1), Epoch: 1, Kind: frame.KindRecord, First: true, Last: true,
		}
		var b []byte
		b, link = buf.Encode(&f, seed, link, off)
		copy(segment[off:], b)
		copy(segment[off+frame.HeaderBytes:], payload)
		off += f.Size()
	}

	off, link = frame.DataOffset, first
	for lsn := frame.LSN(1); ; lsn++ {
		rest := segment[off:]
		f, err := frame.Decode(rest, lsn)
		if err != nil {
			fmt.Println(off, err)
			return
		}
		if f.LSN != lsn || f.Epoch < 1 || !buf.Linked(&f, seed, link, off) {
			fmt.Println(off, "not the next frame")
			return
		}
		payload, ok := f.Payload(rest)
		fmt.Printf("%d LSN %d %q %v\n", off, f.LSN, payload, ok)
		off, link = off+f.Size(), f.Link
	}
	// Output:
	// 20480 LSN 1 "high" true
	// 20512 LSN 2 "low water" true
	// 20552 frame: zero
}

// A mark names the watermark in its payload, and carries the next frame to a
// boundary with the zeros behind.
func ExampleMarkChecksum() {
	var b [frame.MarkBytes]byte
	mark := frame.PutMark(&b, 17)
	const size = 4096 // of the mark, header included
	f := frame.Frame{Kind: frame.KindMark, Length: size - frame.HeaderBytes, LSN: 20, Epoch: 1}
	f.PayloadCRC = frame.MarkChecksum(mark, int64(f.Length))
	var buf frame.Buffer
	h, _ := buf.Encode(&f, 0, 0, frame.DataOffset)

	rest := make([]byte, size)
	copy(rest[copy(rest, h):], mark)
	f, err := frame.Decode(rest, 20)
	payload, ok := f.Payload(rest)
	fmt.Println(err, ok, frame.Mark(payload), f.Size())
	// Output: <nil> true 17 4096
}

// A distance that does not fit names no watermark, never another one.
func ExampleDistance() {
	for _, watermark := range []frame.LSN{99_999_990, 100_000_000, 5} {
		f := frame.Frame{LSN: 100_000_000, Distance: frame.Distance(100_000_000, watermark)}
		fmt.Println(f.Watermark())
	}
	// Output:
	// 99999990 true
	// 0 false
	// 0 false
}
