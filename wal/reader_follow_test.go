package wal_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// follower calls Follow once, in a goroutine of its own.
type follower struct {
	r         *wal.Reader
	goroutine chan string
	done      chan bool
}

func startFollow(ctx context.Context, r *wal.Reader) *follower {
	f := &follower{r: r, goroutine: make(chan string, 1), done: make(chan bool, 1)}
	go func() {
		f.goroutine <- thisGoroutine()
		f.done <- r.Follow(ctx)
	}()
	return f
}

// waits wants the follower to wait.
func (f *follower) waits(t *testing.T) {
	t.Helper()
	for goroutine := <-f.goroutine; !isBlocked(goroutine, "(*Reader).Follow"); time.Sleep(100 * time.Microsecond) {
		select {
		case ok := <-f.done:
			t.Fatalf("follow returned %v: record %d, %v", ok, f.r.LSN(), f.r.Err())
		default:
		}
	}
}

// returns wants it to return that record.
func (f *follower) returns(t *testing.T, lsn wal.LSN, p []byte) {
	t.Helper()
	if ok := <-f.done; !ok || f.r.LSN() != lsn || !bytes.Equal(f.r.Record(), p) {
		t.Fatalf("follow returned %v: record %d (want %d), %v", ok, f.r.LSN(), lsn, f.r.Err())
	}
}

// ends wants it to end with that error.
func (f *follower) ends(t *testing.T, want error) {
	t.Helper()
	if ok := <-f.done; ok || !errors.Is(f.r.Err(), want) {
		t.Fatalf("follow returned %v: %v, want %v", ok, f.r.Err(), want)
	}
}

// TestFollow waits for records to come, and for syncs.
func TestFollow(t *testing.T) {
	l, _ := newTestLog(t, small())
	all, safe := l.Reader(0), l.Reader(0).Durable()
	for lsn := wal.LSN(1); lsn <= 12; lsn++ {
		fa, fs := startFollow(t.Context(), all), startFollow(t.Context(), safe)
		if lsn%4 == 1 {
			fa.waits(t)
		}
		appendRecords(t, l, 1, 20000)
		fa.returns(t, lsn, record(lsn, 20000))
		if lsn%4 == 1 {
			fs.waits(t)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		fs.returns(t, lsn, record(lsn, 20000))
	}
}

// TestFollowEnds ends waiting followers in every way.
func TestFollowEnds(t *testing.T) {
	readers := func(l *wal.Log) []*wal.Reader {
		return []*wal.Reader{l.Reader(0), l.Reader(0).Durable(), l.Reader(0).ZeroCopy()}
	}
	for name, c := range map[string]struct {
		end  func(*wal.Log, context.CancelFunc) error
		want error
	}{
		"context":          {func(_ *wal.Log, cancel context.CancelFunc) error { cancel(); return nil }, context.Canceled},
		"close":            {func(l *wal.Log, _ context.CancelFunc) error { return l.Close() }, wal.ErrClosed},
		"cut at the back":  {func(l *wal.Log, _ context.CancelFunc) error { return l.TruncateBack(4) }, wal.ErrTruncated},
		"reset":            {func(l *wal.Log, _ context.CancelFunc) error { return l.Reset(3) }, wal.ErrTruncated},
		"reset to the end": {func(l *wal.Log, _ context.CancelFunc) error { return l.Reset(6) }, wal.ErrTruncated},
		"reset far away":   {func(l *wal.Log, _ context.CancelFunc) error { return l.Reset(60) }, wal.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := newTestLog(t, small())
			appendRecords(t, l, 5, 100)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var waiting []*follower
			for _, r := range readers(l) {
				for range 5 {
					if !r.Follow(ctx) {
						t.Fatal(r.Err())
					}
				}
				f := startFollow(ctx, r)
				f.waits(t)
				waiting = append(waiting, f)
			}
			if err := c.end(l, cancel); err != nil {
				t.Fatal(err)
			}
			for _, f := range waiting {
				f.ends(t, c.want)
				if !errors.Is(c.want, context.Canceled) {
					continue
				}
				// The reader goes on, now that a reader waits again.
				if f.r.Next() || f.r.Err() != nil {
					t.Fatalf("next: record %d, %v", f.r.LSN(), f.r.Err())
				}
			}
			if !errors.Is(c.want, context.Canceled) {
				return
			}
			appendRecords(t, l, 1, 100)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			for _, f := range waiting {
				startFollow(t.Context(), f.r).returns(t, 6, record(6, 100))
			}
		})
	}
}

// TestFollowOfAPoisonedLog returns what is durable, and then says that no more
// will come.
func TestFollowOfAPoisonedLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	appendRecords(t, l, 3, 100)
	if err = l.Sync(); err != nil {
		t.Fatal(err)
	}
	r := l.Reader(2)
	if first, second := r.Follow(t.Context()), r.Follow(t.Context()); !first || !second {
		t.Fatal(r.Err())
	}
	f := startFollow(t.Context(), r)
	f.waits(t)
	defer durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Op == durability.OpMsync {
			return unix.EIO
		}
		return nil
	})()
	appendRecords(t, l, 1, 100)
	f.returns(t, 4, record(4, 100))
	f = startFollow(t.Context(), r)
	f.waits(t)
	if err = l.Sync(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("sync: %v", err)
	}
	f.ends(t, wal.ErrPoisoned)
	if r = l.Reader(4); r.Next() || r.Err() != nil {
		t.Fatalf("a record that is not durable: %d, %v", r.LSN(), r.Err())
	}
}

// TestFollowBesideCuts follows, reads and gets, by copies and without, while
// one goroutine appends and cuts at both ends and another one syncs, until the
// log is closed: every record is one that was appended under its LSN, and no
// reader sees a generation fall.
func TestFollowBesideCuts(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	o := small()
	l, err := wal.Open(filepath.Join(fastDir(t), "log"), o)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var records, truncated [4]atomic.Int64
	for i, kind := range []func(*wal.Reader) *wal.Reader{
		func(r *wal.Reader) *wal.Reader { return r },
		(*wal.Reader).Durable,
		(*wal.Reader).ZeroCopy,
		func(r *wal.Reader) *wal.Reader { return r.ZeroCopy().Durable() },
	} {
		work.Go(func() {
			for {
				r := kind(l.Reader(0))
				n, rerr := followAll(t.Context(), r)
				records[i].Add(int64(n))
				switch {
				case errors.Is(rerr, wal.ErrClosed):
					return
				case !errors.Is(rerr, wal.ErrTruncated):
					t.Errorf("reader %d: %v", i, rerr)
					return
				}
				truncated[i].Add(1)
			}
		})
	}
	var gets atomic.Int64
	work.Go(func() { getAll(t, l, seed+1, &gets) })
	work.Go(func() {
		for l.Sync() == nil {
			time.Sleep(100 * time.Microsecond)
		}
	})
	g := &generations{l: l}
	rng := newRand(seed)
	end := deadline(t, 5)
	// Whatever the scheduler does, each reader gets to see records and cuts.
	unseen := func() bool {
		for i := range records {
			if (records[i].Load() == 0 || truncated[i].Load() == 0) && !t.Failed() {
				return true
			}
		}
		return false
	}
	for i := 0; i < 2000 || unseen() || time.Now().Before(end); i++ {
		if err = g.step(rng.IntN(100), rng.Uint64()); err != nil {
			t.Errorf("step %d: %v", i, err)
			break
		}
	}
	if err = l.Close(); err != nil {
		t.Error(err)
	}
	work.Wait()
	t.Logf("%d generations, %d appended", g.generation, g.appended)
	for i := range records {
		t.Logf("reader %d: %d records, %d times ErrTruncated", i, records[i].Load(), truncated[i].Load())
	}
	t.Logf("%d gets", gets.Load())
}

// followAll follows until the reader ends, and returns how many records it read.
func followAll(ctx context.Context, r *wal.Reader) (int, error) {
	defer r.Close()
	var s succession
	for r.Follow(ctx) {
		err := durability.Guard(func() error { return s.add(r.LSN(), r.Record()) })
		if err != nil {
			return s.records, err
		}
	}
	return s.records, r.Err()
}

// getAll gets records at random until the log is closed.
func getAll(t *testing.T, l *wal.Log, seed uint64, gets *atomic.Int64) {
	rng := newRand(seed)
	for {
		first, last := l.FirstLSN(), l.LastLSN()
		if last < first {
			last = first
		}
		lsn := first + wal.LSN(rng.Uint64N(uint64(last-first+1)))
		p, err := l.Get(lsn)
		switch {
		case errors.Is(err, wal.ErrClosed):
			return
		case errors.Is(err, wal.ErrTruncated), errors.Is(err, wal.ErrNotFound):
			continue
		case err == nil:
			_, err = generationOf(lsn, p)
		}
		if err != nil {
			t.Errorf("get of %d: %v", lsn, err)
			return
		}
		gets.Add(1)
	}
}

// generations appends records that say what they are, and cuts.
type generations struct {
	l          *wal.Log
	generation uint64
	appended   int
}

// step does one thing, mostly an append; of a hundred choices some are cuts.
func (g *generations) step(choice int, random uint64) error {
	l := g.l
	first, last := l.FirstLSN(), l.LastLSN()
	switch {
	case choice == 0:
		g.generation++
		return l.TruncateBack(last - min(last+1-first, wal.LSN(random%40)))
	case choice == 1:
		return l.TruncateFront(first + (last+1-first)*wal.LSN(random%100)/100)
	case choice == 2 && random%8 == 0:
		g.generation++
		return l.Reset(max(last, 60) - 50 + wal.LSN(random>>8%100))
	case choice == 3:
		return l.Checkpoint()
	case choice < 8:
		var ps [][]byte
		for i := range wal.LSN(random%5 + 1) {
			ps = append(ps, generationRecord(g.generation, last+1+i))
		}
		g.appended += len(ps)
		_, err := l.AppendBatch(ps)
		return err
	}
	g.appended++
	_, err := l.Append(generationRecord(g.generation, last+1))
	return err
}
