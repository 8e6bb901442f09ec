package wal_test

import (
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// synced makes a log of 100-byte records, the first `durable` of them synced
// one batch, the others not, and takes it as the death of its process does.
func synced(t testing.TB, durable, all int) *specimen {
	t.Helper()
	l, dir := newTestLog(t, small())
	if durable > 0 {
		appendRecords(t, l, durable, 100)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	appendRecords(t, l, all-durable, 100)
	return takeLive(t, l, dir)
}

// Reasons as reports give them.
const (
	reasonZeros   = "zeros where a frame should be"
	reasonHeader  = "no valid frame header"
	reasonPayload = "the payload does not match its checksum"
	reasonBatch   = "incomplete batch"
)

// Where, in a frame, header and payload are damaged.
const (
	inHeader  = 1
	inPayload = frame.HeaderBytes + 50
)

// at128 returns the offset of a frame of 128 bytes, of a record of 100.
func at128(lsn int64) int64 { return frame.DataOffset + 128*(lsn-1) }

// lostAt is a damage list of one.
func lostAt(file string, off int64, first, last wal.LSN, reason string) []wal.Damage {
	return []wal.Damage{{File: file, Offset: off, FirstLSN: first, LastLSN: last, Reason: reason}}
}

// savedAs are the names under which the first trim saves files.
func savedAs(names ...string) (out []string) {
	for _, n := range names {
		out = append(out, "lost/0001/"+n)
	}
	return out
}

// frameDamage is what is done to frames, and what comes of it.
var frameDamage = []struct {
	name string
	hurt func(*specimen)
	want finding
}{
	{"nothing", func(*specimen) {}, finding{last: 6, durable: 3}},
	{
		"last payload", func(s *specimen) { s.flip(firstName, at128(6)+inPayload) },
		finding{verdict: wal.Torn, last: 5, durable: 3, torn: 124},
	},
	{
		"last header", func(s *specimen) { s.flip(firstName, at128(6)+inHeader) },
		finding{verdict: wal.Torn, last: 5, durable: 3, torn: 124},
	},
	{
		"last gone", func(s *specimen) { s.zero(firstName, at128(6), at128(7)) },
		finding{last: 5, durable: 3},
	},
	{
		"last payload gone", func(s *specimen) { s.zero(firstName, at128(6)+frame.HeaderBytes, at128(7)) },
		finding{verdict: wal.Torn, last: 5, durable: 3, torn: frame.HeaderBytes},
	},
	{
		"last header gone", func(s *specimen) { s.zero(firstName, at128(6), at128(6)+frame.HeaderBytes) },
		finding{verdict: wal.Torn, last: 5, durable: 3, torn: 124},
	},
	{
		"fifth payload", func(s *specimen) { s.flip(firstName, at128(5)+inPayload) },
		finding{verdict: wal.Torn, last: 4, durable: 3, torn: 252, behind: []wal.Range{{First: 6, Last: 6}}, saved: savedAs(firstName)},
	},
	{
		"fifth header", func(s *specimen) { s.flip(firstName, at128(5)+inHeader) },
		finding{verdict: wal.Torn, last: 4, durable: 3, torn: 252},
	},
	{
		"fourth gone", func(s *specimen) { s.zero(firstName, at128(4), at128(5)) },
		finding{verdict: wal.Torn, last: 3, durable: 3, torn: 380, behind: []wal.Range{{First: 5, Last: 6}}, saved: savedAs(firstName)},
	},
	{
		"third payload", func(s *specimen) { s.flip(firstName, at128(3)+inPayload) },
		finding{
			verdict: wal.Damaged, last: 2, durable: 3, torn: 508, behind: []wal.Range{{First: 4, Last: 6}},
			damage: lostAt(firstName, at128(3), 3, 3, reasonPayload),
		},
	},
	{
		"third header", func(s *specimen) { s.flip(firstName, at128(3)+inHeader) },
		finding{
			verdict: wal.Damaged, last: 2, durable: 3, torn: 508, behind: []wal.Range{{First: 4, Last: 6}},
			damage: lostAt(firstName, at128(3), 3, 3, reasonHeader),
		},
	},
	{
		"first payload", func(s *specimen) { s.flip(firstName, at128(1)+inPayload) },
		finding{
			verdict: wal.Damaged, last: 0, durable: 3, torn: 764, behind: []wal.Range{{First: 2, Last: 6}},
			damage: lostAt(firstName, at128(1), 1, 1, reasonPayload),
		},
	},
	{
		"first header", func(s *specimen) { s.flip(firstName, at128(1)+inHeader) },
		finding{
			verdict: wal.Damaged, last: 0, durable: 3, torn: 764, behind: []wal.Range{{First: 2, Last: 6}},
			damage: lostAt(firstName, at128(1), 1, 1, reasonHeader),
		},
	},
	{
		"first two gone", func(s *specimen) { s.zero(firstName, at128(1), at128(3)) },
		finding{
			verdict: wal.Damaged, last: 0, durable: 3, torn: 764, behind: []wal.Range{{First: 3, Last: 6}},
			damage: lostAt(firstName, at128(1), 1, 2, reasonZeros),
		},
	},
	{
		"all synced gone", func(s *specimen) { s.zero(firstName, at128(1), at128(4)) },
		finding{
			verdict: wal.Damaged, last: 0, durable: 3, torn: 764, behind: []wal.Range{{First: 4, Last: 6}},
			damage: lostAt(firstName, at128(1), 1, 3, reasonZeros),
		},
	},
	{"first and third payload", func(s *specimen) {
		s.flip(firstName, at128(1)+inPayload)
		s.flip(firstName, at128(3)+inPayload)
	}, finding{
		verdict: wal.Damaged, last: 0, durable: 3, torn: 764,
		behind: []wal.Range{{First: 2, Last: 2}, {First: 4, Last: 6}},
		damage: append(lostAt(firstName, at128(1), 1, 1, reasonPayload), lostAt(firstName, at128(3), 3, 3, reasonPayload)...),
	}},
}

// TestFrameDamage damages one frame of a log with six records, the first three
// of which were synced: damage to these is damage, to the others a torn tail.
func TestFrameDamage(t *testing.T) {
	base := synced(t, 3, 6)
	for _, tt := range frameDamage {
		t.Run(tt.name, func(t *testing.T) {
			s := take(t, base.dir)
			tt.hurt(s)
			tt.want.size = 100
			s.analyze(small(), tt.want)
		})
	}
}

// TestNothingSyncedIsNeverDamage damages logs of which nothing was ever
// synced: any loss is a torn tail.
func TestNothingSyncedIsNeverDamage(t *testing.T) {
	base := synced(t, 0, 4)
	for i, f := range base.frames(firstName) {
		for _, off := range []int64{f.off, f.off + frame.HeaderBytes, f.off + 60} {
			s := take(t, base.dir)
			s.flip(firstName, off)
			rep, err := wal.Verify(s.dir)
			if err != nil || rep.Verdict != wal.Torn || rep.LastLSN != wal.LSN(i) || rep.DurableLSN != 0 {
				t.Fatalf("frame %d hurt: %v, last %d, durable %d, %v", i+1, rep.Verdict, rep.LastLSN, rep.DurableLSN, err)
			}
			want := finding{verdict: wal.Torn, last: wal.LSN(i), size: 100, anyTorn: true, behind: rep.Behind}
			if len(rep.Behind) > 0 {
				want.saved = []string{"lost/0001/" + firstName}
			}
			s.analyze(small(), want)
		}
	}
}
