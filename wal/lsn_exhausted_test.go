package wal_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestLastLSN appends up to the last LSN there is, and no further.
func TestLastLSN(t *testing.T) {
	l, dir := newTestLog(t, small())
	for _, next := range []wal.LSN{0, wal.MaxLSN + 1} {
		if err := l.Reset(next); !errors.Is(err, wal.ErrOptions) {
			t.Fatalf("reset to %d: %v", next, err)
		}
	}
	must(t, l.Reset(wal.MaxLSN-2))
	appendRecords(t, l, 1, 100)
	awaitPrepared(t, l, dir)
	before := readDir(t, dir)
	if _, err := l.AppendBatch([][]byte{{1}, {2}, {3}}); !errors.Is(err, wal.ErrExhausted) {
		t.Fatalf("a batch of one record too many: %v", err)
	}
	unchanged(t, "the refused batch", dir, before)
	appendRecords(t, l, 2, 100)
	for range 2 {
		if lsn, err := l.Append(nil); !errors.Is(err, wal.ErrExhausted) {
			t.Fatalf("append behind the last LSN: %d, %v", lsn, err)
		}
		must(t, l.Sync())
		for _, r := range []*wal.Reader{l.Reader(0), l.Reader(0).Durable(), l.Reader(0).ZeroCopy()} {
			want := wal.MaxLSN - 2
			for ; r.Next(); want++ {
				wantHeld(t, "read", r, want, 100)
			}
			if want != wal.MaxLSN+1 || r.Next() {
				t.Fatalf("the reading ended before %d: %v", want, r.Err())
			}
			must(t, r.Close())
		}
		must(t, l.Close())
		l = openLog(t, dir, small())
	}
	must(t, l.TruncateBack(wal.MaxLSN-1))
	must(t, l.TruncateFront(wal.MaxLSN))
	appendRecords(t, l, 1, 100)
	must(t, l.TruncateFront(wal.MaxLSN+1))
	if l.FirstLSN() != wal.MaxLSN+1 || l.LastLSN() != wal.MaxLSN {
		t.Errorf("%d to %d", l.FirstLSN(), l.LastLSN())
	}
	must(t, l.Reset(1))
}

// TestLastEpoch asks for cuts of a log that has no epoch left: they are refused,
// and it goes on.
func TestLastEpoch(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 5, 100)
	awaitPrepared(t, l, dir)
	wal.SetEpoch(l, math.MaxUint32-1)
	must(t, l.TruncateBack(4))
	must(t, l.Sync())
	before := readDir(t, dir)
	for what, err := range map[string]error{"back": l.TruncateBack(3), "reset": l.Reset(9)} {
		if !errors.Is(err, wal.ErrExhausted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	unchanged(t, "refused cuts", dir, before)
	appendRecords(t, l, 5, 20000)
	must(t, l.TruncateFront(3))
	must(t, l.Close())
	wantRecords(t, openLog(t, dir, small()), 5, 9, 20000)
}

// TestCutListIsBounded notes cuts each of which leaves more than the one before: the
// list stays short, and never says that less was cut than was.
func TestCutListIsBounded(t *testing.T) {
	const cuts = 3 * wal.MaxCuts
	var c wal.CutList
	for epoch := uint32(1); epoch <= cuts; epoch++ {
		c.Add(epoch, wal.LSN(100+epoch))
		if len(c) > wal.MaxCuts {
			t.Fatalf("%d cuts are remembered", len(c))
		}
	}
	for since := uint32(0); since < cuts; since++ {
		low, cut := c.Lowest(since)
		exact := wal.LSN(100 + since + 1)
		if !cut || low > exact || since >= cuts-wal.MaxCuts+1 && low != exact {
			t.Fatalf("the lowest cut since epoch %d left %d, %v; it left %d", since, low, cut, exact)
		}
	}
	if _, cut := c.Lowest(cuts); cut {
		t.Error("there was no cut since the last one")
	}
	c.Add(cuts+1, 50)
	if low, cut := c.Lowest(7); len(c) != 1 || low != 50 || !cut {
		t.Errorf("a cut that left less: %v", c)
	}
}

// TestLastOrdinal fills the last segments that a log can have: behind them an append
// is refused, and all that was appended stays.
func TestLastOrdinal(t *testing.T) {
	const segments = 3
	s := &specimen{t: t, dir: filepath.Join(logDir(t), "log")}
	s.fill(lastSegments(math.MaxInt64 - segments + 1))
	o := small()
	o.SegmentsAhead = 1
	last := wal.LSN(0)
	for range 2 {
		l, err := wal.Open(s.dir, o)
		must(t, err)
		for ; err == nil; last++ {
			_, err = l.Append(record(last+1, 20000))
		}
		last--
		if want := wal.LSN(2 * segments); !errors.Is(err, wal.ErrExhausted) || last != want {
			t.Fatalf("ended behind record %d, want %d: %v", last, want, err)
		}
		if err = l.Reset(7); !errors.Is(err, wal.ErrExhausted) {
			t.Errorf("reset: %v", err)
		}
		must(t, l.Checkpoint())
		wantRecords(t, l, 1, last, 20000)
		must(t, l.Close())
		s.verify(finding{last: last, durable: last, size: 20000})
	}
	l, err := wal.Open(s.dir, o)
	must(t, err)
	must(t, l.TruncateBack(1))
	appendRecords(t, l, 1, 20000)
	must(t, l.Close())
}

// lastSegments returns the files of an empty log whose only segment has that
// ordinal.
func lastSegments(ordinal uint64) map[string][]byte {
	h := frame.Header{UUID: frame.UUID{1}, Ordinal: ordinal, SegmentBytes: wal.MinSegmentBytes, Salt: 2, Epoch: 1, FillBytes: 4096}
	st := frame.Stamp{UUID: h.UUID, Ordinal: ordinal, Salt: h.Salt, First: 1, Epoch: 1, Front: 1}
	seg := make([]byte, h.SegmentBytes)
	header := h.Encode()
	stamp, _ := st.Encode()
	copy(seg[frame.HeaderOffset:], header[:])
	copy(seg[frame.StampOffset:], stamp[:])
	return map[string][]byte{fmt.Sprintf("%016x.wal", ordinal): seg}
}
