package wal_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// TestCommit waits for records in every state.
func TestCommit(t *testing.T) {
	l, _ := newTestLog(t, small())
	ctx := context.Background()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Commit(ctx, 0); err != nil {
		t.Errorf("commit of nothing: %v", err)
	}
	if err := l.Commit(ctx, 1); !errors.Is(err, wal.ErrNotFound) {
		t.Errorf("commit of what is not appended: %v, want ErrNotFound", err)
	}
	appendRecords(t, l, 3, 10)
	if err := l.Commit(cancelled, 2); !errors.Is(err, context.Canceled) || l.DurableLSN() != 0 {
		t.Errorf("commit with an ended context: %v, durable %d", err, l.DurableLSN())
	}
	if err := l.Commit(ctx, 2); err != nil || l.DurableLSN() != 3 {
		t.Errorf("commit of 2: %v, durable %d, want all three", err, l.DurableLSN())
	}
	syncs := l.Stats().Syncs
	if err := l.Commit(cancelled, 3); err != nil || l.Stats().Syncs != syncs {
		t.Errorf("commit of what is durable: %v, %d syncs more", err, l.Stats().Syncs-syncs)
	}
	if err := l.Commit(ctx, 4); !errors.Is(err, wal.ErrNotFound) {
		t.Errorf("commit of the next: %v, want ErrNotFound", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(ctx, 3); err != nil {
		t.Errorf("commit of what is durable, closed: %v", err)
	}
}

// TestCommitCancelled ends the context of a commit that leads a sync: the sync
// goes on, and the record stays.
func TestCommitCancelled(t *testing.T) {
	l, _ := newTestLog(t, small())
	for range 50 {
		appendRecords(t, l, 1, 10)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		lsn := l.LastLSN()
		go func() { done <- l.Commit(ctx, lsn) }()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := l.Commit(context.Background(), lsn); err != nil || l.DurableLSN() < lsn {
			t.Fatalf("durable %d of %d: %v", l.DurableLSN(), lsn, err)
		}
	}
	wantRecords(t, l, 1, 50, 10)
}

// TestOnDurable is told of each advance, in order, one at a time, before those
// who wait return.
func TestOnDurable(t *testing.T) {
	var (
		told   atomic.Uint64
		inside atomic.Int32
		o      = small()
		log    atomic.Pointer[wal.Log]
	)
	o.OnDurable = func(lsn wal.LSN) {
		if inside.Add(1) != 1 {
			t.Error("called twice at once")
		}
		if was := told.Swap(uint64(lsn)); was >= uint64(lsn) {
			t.Errorf("told of %d after %d", lsn, was)
		}
		if l := log.Load(); l.DurableLSN() < lsn || l.FirstLSN() != 1 || l.LastLSN() < lsn || l.Stats().Records == 0 {
			t.Errorf("told of %d: durable %d, last %d", lsn, l.DurableLSN(), l.LastLSN())
		}
		inside.Add(-1)
	}
	l, _ := newTestLog(t, o)
	log.Store(l)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 60 {
				lsn, err := l.Append(make([]byte, 50))
				if err == nil {
					err = l.Commit(context.Background(), lsn)
				}
				if err != nil || told.Load() < uint64(lsn) {
					t.Errorf("record %d committed, told of %d: %v", lsn, told.Load(), err)
					return
				}
			}
		})
	}
	wg.Wait()
	appendRecords(t, l, 1, 10)
	if err := l.Close(); err != nil || told.Load() != 361 {
		t.Errorf("told of %d by the close, %v", told.Load(), err)
	}
}

// TestCommitBesideOnDurable commits a record that a sync has made durable while
// OnDurable is told of it: Commit returns no sooner than OnDurable does. So does the
// Commit of a record that was durable when the log was opened: at once.
func TestCommitBesideOnDurable(t *testing.T) {
	t.Parallel()
	o := small()
	entered, leave := make(chan struct{}), make(chan struct{})
	var told atomic.Bool
	o.OnDurable = func(wal.LSN) {
		close(entered)
		<-leave
		told.Store(true)
	}
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 1, 10)
	synced := make(chan error, 1)
	go func() { synced <- l.Sync() }()
	<-entered
	if l.DurableLSN() != 1 {
		t.Fatalf("durable %d", l.DurableLSN())
	}
	committed := make(chan error, 1)
	go func() {
		err := l.Commit(context.Background(), 1)
		if !told.Load() {
			err = errors.Join(err, errors.New("Commit returned before OnDurable did"))
		}
		committed <- err
	}()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Commit(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a Commit that waits for OnDurable, cancelled: %v", err)
	}
	close(leave)
	must(t, <-committed)
	must(t, <-synced)
	must(t, l.Close())
	o.OnDurable = func(lsn wal.LSN) { t.Errorf("told of %d", lsn) }
	l = openLog(t, dir, o)
	must(t, l.Commit(context.Background(), 1))
}

// TestSyncEvery makes records durable without being asked.
func TestSyncEvery(t *testing.T) {
	durable := make(chan wal.LSN, 1000)
	o := small()
	o.Sync = wal.SyncEvery(time.Millisecond)
	o.OnDurable = func(lsn wal.LSN) { durable <- lsn }
	l, _ := newTestLog(t, o)
	for round := wal.LSN(1); round <= 3; round++ {
		appendRecords(t, l, 5, 100)
		for got := wal.LSN(0); got < 5*round; {
			select {
			case got = <-durable:
			case <-time.After(patience):
				t.Fatalf("round %d: durable %d", round, got)
			}
		}
	}
}

// TestSyncEveryAfterASyncThatCameFirst has a record be covered by the sync of somebody
// else before its append asks for one: the records that come later are still synced.
func TestSyncEveryAfterASyncThatCameFirst(t *testing.T) {
	storing, syncing := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o := small()
	o.Sync = wal.SyncEvery(time.Millisecond)
	o.Tracer = tracerFunc(func(e durability.Event) {
		if e.Op == durability.OpStore && e.Offset >= frame.DataOffset {
			once.Do(func() {
				close(storing)
				<-syncing
			})
		}
	})
	l, _ := newTestLog(t, o)
	done := make(chan error, 2)
	go func() {
		_, err := l.Append(record(1, 100))
		done <- err
	}()
	<-storing // with the lock that a sync needs to see what there is
	go func() { done <- l.Checkpoint() }()
	blocked := awaitBlockedSync()
	close(syncing)
	if !blocked {
		t.Error("no sync waits for the appender")
	}
	for range 2 {
		must(t, <-done)
	}
	time.Sleep(20 * time.Millisecond) // the interval is over; if not, the next record is covered by it
	appendRecords(t, l, 1, 100)
	for end := time.Now().Add(patience); l.DurableLSN() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("durable %d", l.DurableLSN())
		}
	}
}

// awaitBlockedSync waits until a sync has begun, and waits for the appender.
func awaitBlockedSync() bool {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for g := range bytes.SplitSeq(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
			if bytes.Contains(g, []byte("[sync.Mutex.Lock")) && bytes.Contains(g, []byte("(*Log).syncLocked(")) {
				return true
			}
		}
	}
	return false
}

// TestCloseDuringAppends closes a log while it is appended to, committed and
// read: each call returns nil or ErrClosed, and what returned nil is there.
func TestCloseDuringAppends(t *testing.T) {
	for round := range 8 {
		o := small()
		if round%2 == 1 {
			o.Sync = wal.SyncEach
		}
		l, dir := newTestLog(t, o)
		var (
			wg    sync.WaitGroup
			last  atomic.Uint64
			begun = make(chan struct{}, 100)
		)
		most := func(lsn wal.LSN) {
			for was := last.Load(); uint64(lsn) > was && !last.CompareAndSwap(was, uint64(lsn)); was = last.Load() {
			}
		}
		for i := range 6 {
			wg.Go(func() {
				for n := 0; ; n++ {
					lsn, err := l.AppendBatch([][]byte{make([]byte, 500*i), {1}})
					if err == nil {
						most(lsn)
					}
					if err == nil && i%2 == 0 {
						err = l.Commit(context.Background(), lsn)
					}
					if errors.Is(err, wal.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if n == 10 {
						begun <- struct{}{}
					}
				}
			})
		}
		ended := make(chan struct{})
		wg.Go(func() {
			r := l.Reader(0)
			for r.Err() == nil {
				r.Next()
				select {
				case <-ended:
					return
				default:
				}
			}
			if !errors.Is(r.Err(), wal.ErrClosed) {
				t.Errorf("reader: %v", r.Err())
			}
		})
		<-begun
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		close(ended)
		wg.Wait()
		if err := l.Close(); !errors.Is(err, wal.ErrClosed) {
			t.Errorf("second close: %v, want ErrClosed", err)
		}
		rep, err := wal.Verify(dir)
		if err != nil || rep.Verdict != wal.Clean || rep.LastLSN < wal.LSN(last.Load()) || rep.DurableLSN != rep.LastLSN {
			t.Fatalf("round %d: %+v, %v; appended up to %d", round, rep, err, last.Load())
		}
	}
}

// TestClosed calls everything on a closed log.
func TestClosed(t *testing.T) {
	l, _ := newTestLog(t, small())
	appendRecords(t, l, 2, 10)
	r := l.Reader(1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for what, fn := range map[string]func() error{
		"append":     func() error { _, err := l.Append(nil); return err },
		"batch":      func() error { _, err := l.AppendBatch([][]byte{{1}}); return err },
		"sync":       l.Sync,
		"checkpoint": l.Checkpoint,
		"close":      l.Close,
		"get":        func() error { _, err := l.Get(1); return err },
		"reader":     func() error { r.Next(); return r.Err() },
	} {
		if err := fn(); !errors.Is(err, wal.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
	if l.FirstLSN() != 1 || l.LastLSN() != 2 || l.DurableLSN() != 2 {
		t.Errorf("%d to %d, durable %d", l.FirstLSN(), l.LastLSN(), l.DurableLSN())
	}
	if s := l.Stats(); s.Records != 2 || s.AtRiskRecords != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// TestStats counts.
func TestStats(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 14, 10000) // three rotations
	s := l.Stats()
	if s.Records != 14 || s.Bytes != 140000 || s.Rotations != 3 || s.Segments != 4 || s.AtRiskRecords != 14 ||
		s.Syncs != 0 || s.AtRisk < 14*10024 || s.SyncTime != 0 {
		t.Errorf("appended: %+v", s)
	}
	awaitPrepared(t, l, dir)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	s = l.Stats()
	if s.Syncs != 4 || s.AtRisk != 0 || s.AtRiskRecords != 0 || s.SyncTime <= 0 || s.SyncMax <= 0 ||
		s.SyncMax > s.SyncTime || s.Checkpoints != 0 || s.Prepared != 5 || s.Ready != 2 {
		t.Errorf("synced: %+v", s)
	}
	appendRecords(t, l, 1, 10)
	if s = l.Stats(); s.AtRisk != 40 || s.AtRiskRecords != 1 {
		t.Errorf("one more: %+v", s)
	}
	for range 3 {
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if s = l.Stats(); s.Checkpoints != 1 || s.AtRisk != 0 {
		t.Errorf("three checkpoints of the same: %+v", s)
	}
}
