package wal

import (
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
)

// assertTail panics where the tail is not what every append relies on. The
// caller holds mu. Only invariants that memory alone can break are checked: what a
// file holds is never a reason to panic.
//
// It runs in builds with the tag invariants, which the tests use, after each append
// (publish) and each sync (acknowledge). In other builds invariants is a constant, and the
// compiler leaves the calls out. What relies on the invariants:
//
//   - alignment and bounds: recovery looks for frames at multiples of 8 within a segment;
//   - the epoch: remains of a cut are told by a smaller one;
//   - durable: recovery would call the lack of such a record damage;
//   - named watermark: the same, for what the frames themselves say;
//   - dirty: syncs go through it from the oldest segment on, and alignTail takes the last
//     entry for the tail's;
//   - ready: a gap in the ordinals is a missing segment.
func (l *Log) assertTail() {
	switch durable := l.DurableLSN(); {
	case l.at.Off%frame.Alignment != 0:
		broken("the tail at offset %d is not aligned", l.at.Off)
	case l.at.Off < frame.DataOffset || l.at.Off > l.tail.size():
		broken("the tail at offset %d is outside of its segment", l.at.Off)
	case l.at.Epoch > l.epoch:
		broken("the tail has epoch %d, the log %d: epochs never fall", l.at.Epoch, l.epoch)
	case durable > l.at.LSN:
		broken("durable %d is behind the last record %d", durable, l.at.LSN)
	case l.namedWatermark > durable:
		broken("a frame names the watermark %d, durable is %d", l.namedWatermark, durable)
	case len(l.dirty) == 0 || l.dirty[len(l.dirty)-1].seg != l.tail:
		broken("the tail is not the last dirty segment")
	}
	for i := 1; i < len(l.dirty); i++ {
		if a, b := l.dirty[i-1].seg.ordinal, l.dirty[i].seg.ordinal; a+1 != b {
			broken("dirty segments %d and %d are no neighbours", a, b)
		}
	}
	for i, s := range l.ready {
		if s.ordinal != l.tail.ordinal+1+uint64(i) {
			broken("prepared segment %d is no neighbour of %d", s.ordinal, l.tail.ordinal)
		}
	}
}

// broken panics with the message.
func broken(format string, args ...any) {
	panic("wal: broken invariant: " + fmt.Sprintf(format, args...))
}
