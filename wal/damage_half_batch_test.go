package wal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// TestHalfBatchBehindDamage cuts a log within a batch, and loses a segment before it: what
// the cut left of the batch is not lost, whether the cut was the last one, or the log went
// on behind it in the same segment or in the next.
func TestHalfBatchBehindDamage(t *testing.T) {
	t.Parallel()
	batch := func(t *testing.T, l *wal.Log, n, size int) {
		t.Helper()
		var ps [][]byte
		for i := range n {
			ps = append(ps, record(l.LastLSN()+1+wal.LSN(i), size))
		}
		if _, err := l.AppendBatch(ps); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		then func(t *testing.T, l *wal.Log)
	}{
		{"the last cut", func(*testing.T, *wal.Log) {}},
		{"a record behind it", func(t *testing.T, l *wal.Log) { appendRecords(t, l, 1, 100) }},
		{"a record in the next segment", func(t *testing.T, l *wal.Log) { appendRecords(t, l, 1, 40000) }},
		{"a batch in the next segment", func(t *testing.T, l *wal.Log) { batch(t, l, 2, 20000) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(fastDir(t), "log")
			l, err := wal.Open(dir, small())
			must(t, err)
			appendRecords(t, l, 5, 20000) // two in each segment
			batch(t, l, 4, 5000)          // 6 to 9, in the third behind record 5
			must(t, l.TruncateBack(7))
			c.then(t, l)
			last := l.LastLSN()
			must(t, l.Close())
			must(t, os.Remove(filepath.Join(dir, "0000000000000002.wal")))
			got := map[wal.LSN]bool{}
			rep, err := wal.Dump(dir, wal.DumpOptions{Behind: func(lsn wal.LSN, p []byte) error {
				got[lsn] = true
				return nil
			}}, func(lsn wal.LSN, _ []byte) error {
				got[lsn] = true
				return nil
			})
			if err != nil || rep.Verdict != wal.Damaged || len(rep.Damage) != 1 || rep.Damage[0].FirstLSN != 3 || rep.Damage[0].LastLSN != 4 {
				t.Errorf("%v, %+v", err, rep)
			}
			for lsn := wal.LSN(1); lsn <= last; lsn++ {
				if lost := lsn == 3 || lsn == 4; !lost && !got[lsn] {
					t.Errorf("record %d of %d is there, and is not handed out", lsn, last)
				}
			}
		})
	}
}
