package wal_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// headGone zeroes header and stamp of segments, and with slots their whole heads.
func headGone(slots bool, names ...string) func(*specimen) {
	end := int64(frame.SlotOffset)
	if slots {
		end = frame.DataOffset
	}
	return func(s *specimen) {
		for _, name := range names {
			s.zero(name, 0, end)
		}
	}
}

// headTests are segments without their heads, in a log that has records 1 to 14
// of 10,000 bytes in segments 1 to 4, all durable, and segments 5 and 6 prepared.
var headTests = []struct {
	name        string
	hurt        func(*specimen)
	last        wal.LSN
	behind      []wal.Extract
	unknown     bool
	first       wal.LSN // what a forced repair leaves
	left        wal.LSN
	lost, saved string
}{
	{
		"header and stamp of the last", headGone(false, fourthName), 12,
		[]wal.Extract{{First: 13, Last: 14, Sure: wal.SureChecksums}},
		true, 1, 12, "[{13 14}]", fourthName,
	},
	{
		"head of the last", headGone(true, fourthName), 12,
		[]wal.Extract{{First: 13, Last: 14, Sure: wal.SureChecksums}},
		true, 1, 12, "[{13 14}]", fourthName,
	},
	{
		"head of the last, and no checkpoint kept", func(s *specimen) {
			headGone(true, fourthName)(s)
			s.forgetCheckpoint()
		}, 12,
		[]wal.Extract{{First: 13, Last: 14, Sure: wal.SureChecksums}},
		true, 1, 12, "[]", fourthName, // nothing tells that they were acknowledged
	},
	{
		"head of one in the middle", headGone(true, secondName), 4,
		[]wal.Extract{{First: 5, Last: 8, Sure: wal.SureChecksums}, {First: 9, Last: 14, Sure: wal.SureChain}},
		false, 1, 4, "[{5 14}]", secondName + thirdName + fourthName,
	},
	{
		"head of the first", headGone(true, firstName), 0,
		[]wal.Extract{{First: 1, Last: 4, Sure: wal.SureChecksums}, {First: 5, Last: 14, Sure: wal.SureChain}},
		false, 15, 14, "[{1 14}]", firstName + secondName + thirdName + fourthName,
	},
	{
		"heads of all with records", headGone(true, firstName, secondName, thirdName, fourthName), 0,
		[]wal.Extract{{First: 1, Last: 14, Sure: wal.SureChecksums}},
		true, 15, 14, "[{1 14}]", firstName + secondName + thirdName + fourthName,
	},
	{
		"header and stamp, and a record", func(s *specimen) {
			headGone(false, secondName)(s)
			s.flip(secondName, frame.DataOffset+10024+100)
		}, 4,
		[]wal.Extract{
			{First: 5, Last: 5, Sure: wal.SureChecksums},
			{First: 7, Last: 8, Sure: wal.SureChecksums},
			{First: 9, Last: 14, Sure: wal.SureChain},
		},
		false, 1, 4, "[{5 14}]", secondName + thirdName + fourthName,
	},
	{
		"header and stamp, and the first frame", func(s *specimen) {
			headGone(false, secondName)(s)
			s.zero(secondName, frame.DataOffset, frame.DataOffset+10024)
		}, 4,
		[]wal.Extract{{First: 6, Last: 8, Sure: wal.SureChecksums}, {First: 9, Last: 14, Sure: wal.SureChain}},
		false, 1, 4, "[{5 14}]", secondName + thirdName + fourthName,
	},
	{
		"header alone", func(s *specimen) { s.zero(fourthName, 0, frame.BlockBytes) }, 12,
		[]wal.Extract{{First: 13, Last: 14, Sure: wal.SureChain}},
		false, 1, 12, "[{13 14}]", fourthName,
	},
}

// TestHeadsGone finds the records of segments that have lost their heads, and says
// how sure it is of them.
func TestHeadsGone(t *testing.T) {
	base := rotated(t)
	for _, tt := range headTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := take(t, base.dir)
			tt.hurt(s)
			if rep := s.extracted(t, tt.behind, 10000); rep.LastLSN != tt.last || rep.Verdict != wal.Damaged {
				t.Errorf("%v, the last record is %d, want %d", rep.Verdict, rep.LastLSN, tt.last)
			}
			plan, err := wal.Repair(s.dir, wal.RepairOptions{Force: true, DryRun: true})
			if err != nil || plan.LostUnknown != tt.unknown {
				t.Errorf("a dry run: an unknown number is lost: %v, %v", plan.LostUnknown, err)
			}
			var saved []string
			for name := range slices.Chunk([]byte(tt.saved), len(firstName)) {
				saved = append(saved, savedAs(string(name))...)
			}
			s.forced(t, tt.first, tt.left, tt.lost, saved)
		})
	}
}

// extracted dumps with all that is behind damage, and compares the records with
// those that appendRecords makes.
func (s *specimen) extracted(t *testing.T, want []wal.Extract, size int) *wal.Report {
	t.Helper()
	var got []wal.Extract
	sure := wal.Sure("")
	o := wal.DumpOptions{Sure: func(s wal.Sure) { sure = s }, Behind: func(lsn wal.LSN, p []byte) error {
		wantRecord(t, lsn, size, p)
		if n := len(got); n > 0 && got[n-1].Last+1 == lsn && got[n-1].Sure == sure {
			got[n-1].Last = lsn
		} else {
			got = append(got, wal.Extract{First: lsn, Last: lsn, Sure: sure})
		}
		return nil
	}}
	_, rep, err := dumped(s.dir, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([2][]wal.Extract{want, want}, [2][]wal.Extract{got, rep.Extracted}); d != "" {
		t.Errorf("handed out and reported (-want +got):\n%s", d)
	}
	return rep
}

// TestFewFramesWithoutHead are segments without a head that have few frames: one
// alone is recognised by its payload's checksum, if that says something.
func TestFewFramesWithoutHead(t *testing.T) {
	for _, tt := range []struct {
		n, size int
		synced  bool
		want    []wal.Extract
	}{
		{1, 100, true, []wal.Extract{{First: 1, Last: 1, Sure: wal.SureChecksums}}},
		{1, 100, false, []wal.Extract{{First: 1, Last: 1, Sure: wal.SureChecksums}}},
		{1, 8, false, []wal.Extract{{First: 1, Last: 1, Sure: wal.SureChecksums}}},
		{1, 7, false, nil},
		{2, 100, false, []wal.Extract{{First: 1, Last: 2, Sure: wal.SureChecksums}}},
		{2, 0, false, nil},
		{3, 0, false, []wal.Extract{{First: 1, Last: 3, Sure: wal.SureChecksums}}},
		{300, 1, false, []wal.Extract{{First: 1, Last: 300, Sure: wal.SureChecksums}}},
	} {
		t.Run(fmt.Sprintf("%d of %d bytes, synced %v", tt.n, tt.size, tt.synced), func(t *testing.T) {
			l, dir := newTestLog(t, small())
			appendRecords(t, l, tt.n, tt.size)
			if tt.synced {
				must(t, l.Checkpoint())
			}
			s := takeLive(t, l, dir)
			headGone(true, firstName)(s)
			s.extracted(t, tt.want, tt.size)
			headGone(true, secondName)(s)
			s.extracted(t, tt.want, tt.size)
			s.forcedAbove(t, len(tt.want) > 0, wal.LSN(tt.n))
		})
	}
}

// TestSinglePairAmongOthers has a segment without a head and with two frames, so that only
// their payloads' checksums vouch for the seed. The second's payload holds pairs of frames
// of other logs, more than the search keeps count of: no seed of theirs counts.
func TestSinglePairAmongOthers(t *testing.T) {
	var others []byte
	for range 12 {
		others = append(others, synced(t, 2, 2).get(firstName)[frame.DataOffset:frame.DataOffset+2*128]...)
	}
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 1, 100)
	if _, err := l.Append(others); err != nil {
		t.Fatal(err)
	}
	s := takeLive(t, l, dir)
	headGone(true, firstName)(s)
	want := [][]byte{record(1, 100), others}
	var got [][]byte
	o := wal.DumpOptions{Behind: func(_ wal.LSN, p []byte) error {
		got = append(got, bytes.Clone(p))
		return nil
	}}
	if _, err := wal.Dump(s.dir, o, func(wal.LSN, []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("%d records were found, not the two of the log", len(got))
	}
}

// forcedAbove repairs with force, and wants the log to go on behind a record that
// was found, and the unknown told.
func (s *specimen) forcedAbove(t *testing.T, found bool, last wal.LSN) {
	t.Helper()
	rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true})
	if err != nil || !rep.LostUnknown || !rep.Trimmed || len(rep.Saved) == 0 {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	if !found {
		last = 0
	}
	l, err := wal.Open(s.dir, small())
	if err != nil {
		t.Fatal(err)
	}
	lsn, err := l.Append(record(last+1, 100))
	if err != nil || lsn != last+1 {
		t.Errorf("appended record %d, want %d: %v", lsn, last+1, err)
	}
	must(t, l.Close())
}

// TestHighLSNsWithoutHead has LSNs whose upper half stands in the slots only, and
// a front and a cut that do.
func TestHighLSNsWithoutHead(t *testing.T) {
	const high = 5<<32 - 3
	l, dir := newTestLog(t, small())
	must(t, l.Reset(high))
	appendRecords(t, l, 10, 100)
	must(t, l.TruncateBack(high+7))
	appendRecords(t, l, 2, 100)
	must(t, l.TruncateFront(high+2))
	must(t, l.Close())
	s := take(t, dir)
	for _, name := range s.segments() {
		headGone(false, name)(s)
	}
	rep := s.extracted(t, []wal.Extract{{First: high + 2, Last: high + 9, Sure: wal.SureChecksums}}, 100)
	if rep.FirstLSN != high+2 {
		t.Errorf("the log begins with %d, want %d", rep.FirstLSN, wal.LSN(high+2))
	}
	s.forcedAbove(t, true, high+9)
}

// TestImitationsWithoutHead has a record whose payload is another log's segment,
// and takes the head away, and the record's own frame: what the payload holds is
// taken for no record as long as the slots tell which frames are the segment's.
func TestImitationsWithoutHead(t *testing.T) {
	other := synced(t, 150, 150).get(firstName)
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	big := bytes.Clone(other[frame.DataOffset : frame.DataOffset+150*128])
	if _, err := l.Append(big); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 3, 100)
	must(t, l.Close())
	base := take(t, dir)
	headGone(false, firstName)(base)
	for _, whole := range []bool{true, false} {
		s := take(t, base.dir)
		want := []wal.LSN{1, 2, 3, 4, 5, 6, 7}
		if !whole {
			s.zero(firstName, at128(4), at128(4)+frame.HeaderBytes)
			want = []wal.LSN{1, 2, 3, 5, 6, 7}
		}
		var got []wal.LSN
		o := wal.DumpOptions{Behind: func(lsn wal.LSN, p []byte) error {
			if got = append(got, lsn); lsn == 4 {
				if !bytes.Equal(p, big) {
					t.Error("record 4 is another")
				}
				return nil
			}
			wantRecord(t, lsn, 100, p)
			return nil
		}}
		if _, err := wal.Dump(s.dir, o, func(wal.LSN, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("the record's own frame is whole: %v (-want +got):\n%s", whole, d)
		}
	}
}
