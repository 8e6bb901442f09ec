package wal_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestExtractWhatACutLeftOfABatch damages a record before a batch that a cut
// shortened: what the cut left of the batch is intact, and is extracted.
func TestExtractWhatACutLeftOfABatch(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 2, 100)
	if _, err := l.AppendBatch([][]byte{record(3, 100), record(4, 100), record(5, 100), record(6, 100)}); err != nil {
		t.Fatal(err)
	}
	must(t, l.TruncateBack(4))
	appendRecords(t, l, 2, 100)
	must(t, l.Close())
	s := take(t, dir)
	s.flip(firstName, s.frameOf(firstName, 2).off+frame.HeaderBytes)
	var behind []wal.LSN
	head, rep, err := dumped(s.dir, wal.DumpOptions{Behind: func(lsn wal.LSN, p []byte) error {
		behind = append(behind, lsn)
		wantRecord(t, lsn, 100, p)
		return nil
	}}, nil)
	if err != nil || rep.Verdict != wal.Damaged {
		t.Fatalf("%+v, %v", rep, err)
	}
	if d := cmp.Diff([2][]wal.LSN{runOf(1, 1), runOf(3, 6)}, [2][]wal.LSN{head, behind}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
