package wal

import (
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
)

// assertTail panics where the tail is not what every append relies on. The
// caller holds mu.
func (l *Log) assertTail() {
	assert(l.at.off%frame.Alignment == 0, "tail at offset %d is not aligned", l.at.off)
	assert(l.at.off >= frame.DataOffset && l.at.off <= l.tail.size(), "tail at offset %d is outside of its segment", l.at.off)
	assert(l.at.epoch <= l.epoch, "tail has epoch %d, the log %d: epochs never fall", l.at.epoch, l.epoch)
	assert(l.DurableLSN() <= l.at.lsn, "durable %d is behind the last record %d", l.DurableLSN(), l.at.lsn)
	assert(l.claimed <= l.DurableLSN(), "a frame claims %d, durable is %d", l.claimed, l.DurableLSN())
	assert(len(l.dirty) > 0 && l.dirty[len(l.dirty)-1].seg == l.tail, "the tail is not the last dirty segment")
	for i := 1; i < len(l.dirty); i++ {
		assert(l.dirty[i-1].seg.ordinal+1 == l.dirty[i].seg.ordinal, "dirty segments %d and %d are no neighbours",
			l.dirty[i-1].seg.ordinal, l.dirty[i].seg.ordinal)
	}
	for i, s := range l.ready {
		assert(s.ordinal == l.tail.ordinal+1+uint64(i), "prepared segment %d is no neighbour of %d", s.ordinal, l.tail.ordinal)
	}
}

// assert panics with the message where ok is false.
func assert(ok bool, format string, args ...any) {
	if !ok {
		panic("wal: broken invariant: " + fmt.Sprintf(format, args...))
	}
}
