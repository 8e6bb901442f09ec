package wal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// TestCutBounds cuts at, within and beyond either end of a log with records 4
// to 9 in segments of their own.
func TestCutBounds(t *testing.T) {
	type outcome struct {
		first, last wal.LSN
		err         error
	}
	front := func(lsn wal.LSN) func(*wal.Log) error { return func(l *wal.Log) error { return l.TruncateFront(lsn) } }
	back := func(lsn wal.LSN) func(*wal.Log) error { return func(l *wal.Log) error { return l.TruncateBack(lsn) } }
	reset := func(lsn wal.LSN) func(*wal.Log) error { return func(l *wal.Log) error { return l.Reset(lsn) } }
	for name, c := range map[string]struct {
		cut  func(*wal.Log) error
		want outcome
	}{
		"front, before the first":   {front(2), outcome{4, 9, nil}},
		"front, zero":               {front(0), outcome{4, 9, nil}},
		"front, the first":          {front(4), outcome{4, 9, nil}},
		"front, one more":           {front(5), outcome{5, 9, nil}},
		"front, the last":           {front(9), outcome{9, 9, nil}},
		"front, all":                {front(10), outcome{10, 9, nil}},
		"front, beyond the end":     {front(11), outcome{4, 9, wal.ErrNotFound}},
		"front, far beyond the end": {front(1 << 62), outcome{4, 9, wal.ErrNotFound}},
		"back, beyond the end":      {back(10), outcome{4, 9, wal.ErrNotFound}},
		"back, the last":            {back(9), outcome{4, 9, nil}},
		"back, one less":            {back(8), outcome{4, 8, nil}},
		"back, the first":           {back(4), outcome{4, 4, nil}},
		"back, all":                 {back(3), outcome{4, 3, nil}},
		"back, before the first":    {back(2), outcome{4, 9, wal.ErrTruncated}},
		"back, zero":                {back(0), outcome{4, 9, wal.ErrTruncated}},
		"reset, far away":           {reset(1 << 40), outcome{1 << 40, 1<<40 - 1, nil}},
		"reset, to the end":         {reset(10), outcome{10, 9, nil}},
		"reset, within":             {reset(6), outcome{6, 5, nil}},
		"reset, to the begin":       {reset(1), outcome{1, 0, nil}},
		"reset, zero":               {reset(0), outcome{4, 9, wal.ErrOptions}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 9, 20000)
			if err := l.TruncateFront(4); err != nil {
				t.Fatal(err)
			}
			awaitPrepared(t, l, dir)
			before := readDir(t, dir)
			if err := c.cut(l); !errors.Is(err, c.want.err) {
				t.Fatalf("%v, want %v", err, c.want.err)
			}
			if c.want.err != nil {
				unchanged(t, "the refused cut", dir, before)
			}
			want := func(what string, l *wal.Log) { t.Helper(); wantOnly(t, what, l, c.want.first, c.want.last) }
			want("after the cut", l)
			// What is appended goes on behind the cut, and a kill keeps it.
			appendRecords(t, l, 2, 20000)
			c.want.last += 2
			want("appended", l)
			killed := takeLive(t, l, dir)
			want("killed", openLog(t, killed.dir, small()))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			want("reopened", openLog(t, dir, small()))
		})
	}
}

// wantOnly wants the log to hold just these records.
func wantOnly(t *testing.T, what string, l *wal.Log, first, last wal.LSN) {
	t.Helper()
	if l.FirstLSN() != first || l.LastLSN() != last {
		t.Fatalf("%s: %d to %d, want %d to %d", what, l.FirstLSN(), l.LastLSN(), first, last)
	}
	wantRecords(t, l, first, last, 20000)
	if _, err := l.Get(first - 1); !errors.Is(err, wal.ErrTruncated) {
		t.Fatalf("%s: get of %d: %v", what, first-1, err)
	}
	if _, err := l.Get(last + 1); !errors.Is(err, wal.ErrNotFound) {
		t.Fatalf("%s: get of %d: %v", what, last+1, err)
	}
}

// TestCutOfAClosedLog wants ErrClosed from every cut.
func TestCutOfAClosedLog(t *testing.T) {
	l, _ := newTestLog(t, small())
	appendRecords(t, l, 3, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"front": l.TruncateFront(2), "front, no change": l.TruncateFront(1),
		"back": l.TruncateBack(2), "back, no change": l.TruncateBack(3), "reset": l.Reset(9),
	} {
		if !errors.Is(err, wal.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestCutsBesideAppends cuts at both ends while several goroutines append, with
// and without syncs, commit, and read: no call returns what it must not, and
// every append that is not cut is there at the end.
func TestCutsBesideAppends(t *testing.T) {
	for name, policy := range map[string]wal.SyncPolicy{"manual": wal.SyncManual, "each": wal.SyncEach} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := small()
			o.Sync = policy
			l, err := wal.Open(filepath.Join(fastDir(t), "log"), o)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var work sync.WaitGroup
			stop := make(chan struct{})
			for range 3 {
				work.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						lsn, aerr := l.Append(make([]byte, 3000))
						if aerr == nil && i%5 == 0 {
							aerr = l.Commit(t.Context(), lsn)
						}
						// The record may be cut before the commit asks for it.
						if aerr != nil && !errors.Is(aerr, wal.ErrNotFound) {
							t.Errorf("append or commit of %d: %v", lsn, aerr)
							return
						}
					}
				})
			}
			steps := 0
			for i := range rounds(t, 60, 4) {
				steps++
				first, last := l.FirstLSN(), l.LastLSN()
				switch i % 4 {
				case 0:
					err = l.TruncateFront((first + last) / 2)
				case 1:
					err = l.TruncateBack(max(last, 3, first+2) - 3)
				case 2:
					_, err = l.Append([]byte("between"))
				case 3:
					if err = l.Sync(); err == nil {
						err = l.Checkpoint()
					}
					if i%20 == 19 && err == nil {
						err = l.Reset(last + 100)
					}
				}
				if err != nil && !errors.Is(err, wal.ErrNotFound) {
					t.Errorf("step %d: %v", i, err)
					break
				}
			}
			close(stop)
			work.Wait()
			first, last := l.FirstLSN(), l.LastLSN()
			t.Logf("%d steps, %d appended, %d cuts", steps, l.Stats().Records, l.Stats().Truncations)
			if held, err := seawall.ReadOpen(l); err != nil || held.First != first || held.Last != last {
				t.Fatalf("holds %d to %d of %d to %d: %v", held.First, held.Last, first, last, err)
			}
		})
	}
}

// TestCommitOfWhatIsCut commits a record while a cut removes it: the cut
// makes it durable first, so the commit has nothing to wait for.
func TestCommitOfWhatIsCut(t *testing.T) {
	l, _ := newTestLog(t, small())
	for range 50 {
		appendRecords(t, l, 5, 100)
		last := l.LastLSN()
		done := make(chan error)
		go func() { done <- l.Commit(t.Context(), last) }()
		if err := l.TruncateBack(last - 3); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil && !errors.Is(err, wal.ErrNotFound) {
			t.Fatalf("commit: %v", err)
		}
	}
}

// TestTruncateBackWithinABatch cuts a batch, reads what is left, appends
// behind it, and cuts again before it, over kills and reopenings.
func TestTruncateBackWithinABatch(t *testing.T) {
	for _, size := range []int{10, 9000} {
		l, dir := newTestLog(t, small())
		appendRecords(t, l, 2, size)
		var ps [][]byte
		for lsn := wal.LSN(3); lsn <= 6; lsn++ {
			ps = append(ps, record(lsn, size))
		}
		if _, err := l.AppendBatch(ps); err != nil {
			t.Fatal(err)
		}
		for _, last := range []wal.LSN{4, 3} {
			if err := l.TruncateBack(last); err != nil {
				t.Fatal(err)
			}
			for _, more := range []int{0, 1, 8} {
				appendRecords(t, l, more, size)
				last += wal.LSN(more)
				killed := takeLive(t, l, dir)
				wantRecords(t, openLog(t, killed.dir, small()), 1, last, size)
			}
			if err := l.TruncateBack(4); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTruncateBackKeepsPreparedSegments cuts within the last segment: those
// prepared behind it serve on, here and after a reopening, and none is made.
func TestTruncateBackKeepsPreparedSegments(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 4, 100)
	awaitPrepared(t, l, dir)
	prepared := l.Stats().Prepared
	names := takeLive(t, l, dir).names()
	for _, last := range []wal.LSN{3, 2} {
		if err := l.TruncateBack(last); err != nil {
			t.Fatal(err)
		}
	}
	if now := l.Stats().Prepared; now != prepared {
		t.Errorf("%d segments were prepared behind the cut", now-prepared)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, small())
	if got := l.Stats().Ready; got != wal.DefaultSegmentsAhead {
		t.Errorf("%d prepared segments are ready after a reopening", got)
	}
	if now := takeLive(t, l, dir).names(); len(now) != len(names) {
		t.Errorf("files %v, before the cut %v", now, names)
	}
	appendRecords(t, l, 12, 9000)
}

// TestRecyclingLeavesOtherNamesAlone gives the first segment a second name, as
// a backup by hard links does, and truncates it away: the backup keeps its bytes.
func TestRecyclingLeavesOtherNamesAlone(t *testing.T) {
	o := small()
	o.FillBytes = 4096 // as a segment was filled, so is the one that it becomes
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 3, 20000)
	backup := filepath.Join(filepath.Dir(dir), "backup")
	if err := os.Link(filepath.Join(dir, firstName), backup); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	held, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		appendRecords(t, l, 6, 20000)
		if err = l.TruncateFront(l.LastLSN()); err != nil {
			t.Fatal(err)
		}
	}
	now, err := os.ReadFile(backup)
	if err != nil || !bytes.Equal(held, now) {
		t.Fatalf("the backup's bytes changed (%v)", err)
	}
	if l.Stats().Recycled == 0 {
		t.Error("no other segment was recycled")
	}
}

// TestRecycledSegmentsBoundTheDirectory lets 1,000 segments, ten times as many
// where a budget is set, go through a log of 4: the directory holds what
// SegmentsAhead and one spare segment explain, all the time, and recovery finds
// nothing but the newest records. Behind the first half the cuts wait for the
// preparer, so that it finds what each of them leaves.
func TestRecycledSegmentsBoundTheDirectory(t *testing.T) {
	t.Parallel()
	const kept, ahead = 4, 2
	segments := wal.LSN(1000)
	if thorough() {
		segments = 10_000
	}
	dir := filepath.Join(fastDir(t), "log")
	o := small()
	o.SegmentsAhead, o.FillBytes = ahead, 4096
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	rec := make([]byte, l.MaxRecordBytes()) // one fills a segment
	most, before := 0, uint64(0)
	for i := range segments {
		copy(rec, record(i+1, 64))
		if _, err = l.Append(rec); err != nil {
			t.Fatal(err)
		}
		if i >= segments/2 {
			awaitReady(t, l, dir, ahead)
		}
		if i == segments/2+1 { // the spare of the cut before this one was there
			before = l.Stats().Recycled
		}
		if i+1 > kept {
			if err = l.TruncateFront(i + 2 - kept); err != nil {
				t.Fatal(err)
			}
		}
		if i%50 == 0 {
			names, rerr := os.ReadDir(dir)
			if rerr != nil {
				t.Fatal(rerr)
			}
			most = max(most, len(names))
		}
	}
	// The lock file, the records, those prepared, one that waits to be used
	// again, and one that is being prepared while a rotation has just begun.
	if limit := 1 + kept + ahead + 1 + 1; most > limit {
		t.Errorf("the directory held %d files, want no more than %d", most, limit)
	}
	s := l.Stats()
	t.Logf("%d rotations, %d segments prepared, %d of them recycled; at most %d files", s.Rotations, s.Prepared, s.Recycled, most)
	if want := uint64(segments/2 - 2); s.Recycled-before < want {
		t.Errorf("%d segments were recycled behind a wait for the preparer, want %d", s.Recycled-before, want)
	}
	killed := takeLive(t, l, dir)
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{killed.dir, dir} {
		l = openLog(t, d, o)
		for lsn := segments - kept + 1; lsn <= segments; lsn++ {
			if p, err := l.Get(lsn); err != nil || !bytes.Equal(p[:64], record(lsn, 64)) {
				t.Fatalf("get of %d: %v", lsn, err)
			}
		}
		if l.FirstLSN() != segments-kept+1 {
			t.Errorf("first LSN %d", l.FirstLSN())
		}
	}
}
