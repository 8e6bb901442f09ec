package wal_test

import (
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// gate holds up the calls that match until it is opened, or lets one pass.
type gate struct {
	match func(*durabilitytest.Call) bool
	pass  chan error // what the call that waits is answered
}

// hook is the hook for durabilitytest.Inject.
func (g *gate) hook(c *durabilitytest.Call) error {
	if c.Phase == durability.Before && g.match(c) {
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
	g := &gate{
		match: func(c *durabilitytest.Call) bool { return c.Op == durability.OpCreate },
		pass:  make(chan error),
	}
	durabilitytest.Inject(t, root, g.hook)
	appendRecords(t, l, 10, 4000)
	var wg sync.WaitGroup
	errs := make(chan error)
	for range 8 {
		wg.Go(func() {
			_, err := l.Append(make([]byte, 4000))
			errs <- err
		})
	}
	for l.Stats().Waits < 7 { // a record more fits into the first segment
		runtime.Gosched()
	}
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
	g := &gate{
		match: func(c *durabilitytest.Call) bool { return c.Op == durability.OpRename },
		pass:  make(chan error),
	}
	durabilitytest.Inject(t, root, g.hook)
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
		runtime.Gosched()
	}
	for range 3 {
		var err error
		for err == nil {
			select {
			case g.pass <- unix.ENOSPC:
			case err = <-refused:
			}
		}
		wantNoSpace(t, err, ".tmp")
		if n := len(namesIn(t, dir, ".tmp")); n != wal.MaxSegmentsAhead {
			t.Errorf("%d segments wait for their names, want %d", n, wal.MaxSegmentsAhead)
		}
		again <- struct{}{}
	}
	close(g.pass)
	for err := range refused { // by an attempt from before
		wantNoSpace(t, err, ".tmp")
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
