package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// short is a damage list of one short file.
func short(name string, n int64, first, last wal.LSN, unknown bool) []wal.Damage {
	return []wal.Damage{{
		File: name, Offset: n, FirstLSN: first, LastLSN: last, Unknown: unknown,
		Reason: fmt.Sprintf("short: %d of %d bytes", n, wal.MinSegmentBytes),
	}}
}

// Where a segment of four records of 10,000 bytes ends, and some places before.
const (
	fullEnd   = frame.DataOffset + 4*10024
	zerosGone = wal.MinSegmentBytes - 4096
	halfGone  = frame.DataOffset + 25000
)

// gapTests cut segments of a log short that has records 1 to 14 of 10,000 bytes
// in segments 1 to 4, all durable, and segments 5 and 6 prepared. They say what is
// found, what a forced repair leaves and gives up.
var gapTests = []struct {
	name    string
	cuts    map[string]int64 // how much is left, by file
	last    wal.LSN
	damage  []wal.Damage
	behind  []wal.Range
	lost    string
	unknown bool
	saved   []string
}{
	{
		"zeros of the first",
		map[string]int64{firstName: zerosGone},
		14,
		short(firstName, zerosGone, 0, 0, false), nil, "[]", false, nil,
	},
	{
		"zeros of one in the middle",
		map[string]int64{secondName: zerosGone},
		14,
		short(secondName, zerosGone, 0, 0, false), nil, "[]", false, nil,
	},
	{
		"zeros of the last",
		map[string]int64{fourthName: zerosGone},
		14,
		short(fourthName, zerosGone, 0, 0, false), nil, "[]", false, nil,
	},
	{
		"zeros of all",
		map[string]int64{firstName: zerosGone, secondName: zerosGone, thirdName: zerosGone, fourthName: zerosGone},
		14,
		slices.Concat(
			short(firstName, zerosGone, 0, 0, false), short(secondName, zerosGone, 0, 0, false),
			short(thirdName, zerosGone, 0, 0, false), short(fourthName, zerosGone, 0, 0, false),
		), nil, "[]", false, nil,
	},
	{
		"all behind the last record but a block",
		map[string]int64{fourthName: frame.DataOffset + 2*10024 + 4096},
		14,
		short(fourthName, frame.DataOffset+2*10024+4096, 0, 0, false), nil, "[]", false, nil,
	},
	{
		"all behind the last record of a full one",
		map[string]int64{secondName: fullEnd},
		14,
		short(secondName, fullEnd, 0, 0, false), nil, "[]", false, nil,
	},
	{
		"all behind the last frame",
		map[string]int64{fourthName: frame.DataOffset + 2*10024 + 16},
		14,
		short(fourthName, frame.DataOffset+2*10024+16, 0, 0, true), nil, "[]", true, nil,
	},
	{
		"records of the first",
		map[string]int64{firstName: halfGone},
		2,
		short(firstName, halfGone, 3, 4, false),
		[]wal.Range{{First: 5, Last: 14}},
		"[{3 14}]", false,
		savedAs(firstName, secondName, thirdName, fourthName),
	},
	{
		"records of one in the middle",
		map[string]int64{thirdName: halfGone},
		10,
		short(thirdName, halfGone, 11, 12, false),
		[]wal.Range{{First: 13, Last: 14}},
		"[{11 14}]", false,
		savedAs(thirdName, fourthName),
	},
	{
		"records of the last",
		map[string]int64{fourthName: frame.DataOffset + 15000},
		13,
		short(fourthName, frame.DataOffset+15000, 14, 14, true), nil, "[{14 14}]", true, savedAs(fourthName),
	},
	{
		"all frames of the last",
		map[string]int64{fourthName: frame.DataOffset},
		12,
		short(fourthName, frame.DataOffset, 13, 14, true), nil, "[{13 14}]", true, nil,
	},
	{
		"a prepared one",
		map[string]int64{fifthName: zerosGone},
		14,
		[]wal.Damage{{File: fifthName, Reason: short("", zerosGone, 0, 0, false)[0].Reason}},
		nil, "[]", false, savedAs(fifthName),
	},
}

// TestShortFiles reads short files up to their ends, and gives up with force only
// what was in the part that is missing, and what lies behind that.
func TestShortFiles(t *testing.T) {
	base := rotated(t)
	for _, tt := range gapTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := take(t, base.dir)
			for name, n := range tt.cuts {
				s.change(name, func(data []byte) []byte { return data[:n] })
			}
			s.verify(finding{
				verdict: wal.Damaged, last: tt.last, durable: 14, size: 10000, anyTorn: true,
				damage: tt.damage, behind: tt.behind,
			})
			s.refused(small(), tt.damage)
			plan, err := wal.Repair(s.dir, wal.RepairOptions{Force: true, DryRun: true})
			if err != nil || plan.LostUnknown != tt.unknown {
				t.Errorf("a dry run: an unknown number is lost: %v, %v", plan.LostUnknown, err)
			}
			s.forced(t, 1, tt.last, tt.lost, tt.saved)
		})
	}
}

// TestUnknownInWords wants an error to say that it is not known how much is lost.
func TestUnknownInWords(t *testing.T) {
	for words, hurt := range map[string]func(*specimen){
		"no record is known to be lost by it": func(s *specimen) {
			s.change(fourthName, func(data []byte) []byte { return data[:zerosGone] })
		},
		"acknowledged records 13 to 14 are lost;": func(s *specimen) { s.put(fourthName, nil) },
		"an unknown number of acknowledged records is lost by it": func(s *specimen) {
			s.put(fourthName, nil)
			s.forgetCheckpoint()
		},
		"acknowledged records 14 to 14 are lost, and perhaps an unknown number behind them": func(s *specimen) {
			s.change(fourthName, func(data []byte) []byte { return data[:frame.DataOffset+15000] })
		},
		"acknowledged records 11 to 12 are lost;": func(s *specimen) {
			s.change(thirdName, func(data []byte) []byte { return data[:halfGone] })
		},
	} {
		s := rotated(t)
		hurt(s)
		_, err := wal.Open(s.dir, small())
		if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

// TestReaderOfShortFiles reads beside no writer, over a segment that is short of
// its unused end.
func TestReaderOfShortFiles(t *testing.T) {
	s := rotated(t)
	for _, name := range []string{secondName, fourthName} {
		s.change(name, func(data []byte) []byte { return data[:zerosGone] })
	}
	o, err := wal.OpenReader(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var got []wal.LSN
	r := o.Reader(1)
	for r.Next() {
		wantRecord(t, r.LSN(), 10000, r.Record())
		got = append(got, r.LSN())
	}
	want := make([]wal.LSN, 14)
	for i := range want {
		want[i] = wal.LSN(i + 1)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read (-want +got):\n%s", d)
	}
	if r.Err() != nil {
		t.Errorf("behind the last record: %v", r.Err())
	}
}
