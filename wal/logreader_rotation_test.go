package wal_test

import (
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
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

// TestFirstRecordDuringCuts reads the first record, whichever that is, and cuts the
// front before each of the reader's system calls: it reads the one that is the first
// then, in the writer's process and in others.
func TestFirstRecordDuringCuts(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(l *wal.Log) error{
		"front": func(l *wal.Log) error { return l.TruncateFront(l.LastLSN()) },
		"reset": func(l *wal.Log) error {
			if err := l.Reset(l.LastLSN() + 5); err != nil {
				return err
			}
			return moreOf(l, 2, betweenBytes)
		},
	} {
		calls := 0
		for at, more := 1, true; more; at++ {
			dir := filepath.Join(fastDir(t), logName)
			l := openLog(t, dir, small())
			must(t, moreOf(l, 7, betweenBytes))
			must(t, l.Sync())
			awaitPrepared(t, l, dir)
			r := openReader(t, dir)
			stop := &stopAt{at: int64(at), do: func() { must(t, cut(l)) }}
			remove := durabilitytest.InjectDir(dir, stop.hook)
			from := r.Reader(0)
			ok := from.Next()
			remove()
			stop.end()
			if !ok || from.LSN() != l.FirstLSN() && from.LSN() != 1 {
				t.Errorf("%s at call %d: %v, record %d, %v; the log's first is %d", name, at, ok, from.LSN(), from.Err(), l.FirstLSN())
			}
			must(t, from.Close())
			more = int(stop.calls.Load()) >= at
			calls = max(calls, at)
			must(t, r.Close())
			must(t, l.Close())
		}
		if calls < 3 {
			t.Errorf("%s: the reader made %d calls", name, calls)
		}
	}
}
