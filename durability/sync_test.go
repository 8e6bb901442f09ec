package durability_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// isSync reports whether the operation is a sync.
func isSync(op durability.Op) bool {
	switch op {
	case durability.OpMsync, durability.OpDatasync, durability.OpSync, durability.OpSyncDir, durabilitytest.OpWriteOut:
		return true
	}
	return false
}

// syncs is every way to sync: on one file, and on its directory.
type syncs struct {
	d    *durability.Dir
	f    *durability.File
	m, n *durability.Mapping
}

func newSyncs(t *testing.T, tracer durability.Tracer) syncs {
	d := newDir(t, tracer)
	f := newFile(t, d, "f", 4*page)
	return syncs{d: d, f: f, m: mapFile(t, f, 4*page), n: mapFile(t, f, page)}
}

// onFile returns the syncs of the file, by name.
func (s syncs) onFile() map[string]func() error {
	return map[string]func() error{
		"msync":            func() error { return s.m.Sync(0, 4*page) },
		"msync of another": func() error { return s.n.Sync(0, 1) },
		"msync of nothing": func() error { return s.n.Sync(5, 0) },
		"fdatasync":        s.f.Datasync,
		"fsync":            s.f.Sync,
		"sync_file_range":  func() error { return s.f.WriteOut(0, page) },
	}
}

// TestFirstFailureSticks fails one sync in every way, and checks that no other
// reaches the kernel afterwards.
func TestFirstFailureSticks(t *testing.T) {
	t.Parallel()
	for first := range (syncs{}).onFile() {
		if first == "msync of nothing" {
			continue
		}
		for _, phase := range []durability.Phase{durability.Before, durability.After} {
			t.Run(first+" "+phase.String(), func(t *testing.T) {
				t.Parallel()
				s := newSyncs(t, nil)
				calls := 0
				durabilitytest.Inject(t, s.d.Path(), func(c *durabilitytest.Call) error {
					if !isSync(c.Op) || c.Phase != phase {
						return nil
					}
					if calls++; calls == 1 {
						return unix.EIO
					}
					return nil
				})
				err := s.onFile()[first]()
				var failed *durability.SyncError
				if !errors.As(err, &failed) || !errors.Is(err, unix.EIO) || errors.Is(err, durability.ErrFailed) {
					t.Fatalf("the first failure is %v, want a SyncError with EIO", err)
				}
				if failed.Path != s.f.Path() || failed.Op != strings.TrimSuffix(first, " of another") {
					t.Errorf("the first failure is of %s %s, want %s %s", failed.Op, failed.Path, first, s.f.Path())
				}
				for name, again := range s.onFile() {
					err := again()
					wantErr(t, err, durability.ErrFailed, s.f.Path())
					wantErr(t, err, unix.EIO)
					if !errors.As(err, &failed) {
						t.Errorf("%s afterwards returns %T, want a SyncError", name, err)
					}
				}
				if calls != 1 {
					t.Errorf("%d syncs reached the kernel, want 1", calls)
				}
				must(t, s.d.Sync())
				must(t, newFile(t, s.d, "other", page).Sync())
			})
		}
	}
}

// TestDirFailureSticks is the same for a directory.
func TestDirFailureSticks(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	calls := 0
	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op != durability.OpSyncDir || c.Phase != durability.Before {
			return nil
		}
		calls++
		return unix.ENOSPC
	})
	err := d.Sync()
	wantErr(t, err, durability.ErrNoSpace, d.Path())
	wantErr(t, err, unix.ENOSPC)
	if errors.Is(err, durability.ErrFailed) {
		t.Errorf("the first failure is %v already", durability.ErrFailed)
	}
	err = d.Sync()
	wantErr(t, err, durability.ErrFailed, d.Path())
	wantErr(t, err, durability.ErrNoSpace)
	if calls != 1 {
		t.Errorf("%d syncs reached the kernel, want 1", calls)
	}
}

// TestInterrupted repeats what a signal interrupted, and holds it for no failure.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSyncs(t, nil)
	calls := map[durability.Op]int{}
	durabilitytest.Inject(t, s.d.Path(), func(c *durabilitytest.Call) error {
		if c.Phase != durability.Before {
			return nil
		}
		if calls[c.Op]++; calls[c.Op] < 3 {
			return unix.EINTR
		}
		return nil
	})
	must(t, s.d.Sync())
	must(t, s.f.Sync())
	must(t, s.f.Datasync())
	must(t, s.m.Sync(0, page))
	must(t, s.f.Truncate(5*page))
	_, err := s.f.WriteAt([]byte("x"), 0)
	must(t, err)
	_, err = s.f.ReadAt(make([]byte, 1), 0)
	must(t, err)
	want := map[durability.Op]int{
		durability.OpSyncDir: 3, durability.OpSync: 3, durability.OpDatasync: 3, durability.OpMsync: 3,
		durability.OpTruncate: 3, durability.OpWrite: 3, durabilitytest.OpRead: 3,
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestInterruptedByKernel repeats what the kernel itself cut short.
func TestInterruptedByKernel(t *testing.T) {
	t.Parallel()
	answers := []error{unix.EINTR, unix.EINTR, unix.EIO, nil}
	err := durability.Ask(func() error {
		err := answers[0]
		answers = answers[1:]
		return err
	})
	if !errors.Is(err, unix.EIO) || len(answers) != 1 {
		t.Errorf("the answer is %v with %d left, want %v with 1", err, len(answers), unix.EIO)
	}
}

// TestOneSyncAtATime holds the first sync in the kernel until every other one
// waits for it, then lets it fail: none of the others may reach the kernel.
func TestOneSyncAtATime(t *testing.T) {
	t.Parallel()
	s := newSyncs(t, nil)
	var entered atomic.Int32
	inKernel, release := make(chan struct{}), make(chan struct{})
	durabilitytest.Inject(t, s.d.Path(), func(c *durabilitytest.Call) error {
		if !isSync(c.Op) || c.Phase != durability.Before {
			return nil
		}
		if entered.Add(1) > 1 {
			return nil
		}
		close(inKernel)
		<-release
		return unix.EIO
	})
	var wg sync.WaitGroup
	errs := make(chan error, 10)
	wg.Go(func() { errs <- s.m.Sync(0, page) })
	<-inKernel
	others := s.onFile()
	for _, again := range others {
		wg.Go(func() { errs <- again() })
	}
	// This ends what hangs, and nothing else.
	deadline := time.Now().Add(3 * time.Minute)
	for entered.Load() == 1 && waiting("durability.(*syncer).run") < len(others) {
		if time.Now().After(deadline) {
			t.Error("the other syncs neither wait nor go on")
			break
		}
		time.Sleep(time.Millisecond) // to look stops all goroutines
	}
	close(release)
	wg.Wait()
	close(errs)
	failed, refused := 0, 0
	for err := range errs {
		switch {
		case errors.Is(err, durability.ErrFailed):
			refused++
		case errors.Is(err, unix.EIO):
			failed++
		}
	}
	if entered.Load() != 1 || failed != 1 || refused != len(others) {
		t.Errorf("%d syncs reached the kernel, %d failed, %d were refused; want 1, 1, %d",
			entered.Load(), failed, refused, len(others))
	}
}

// waiting counts the goroutines that wait for a mutex in the function.
func waiting(function string) int {
	buf := make([]byte, 1<<20)
	size := runtime.Stack(buf, true)
	for size == len(buf) { // cut off
		buf = make([]byte, 2*len(buf))
		size = runtime.Stack(buf, true)
	}
	n := 0
	for g := range strings.SplitSeq(string(buf[:size]), "\n\n") {
		if strings.Contains(g, "sync.Mutex.Lock") && strings.Contains(g, function) {
			n++
		}
	}
	return n
}

// TestSyncRange checks that msync gets whole pages.
func TestSyncRange(t *testing.T) {
	t.Parallel()
	r := durabilitytest.NewRecorder()
	s := newSyncs(t, r)
	cases := []struct{ off, n, from, to int64 }{
		{0, 1, 0, 1},
		{0, page, 0, 1},
		{1, page, 0, 2},
		{page - 1, 1, 0, 1},
		{page, 1, 1, 2},
		{page + 1, 2 * page, 1, 4},
		{4*page - 1, 1, 3, 4},
		{0, 4 * page, 0, 4},
	}
	for _, c := range cases {
		before := r.Len()
		must(t, s.m.Sync(c.off, c.n))
		events := r.Events()[before:]
		if len(events) != 2 {
			t.Fatalf("Sync(%d, %d): %d events, want 2", c.off, c.n, len(events))
		}
		for _, e := range events {
			if e.Op != durability.OpMsync || e.Offset != c.from*page || e.Length != (c.to-c.from)*page {
				t.Errorf("Sync(%d, %d): %v of [%d, +%d), want msync of pages [%d, %d)", c.off, c.n, e.Op, e.Offset, e.Length, c.from, c.to)
			}
		}
	}
	before := r.Len()
	must(t, s.m.Sync(4*page, 0))
	if r.Len() != before {
		t.Errorf("a sync of nothing has events: %v", r.Events()[before:])
	}
}

// TestSyncReachesKernel checks by the dirty pages of the page cache that each
// sync is one.
func TestSyncReachesKernel(t *testing.T) {
	t.Parallel()
	s := newSyncs(t, nil)
	if fsys, err := s.f.Filesystem(); err != nil || !fsys.Durable {
		t.Skipf("%s keeps its pages dirty", fsys.Name)
	}
	if pc, err := s.f.PageCache(0, 0); err != nil || pc.Known != durability.Known {
		cannot(t, "needs cachestat(2): "+pc.Reason)
	}
	for name, do := range s.onFile() {
		if name == "msync of nothing" {
			continue
		}
		must(t, s.f.Sync())
		pagesUntil(t, s.f, 0, page, func() error { return s.m.Store(8, []byte("dirty"), nil) },
			func(pc durability.PageCache) bool { return pc.Dirty > 0 })
		must(t, do())
		if pc, _ := s.f.PageCache(0, page); pc.Dirty != 0 || pc.Writeback != 0 {
			t.Errorf("after %s: %+v, want no dirty page", name, pc)
		}
	}
}
