package wal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// lived makes a log of 14 records of 10,000 bytes, 4 in each segment, that were
// synced up to the given one when the rest was appended, as the death of its
// process leaves it.
func lived(t testing.TB, durable int) *specimen {
	t.Helper()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, durable, 10000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 14-durable, 10000)
	return takeLive(t, l, dir)
}

// at10024 returns the offset of a frame of a record of 10,000 bytes, by its
// place in its segment.
func at10024(i int64) int64 { return frame.DataOffset + i*10024 }

// tear damages such a frame's payload.
func tear(name string, i int64) func(*specimen) {
	return func(s *specimen) { s.flip(name, at10024(i)+100) }
}

// upTo14 is the range from first to the last record.
func upTo14(first wal.LSN) []wal.Range { return []wal.Range{{First: first, Last: 14}} }

// olderTorn is what is done to logs, and what comes of it.
var olderTorn = []struct {
	name    string
	durable int
	hurt    func(*specimen)
	want    finding
}{
	{
		"not proved durable, first segment", 3, tear(firstName, 3),
		finding{verdict: wal.Torn, last: 3, durable: 3, behind: upTo14(5), saved: savedAs(firstName, secondName, thirdName, fourthName)},
	},
	{
		"not proved durable, second segment", 3, tear(secondName, 0),
		finding{verdict: wal.Torn, last: 4, durable: 3, behind: upTo14(6), saved: savedAs(secondName, thirdName, fourthName)},
	},
	{
		"not proved durable, at a segment's end", 4, func(s *specimen) { s.zero(secondName, at10024(3), at10024(4)) },
		finding{verdict: wal.Torn, last: 7, durable: 4, behind: upTo14(9), saved: savedAs(thirdName, fourthName)},
	},
	{"not proved durable, a whole segment but its header", 4, func(s *specimen) {
		s.zero(secondName, frame.StampOffset, wal.MinSegmentBytes)
	}, finding{verdict: wal.Torn, last: 4, durable: 4, behind: upTo14(9), saved: savedAs(thirdName, fourthName)}},
	{"not proved durable, nothing but later stamps", 4, func(s *specimen) {
		s.zero(secondName, frame.StampOffset, wal.MinSegmentBytes)
		s.zero(thirdName, at10024(0), wal.MinSegmentBytes)
		s.zero(fourthName, at10024(0), wal.MinSegmentBytes)
	}, finding{verdict: wal.Torn, last: 4, durable: 4}},
	{
		"proved durable, first segment", 6, tear(firstName, 3),
		finding{
			verdict: wal.Damaged, last: 3, durable: 6, behind: upTo14(5),
			damage: lostAt(firstName, at10024(3), 4, 4, reasonPayload),
		},
	},
	{
		"proved durable, at a segment's end", 9, func(s *specimen) { s.zero(secondName, at10024(3), at10024(4)) },
		finding{
			verdict: wal.Damaged, last: 7, durable: 9, behind: upTo14(9),
			damage: lostAt(secondName, at10024(3), 8, 8, reasonZeros), opens: 14,
		},
	},
	{"proved durable by a stamp alone", 8, func(s *specimen) {
		s.flip(secondName, at10024(3)+100)
		s.zero(thirdName, at10024(0), wal.MinSegmentBytes)
		s.zero(fourthName, frame.StampOffset, wal.MinSegmentBytes)
	}, finding{verdict: wal.Damaged, last: 7, durable: 8, damage: lostAt(secondName, at10024(3), 8, 8, reasonPayload), opens: 8}},
	{"proved durable by a frame alone", 8, func(s *specimen) {
		s.flip(secondName, at10024(3)+100)
		s.zero(thirdName, frame.StampOffset, frame.StampOffset+frame.StampBytes)
		s.zero(fourthName, frame.StampOffset, wal.MinSegmentBytes)
	}, finding{
		verdict: wal.Damaged, last: 7, durable: 8, damage: lostAt(secondName, at10024(3), 8, 8, reasonPayload),
		behind: []wal.Range{{First: 9, Last: 12}},
	}},
	{"a whole segment but its header", 9, func(s *specimen) {
		s.zero(secondName, frame.StampOffset, wal.MinSegmentBytes)
	}, finding{
		verdict: wal.Damaged, last: 4, durable: 9, behind: upTo14(9),
		damage: lostAt(firstName, at10024(4), 5, 8, reasonZeros),
	}},
}

// TestOlderSegmentTorn tears an older segment while the stamps and frames of
// newer ones are on the disk: pages reach it in any order. Torn is what nothing
// watermarks.
func TestOlderSegmentTorn(t *testing.T) {
	bases := map[int]*specimen{}
	for _, tt := range olderTorn {
		if bases[tt.durable] == nil {
			bases[tt.durable] = lived(t, tt.durable)
		}
		t.Run(tt.name, func(t *testing.T) {
			s := take(t, bases[tt.durable].dir)
			tt.hurt(s)
			tt.want.size, tt.want.anyTorn = 10000, true
			s.analyze(small(), tt.want)
		})
	}
}

// TestEveryCutPoint takes away everything from each byte of an unsynced log on:
// what is left is a prefix by whole batches, torn or clean, and Open goes on
// from there.
func TestEveryCutPoint(t *testing.T) {
	l, dir := newTestLog(t, small())
	for _, sizes := range [][]int{{10}, {0, 30, 1}, {5}, {0}, {8, 8, 8, 8}, {100, 0}, {3}} {
		var batch [][]byte
		for i, n := range sizes {
			batch = append(batch, record(l.LastLSN()+wal.LSN(i)+1, n))
		}
		if _, err := l.AppendBatch(batch); err != nil {
			t.Fatal(err)
		}
	}
	w := study(takeLive(t, l, dir))
	frames := w.was
	whole := w.get(firstName)
	end := frames[len(frames)-1].end()
	f, err := os.OpenFile(filepath.Join(w.dir, firstName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for cut := int64(frame.DataOffset); cut <= end; cut++ {
		if _, err := f.WriteAt(make([]byte, end-cut), cut); err != nil {
			t.Fatal(err)
		}
		last, from := wal.LSN(0), int64(frame.DataOffset)
		for _, p := range frames {
			// A frame is there if all of its bytes are but zeros at its end.
			if cut < p.end() && bytes.ContainsFunc(whole[max(p.off, cut):p.end()], func(r rune) bool { return r != 0 }) {
				break
			}
			if p.Last {
				last, from = p.LSN, p.end()
			}
		}
		want := wal.Clean
		for off := from; off < cut; off++ {
			if whole[off] != 0 {
				want = wal.Torn
			}
		}
		what := fmt.Sprintf("cut at %d", cut)
		rep := w.lawful(what, 0)
		if rep.Verdict != want || rep.LastLSN != last {
			t.Fatalf("%s: %v, last %d; want %v, last %d", what, rep.Verdict, rep.LastLSN, want, last)
		}
		if cut%8 == 1 {
			w.openAgrees(what, rep)
		}
		if _, err := f.WriteAt(whole[cut:end], cut); err != nil {
			t.Fatal(err)
		}
	}
}
