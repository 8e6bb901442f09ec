//go:build linux

package seawall_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// newLog makes a log with these records, and its front cut off.
func newLog(t *testing.T, front wal.LSN, records ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	l, err := wal.Open(filepath.Join(dir, "log"), wal.Options{SegmentBytes: 64 << 10, SegmentsAhead: 1})
	must(t, err)
	for _, p := range records {
		_, err = l.Append(p)
		must(t, err)
	}
	must(t, l.TruncateFront(front))
	must(t, l.Close())
	return dir
}

// change is one thing to be known otherwise.
type change struct {
	what string
	v    []wal.LSN
}

// known returns knowledge with changes.
func known(k seawall.Mark, changes []change) seawall.Mark {
	for _, c := range changes {
		seawall.Known[c.what](&k, c.v...)
	}
	return k
}

// TestOracles: a log with the records 3 to 10 is checked against what may be known.
func TestOracles(t *testing.T) {
	t.Parallel()
	const tag = 0x1234_5679 // small records
	var records [][]byte
	for lsn := range wal.LSN(10) {
		records = append(records, seawall.Record(tag, lsn+1))
	}
	dir := newLog(t, 3, records...)
	v := func(v ...wal.LSN) []wal.LSN { return v }
	for _, c := range []struct {
		changes []change
		kind    campaign.Kind
		says    string
	}{
		{nil, "", ""},
		{[]change{{"begun", v(12)}}, "", ""},
		{[]change{{"begun", v(12)}, {"appended", v(9)}, {"durable", v(5)}}, "", ""},
		{[]change{{"first", v(2)}}, campaign.Lost, "record 2 was acknowledged and is gone"},
		{[]change{{"first", v(4)}}, campaign.Illegal, "begins with record 3, which was cut away"},
		{[]change{{"begun", v(11)}, {"appended", v(11)}}, campaign.Lost, "record 11 was acknowledged and is gone"},
		{[]change{{"begun", v(11)}, {"durable", v(11)}}, campaign.Lost, "record 11 was acknowledged and is gone"},
		{[]change{{"begun", v(9)}, {"appended", v(9)}, {"durable", v(9)}}, campaign.Illegal, "record 10 is there, and was never appended: 9 was the last"},
		{[]change{{"begun", v(12)}, {"batch", v(11, 12)}}, "", ""},
		{[]change{{"begun", v(12)}, {"batch", v(10, 12)}}, campaign.Illegal, "of the batch of records 10 to 12, a part was recovered, up to 10"},
		{[]change{{"appended", v(8)}, {"durable", v(8)}, {"batch", v(9, 10)}}, "", ""},
		{[]change{{"other", v(8)}}, campaign.Illegal, "record 8 is not what was appended"},
		{[]change{{"other", v(11)}}, "", ""},
		{[]change{{"nobody's", v(5)}}, campaign.Illegal, "nobody appended record 3"},
		{[]change{{"cut front", v(8)}}, "", ""},
		{[]change{{"first", v(2)}, {"cut front", v(3)}}, "", ""},
		{[]change{{"first", v(2)}, {"cut front", v(4)}}, campaign.Lost, "neither the old log"},
		{[]change{{"begun", v(15)}, {"appended", v(15)}, {"durable", v(15)}, {"cut back", v(10)}}, "", ""},
		{[]change{{"begun", v(15)}, {"appended", v(15)}, {"durable", v(15)}, {"cut back", v(9)}}, campaign.Lost, "neither the old log"},
		{[]change{{"cut back", v(5)}}, "", ""},
		{[]change{{"reset", v(5)}}, "", ""},
		{[]change{{"begun", v(11)}, {"appended", v(11)}, {"reset", v(5)}}, campaign.Lost, "neither the old log"},
	} {
		b, err := seawall.CheckLog(dir, known(seawall.NewKnown(3, 10, tag), c.changes))
		mustSay(t, c.changes, b, err, c.kind, c.says)
	}
	b, err := seawall.CheckLog(newLog(t, 1), known(seawall.NewKnown(1, 9, tag), []change{{"reset", v(1)}}))
	mustSay(t, "an empty log, reset", b, err, "", "")
}

// TestNewMark: what was known of a life that is not one of this package is checked as
// that of one that is.
func TestNewMark(t *testing.T) {
	t.Parallel()
	const tag = 0x1234_5679
	var payloads [][]byte
	for lsn := range wal.LSN(10) {
		payloads = append(payloads, seawall.Record(tag, lsn+1))
	}
	f, err := (&seawall.Log{}).Inspect(newLog(t, 3, payloads...))
	must(t, err)
	// begun returns the records from 3 to the last, those from 8 to 9 a batch, and those
	// from 11 on another.
	begun := func(last wal.LSN) []seawall.Begun {
		var rs []seawall.Begun
		for lsn := wal.LSN(3); lsn <= last; lsn++ {
			r := seawall.Begun{Sum: seawall.Sum(seawall.Record(tag, lsn))}
			switch {
			case lsn == 8 || lsn == 9:
				r.Batch = 1
			case lsn >= 11:
				r.Batch = 2
			}
			rs = append(rs, r)
		}
		return rs
	}
	other, split := begun(10), begun(12)
	other[4].Sum++
	split[7].Batch = 2 // record 10 belongs to the batch that follows it
	for _, c := range []struct {
		what string
		m    *seawall.Mark
		kind campaign.Kind
		says string
	}{
		{"just that", seawall.NewMark(3, 10, 10, 2, begun(10), nil), "", ""},
		{"more was begun", seawall.NewMark(3, 5, 10, 2, begun(12), nil), "", ""},
		{"more was appended", seawall.NewMark(3, 5, 11, 2, begun(12), nil), campaign.Lost, "record 11 was acknowledged and is gone"},
		{"more was durable", seawall.NewMark(3, 11, 5, 2, begun(12), nil), campaign.Lost, "record 11 was acknowledged and is gone"},
		{"less was begun", seawall.NewMark(3, 5, 5, 2, begun(9), nil), campaign.Illegal, "record 10 is there, and was never appended"},
		{"another record", seawall.NewMark(3, 10, 10, 2, other, nil), campaign.Illegal, "record 7 is not what was appended"},
		{"a batch in part", seawall.NewMark(3, 9, 9, 2, split, nil), campaign.Illegal, "of the batch of records 10 to 12, a part was recovered"},
		{"another front", seawall.NewMark(4, 10, 10, 2, begun(10), nil), campaign.Illegal, "begins with record 3"},
		{"a cut that was made", seawall.NewMark(1, 10, 10, 2, begun(10), seawall.NewMark(3, 10, 10, 2, begun(10), nil)), "", ""},
		{"a cut to nothing", seawall.NewMark(1, 10, 10, 2, begun(10), seawall.NewMark(20, 19, 19, 19, nil, nil)), campaign.Lost, "neither the old log"},
	} {
		mustSay(t, c.what, campaign.Check(f, c.m, true), nil, c.kind, c.says)
	}
}

// TestOraclesOfWriters: what several writers appended is checked writer by writer.
func TestOraclesOfWriters(t *testing.T) {
	t.Parallel()
	const tag = 0x1234_5679
	rec := func(writer int, n uint64) []byte { return seawall.RecordOf(tag, writer, n) }
	v := func(v ...wal.LSN) []wal.LSN { return v }
	for _, c := range []struct {
		records [][]byte
		front   wal.LSN
		changes []change
		kind    campaign.Kind
		says    string
	}{
		{[][]byte{rec(0, 0), rec(1, 0), rec(0, 1)}, 1, nil, "", ""},
		{[][]byte{rec(0, 0), rec(1, 0), rec(0, 1)}, 2, nil, "", ""},
		{[][]byte{rec(0, 0), rec(0, 2), rec(1, 0)}, 1, nil, campaign.Illegal, "record 2 is not the next of writer 0"},
		{[][]byte{rec(0, 0), rec(1, 0), rec(0, 0)}, 1, nil, campaign.Illegal, "record 3 is not the next of writer 0"},
		{[][]byte{rec(0, 1), rec(1, 0), rec(0, 2)}, 1, nil, campaign.Illegal, "record 1 is not the next of writer 0"},
		{[][]byte{rec(0, 0), rec(0, 1), seawall.Record(tag, 3)}, 1, nil, campaign.Illegal, "record 3 is not"},
		{[][]byte{rec(0, 0), rec(0, 1), rec(0, 2)}, 1, []change{{"writer", v(3, 2)}}, "", ""},
		{[][]byte{rec(0, 0), rec(0, 1), rec(0, 2)}, 1, []change{{"writer", v(2, 2)}}, campaign.Illegal, "3 records are there, 2 were begun"},
		{[][]byte{rec(0, 0), rec(0, 1), rec(0, 2)}, 1, []change{{"writer", v(3, 2)}, {"writer", v(1, 1)}}, campaign.Lost, "of writer 1, 0 records are there, 1 were appended"},
		// The next writers have begun, and none of them a record: what is there is not theirs.
		{[][]byte{rec(0, 0), rec(0, 1), rec(0, 2)}, 1, []change{{"next many", v(4)}, {"writer", v(0, 0)}}, "", ""},
	} {
		k := seawall.NewKnown(c.front, 3, tag)
		b, err := seawall.CheckLog(newLog(t, c.front, c.records...), known(k, append([]change{{"many", nil}}, c.changes...)))
		mustSay(t, c.changes, b, err, c.kind, c.says)
	}
}

// TestErrors: an error that denies a record is a loss, what the machine lacks is no
// finding, and any other error is one.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		kind campaign.Kind // none for what is no finding
	}{
		{wal.ErrNotFound, campaign.Lost},
		{wal.ErrTruncated, campaign.Lost},
		{&wal.CorruptError{}, campaign.Lost},
		{wal.ErrPoisoned, campaign.Stuck},
		{wal.ErrTooLarge, campaign.Stuck},
		{wal.ErrNoSpace, ""},
		{fmt.Errorf("%w: %w", wal.ErrPoisoned, syscall.EIO), ""},
		{syscall.EMFILE, ""},
	} {
		err := seawall.ErrorOf("append", fmt.Errorf("in a test: %w", c.err))
		var b *campaign.Broken
		if errors.As(err, &b) != (c.kind != "") || b != nil && b.Kind != c.kind {
			t.Errorf("%v: %v, want %q", c.err, err, c.kind)
		}
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustSay fails the test unless a check finds that kind, in such words.
func mustSay(t *testing.T, what any, b *campaign.Broken, err error, kind campaign.Kind, says string) {
	t.Helper()
	must(t, err)
	switch {
	case b == nil && kind == "":
	case b == nil || b.Kind != kind || !strings.Contains(b.What, says):
		t.Errorf("%v: found %v, want %q: %s", what, b, kind, says)
	}
}
