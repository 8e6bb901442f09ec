package wal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// gate holds up the calls that match until it is opened, or lets one pass.
type gate struct {
	match   func(*durabilitytest.Call) bool
	pass    chan error // what the call that waits is answered
	arrived atomic.Int64
}

// hook is the hook for durabilitytest.Inject.
func (g *gate) hook(c *durabilitytest.Call) error {
	if c.Phase == durability.Before && g.match(c) {
		g.arrived.Add(1)
		return <-g.pass
	}
	return nil
}

// TestWaitersShareASegment has eight appenders wait for the last segment that
// there is room for: what fits into it is appended, by all of them.
func TestWaitersShareASegment(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	o := small()
	o.SegmentsAhead = 1
	l := openLog(t, root+"/log", o)
	g := newGate(t, root, durability.OpCreate)
	appendRecords(t, l, 10, 4000)
	var wg sync.WaitGroup
	errs := make(chan error)
	for range 8 {
		wg.Go(func() {
			_, err := l.Append(make([]byte, 4000))
			errs <- err
		})
	}
	awaitWaits(l, 7) // a record more fits into the first segment
	g.pass <- nil
	wg.Go(func() { // the next one finds no room
		for done := 0; done < 8; {
			select {
			case g.pass <- unix.ENOSPC:
			case err := <-errs:
				done++
				if err != nil {
					t.Errorf("append where there is room: %v", err)
				}
			}
		}
		close(g.pass)
	})
	wg.Wait()
}

// TestNoRoomForNames outruns a directory that is slow to give names, and then
// has room for none: at the bound of segments that wait for theirs Append says
// so, each time, and goes on once there is room. Nothing is lost.
func TestNoRoomForNames(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	dir := root + "/log"
	l := openLog(t, dir, small())
	g := newGate(t, root, durability.OpRename)
	refused, again := make(chan error), make(chan struct{})
	go func() {
		defer close(refused)
		for more := 20; more > 0; {
			lsn := l.LastLSN() + 1
			if _, err := l.Append(record(lsn, 9000)); err != nil {
				refused <- err
				<-again
				continue
			}
			if l.Stats().Rotations > wal.MaxSegmentsAhead {
				more--
			}
		}
	}()
	for len(namesIn(t, dir, ".tmp")) < wal.MaxSegmentsAhead {
		time.Sleep(100 * time.Microsecond)
	}
	answered := int64(0)
	for round := range 3 {
		var err error
		for err == nil {
			select {
			case g.pass <- unix.ENOSPC:
				answered++
			case err = <-refused:
			}
		}
		wantNoSpace(t, err, ".tmp")
		if n := len(namesIn(t, dir, ".tmp")); n != wal.MaxSegmentsAhead {
			t.Errorf("%d segments wait for their names, want %d", n, wal.MaxSegmentsAhead)
		}
		if round < 2 {
			again <- struct{}{}
		}
	}
	// An attempt that is under way when the append begins does not count.
	g.await(answered + 1)
	waits := l.Stats().Waits
	again <- struct{}{}
	awaitWaits(l, waits+1)
	g.pass <- unix.ENOSPC
	close(g.pass)
	for err := range refused {
		t.Errorf("append with room for names again: %v", err)
		again <- struct{}{}
	}
	wantRecords(t, l, 1, l.LastLSN(), 9000)
}

// namesIn returns the names in a directory that end so.
func namesIn(t *testing.T, dir, suffix string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestWaitsEnd has appends and a reset wait for a segment that is not made: a
// close, and the first failure of a sync, end them at once.
func TestWaitsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*wal.Log) error // what ends the waits
		want error
	}{
		"close":  {(*wal.Log).Close, wal.ErrClosed},
		"poison": {(*wal.Log).Sync, wal.ErrPoisoned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fastDir(t)
			l, err := wal.Open(root+"/log", small())
			if err != nil {
				t.Fatal(err)
			}
			g := newGate(t, root, durability.OpCreate)
			durabilitytest.Inject(t, root, func(c *durabilitytest.Call) error {
				if c.Op == durability.OpMsync && name == "poison" {
					return unix.EIO
				}
				return nil
			})
			waits := make(chan error)
			for range 3 {
				go func() {
					var err error
					for err == nil {
						_, err = l.Append(make([]byte, 4000))
					}
					waits <- err
				}()
			}
			awaitWaits(l, 3)
			ended := make(chan error, 1)
			go func() { ended <- c.end(l) }()
			for range 3 {
				if err := <-waits; !errors.Is(err, c.want) {
					t.Errorf("a wait ended with %v, want %v", err, c.want)
				}
			}
			close(g.pass)
			if err := <-ended; errors.Is(err, wal.ErrPoisoned) != (name == "poison") {
				t.Error(err)
			}
			_ = l.Close() // the second one, or of a poisoned log
		})
	}
}

// TestCommitDoesNotWaitForAName cancels a Commit that waits for the name of the
// segment that its record lies in.
func TestCommitDoesNotWaitForAName(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	l := openLog(t, root+"/log", small())
	g := newGate(t, root, durability.OpRename)
	appendRecords(t, l, 10, 9000)
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	if err := l.Commit(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	close(g.pass)
	if err := l.Commit(context.Background(), 10); err != nil {
		t.Error(err)
	}
}

// TestCloseAsksForANameAnew frees space and closes the log while an attempt to name
// its last segment is under way that found none: another one is made.
func TestCloseAsksForANameAnew(t *testing.T) {
	t.Parallel()
	dir := fastDir(t) + "/log"
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, dir, durability.OpRename)
	appendRecords(t, l, 8, 9000)
	g.await(1)
	closed := startBlocked(t, "(*Log).Close", l.Close)
	g.pass <- unix.ENOSPC
	close(g.pass)
	if err = <-closed; err != nil {
		t.Errorf("close with room for the name: %v", err)
	}
	wantRecords(t, openLog(t, dir, small()), 1, 8, 9000)
}

// TestResetComesBeforeAppends has a Reset and appenders wait for one segment:
// the Reset gets it.
func TestResetComesBeforeAppends(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	o := small()
	o.SegmentsAhead = 1
	l := openLog(t, root+"/log", o)
	g := newGate(t, root, durability.OpCreate)
	appendRecords(t, l, 10, 4000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := l.Append(make([]byte, 9000)); err != nil {
				t.Error(err)
			}
		})
	}
	awaitWaits(l, 8)
	reset := make(chan error)
	go func() { reset <- l.Reset(1000) }()
	awaitWaits(l, 9)
	g.pass <- nil
	if err := <-reset; err != nil || l.FirstLSN() != 1000 {
		t.Errorf("reset: %v, the first is LSN %d", err, l.FirstLSN())
	}
	close(g.pass)
	wg.Wait()
}

// TestAppendsDoNotOvertakeAReset has a segment ready and a Reset in progress, which
// syncs: an append that needs the segment waits.
func TestAppendsDoNotOvertakeAReset(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	dir := root + "/log"
	l := openLog(t, dir, small())
	appendRecords(t, l, 1, 40000)
	awaitPrepared(t, l, dir)
	g := newGate(t, root, durability.OpMsync)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Reset(1000); err != nil {
			t.Error(err)
		}
	})
	g.await(1)
	wg.Go(func() {
		if lsn, err := l.Append(make([]byte, 9000)); err != nil || lsn != 1000 {
			t.Errorf("append: LSN %d, %v", lsn, err)
		}
	})
	for st := l.Stats(); st.Waits == 0; st = l.Stats() {
		if st.Rotations > 0 {
			t.Error("the segment was taken")
			break
		}
	}
	close(g.pass)
	wg.Wait()
}

// TestResetBehindManySegments has a Reset come when so many segments wait for a
// sync that none is prepared: it syncs them.
func TestResetBehindManySegments(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	l := openLog(t, root+"/log", small())
	appendRecords(t, l, 1, 40000)
	g := newGate(t, root, durability.OpMsync)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Sync(); err != nil { // of the first record
			t.Error(err)
		}
	})
	g.await(1)
	wg.Go(func() {
		for range wal.MaxUnsynced + 10 {
			if _, err := l.Append(make([]byte, 40000)); err != nil {
				t.Error(err)
			}
		}
	})
	for st := l.Stats(); st.Segments < wal.MaxUnsynced || st.Ready > 0; st = l.Stats() {
		time.Sleep(100 * time.Microsecond)
	}
	reset := startBlocked(t, "(*Log).Reset", func() error { return l.Reset(1000) })
	close(g.pass)
	if err := <-reset; err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestSegmentsWithoutASyncAreBounded appends to a log that nobody syncs: it
// syncs behind the appender, who waits at the bound.
func TestSegmentsWithoutASyncAreBounded(t *testing.T) {
	t.Parallel()
	root := fastDir(t)
	dir := root + "/log"
	l := openLog(t, dir, small())
	g := newGate(t, root, durability.OpMsync)
	var wg sync.WaitGroup
	wg.Go(func() { appendRecords(t, l, 3*wal.MaxUnsynced, 40000) })
	defer wg.Wait()
	open := sync.OnceFunc(func() { close(g.pass) })
	defer open()
	// Those that are ahead when the bound is reached are entered still.
	const most = wal.MaxUnsynced + wal.DefaultSegmentsAhead
	for st := l.Stats(); st.Segments < wal.MaxUnsynced || st.Ready > 0; st = l.Stats() {
		time.Sleep(100 * time.Microsecond)
	}
	// Nothing is left to go on in, and nothing may be prepared.
	for range 50 {
		n, fds := l.Stats().Segments, descriptorsIn(t, dir)
		// Two of each, one of which is locked, with the prepared ones; the
		// directory, the lock.
		if n > most || fds > 2*(most+2)+2 {
			t.Fatalf("%d descriptors, %d segments that no sync has covered", fds, n)
		}
	}
	open()
	wg.Wait()
	if n := l.DurableLSN(); n < wal.MaxUnsynced {
		t.Errorf("durable up to LSN %d of %d", n, l.LastLSN())
	}
}

// newGate holds up the calls of one kind, until the channel is closed; an error
// that is sent to it answers one.
func newGate(t *testing.T, dir string, op durability.Op) *gate {
	t.Helper()
	g := &gate{match: func(c *durabilitytest.Call) bool { return c.Op == op }, pass: make(chan error)}
	durabilitytest.Inject(t, dir, g.hook)
	return g
}

// await waits until so many calls have come to the gate.
func (g *gate) await(n int64) {
	for g.arrived.Load() < n {
		time.Sleep(100 * time.Microsecond)
	}
}

// awaitWaits waits until there were so many waits for a segment.
func awaitWaits(l *wal.Log, n uint64) {
	for l.Stats().Waits < n {
		time.Sleep(100 * time.Microsecond)
	}
}

// descriptorsIn returns how many descriptors of this process lead into dir.
func descriptorsIn(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		// Others come and go.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}
