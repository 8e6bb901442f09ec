package wal_test

import (
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
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

// TestReadALogWhoseStampWasLost reads what was appended to a log that lost the
// stamp of its first segment before anything was acknowledged: Open stamps it
// anew.
func TestReadALogWhoseStampWasLost(t *testing.T) {
	f := newLife(t, small(), newRand(1))
	f.open()
	f.stop()
	at := f.rec.Len()
	f = newLifeAfter(t, small(), f.rng, f.rec.CrashAs(durabilitytest.Drop, f.root, at, nil), f.known(at), fastDir(t))
	f.open()
	f.append(1000)
	f.check(false)
	if _, err := f.log.Get(1); err != nil {
		t.Fatal(err)
	}
	f.close()
}
