package wal_test

import (
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// TestReadOverASegmentThatAMarkFills reads on behind a mark that carries the
// commit to the very end of its segment.
func TestReadOverASegmentThatAMarkFills(t *testing.T) {
	o := small()
	o.Align = wal.AlignFolio
	l, _ := newTestLog(t, o)
	appendRecords(t, l, 21, 2000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 40, 2000)
	wantRecords(t, l, 1, 61, 2000)
}
