package wal_test

import (
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestRotationsDuringALook: the writer rotates since a LogReader was opened, and
// rotates again at each system call of the reader's next look. When the writer is
// quiet then, the reader has all that was appended: it must not take the place of
// the tail that it read first for one that a cut has told of.
func TestRotationsDuringALook(t *testing.T) {
	t.Parallel()
	for at, more := 1, true; more; at++ {
		dir := filepath.Join(fastDir(t), logName)
		l := openLog(t, dir, small())
		must(t, moreOf(l, 5, betweenBytes))
		awaitPrepared(t, l, dir)
		r := openReader(t, dir)
		must(t, moreOf(l, 3, betweenBytes))
		awaitPrepared(t, l, dir)
		stop := &stopAt{at: int64(at), do: func() {
			must(t, moreOf(l, 3, betweenBytes))
			awaitPrepared(t, l, dir)
		}}
		remove := durabilitytest.InjectDir(dir, stop.hook)
		r.LastLSN()
		remove()
		stop.end()
		if first, last := r.FirstLSN(), r.LastLSN(); first != 1 || last != l.LastLSN() {
			t.Errorf("at call %d: the reader has %d to %d, the log 1 to %d", at, first, last, l.LastLSN())
		}
		more = int(stop.calls.Load()) >= at
		must(t, r.Close())
		must(t, l.Close())
	}
}
