package wal_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestDumpMatch hands out what is matched, within the bounds, and ends with the
// error of either function.
func TestDumpMatch(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 9, 100)
	odd := func(lsn wal.LSN, p []byte) (bool, error) {
		wantRecord(t, lsn, 100, p)
		return lsn%2 == 1, nil
	}
	for _, live := range []bool{true, false} {
		if !live {
			must(t, l.Close())
		}
		lsns, _, err := dumped(dir, wal.DumpOptions{From: 2, To: 7, Match: odd}, nil)
		if d := cmp.Diff([]wal.LSN{3, 5, 7}, lsns); d != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
		stop := errors.New("stop")
		asked := 0
		_, _, err = dumped(dir, wal.DumpOptions{Match: func(lsn wal.LSN, _ []byte) (bool, error) {
			asked++
			if lsn == 4 {
				return true, stop
			}
			return false, nil
		}}, nil)
		if err == nil || err.Error() != stop.Error() || asked != 4 {
			t.Errorf("asked about %d: %v", asked, err)
		}
		lsns, _, err = dumped(dir, wal.DumpOptions{}, func(lsn wal.LSN) error {
			if lsn == 4 {
				return stop
			}
			return nil
		})
		if err == nil || err.Error() != stop.Error() || len(lsns) != 4 {
			t.Errorf("handed out %v: %v", lsns, err)
		}
	}
}

// TestDumpBesideAWriterHandsOutCopies changes a record's bytes while Dump is at
// it, as a writer may that cuts: what is handed out stays as it is, and is the
// record, or is not handed out and Dump says why.
func TestDumpBesideAWriterHandsOutCopies(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	must(t, l.Sync())
	at := takeLive(t, l, dir).frameOf(firstName, 2).off + frame.HeaderBytes
	good := record(2, 100)
	bad := []byte{good[0] + 1}
	looks := 0
	o := wal.DumpOptions{Match: func(lsn wal.LSN, _ []byte) (bool, error) {
		if lsn != 2 {
			return true, nil
		}
		looks++
		if looks == 1 {
			overwrite(t, dir, firstName, at, bad)
		}
		return true, nil
	}}
	var lsns []wal.LSN
	_, err := wal.Dump(dir, o, func(lsn wal.LSN, p []byte) error {
		if lsn == 2 {
			overwrite(t, dir, firstName, at, bad)
		}
		wantRecord(t, lsn, 100, p)
		overwrite(t, dir, firstName, at, good[:1])
		lsns = append(lsns, lsn)
		return nil
	})
	overwrite(t, dir, firstName, at, good[:1])
	if d := cmp.Diff([]wal.LSN{1}, lsns); err == nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
