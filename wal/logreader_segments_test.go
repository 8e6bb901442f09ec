package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// descriptors counts this process's open files of a directory, itself included.
func descriptors(t *testing.T, dir string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no list of descriptors: %v", err)
	}
	n := 0
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if to == dir || strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

// TestLogReaderGivesBack reads a log of more segments than may be mapped, in
// every way, concurrently with a writer that cuts, and without one: what a LogReader and its
// Readers have mapped and opened is bounded, and gone when they are closed.
func TestLogReaderGivesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	must(t, err)
	o, late := openReader(t, dir), openReader(t, dir)
	var readers []*wal.Reader
	step := func(n int) {
		appendRecords(t, l, n, 20000)
		for _, o := range []*wal.LogReader{o, late} {
			r := o.Reader(0)
			for r.Next() {
			}
			if r.Err() != nil || r.LSN() != l.LastLSN() {
				t.Fatalf("read up to %d of %d: %v", r.LSN(), l.LastLSN(), r.Err())
			}
			readers = append(readers, r)
		}
	}
	step(2 * (wal.MaxMapped + 10))
	must(t, l.TruncateBack(l.LastLSN()-30))
	step(20)
	must(t, l.TruncateFront(9))
	step(1)
	must(t, l.Close())
	for _, r := range readers {
		for r.Next() {
		}
		_ = r.Close()
	}
	// Without a writer only what the two LogReaders keep is left.
	for _, o := range []*wal.LogReader{o, late} {
		if live := o.Live(); live || o.LastLSN() != l.LastLSN() {
			t.Fatalf("live %v, %d to %d", live, o.FirstLSN(), o.LastLSN())
		}
	}
	must(t, late.Close())
	var maps atomic.Int64
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpMap && c.Phase == durability.Before {
			maps.Add(1)
		}
		return nil
	})
	for lsn := o.FirstLSN(); lsn <= o.LastLSN(); lsn++ {
		if _, err = o.Get(lsn); err != nil {
			t.Fatal(err)
		}
	}
	if n := mappings(t, dir); n > wal.MaxMapped || n < wal.MaxMapped/2 {
		t.Errorf("%d mappings, %d are kept", n, wal.MaxMapped)
	}
	maps.Store(0)
	for lsn := o.LastLSN(); lsn > o.LastLSN()-wal.MaxMapped; lsn-- {
		if _, err = o.Get(lsn); err != nil {
			t.Fatal(err)
		}
	}
	if maps.Load() != 0 {
		t.Errorf("%d segments were mapped again that were read last", maps.Load())
	}
	must(t, o.Close())
	if m, d := mappings(t, dir), descriptors(t, dir); m != 0 || d != 0 {
		t.Errorf("%d mappings and %d descriptors are left", m, d)
	}
	if o.FirstLSN() != 0 || o.LastLSN() != 0 || o.DurableLSN() != 0 || o.Live() {
		t.Errorf("closed: %d to %d, durable %d", o.FirstLSN(), o.LastLSN(), o.DurableLSN())
	}
}

// TestGetDuringACut gets records that were got before, of segments that a cut
// took away and the log has again: they are the new ones, and nothing of the
// files that went is held.
func TestGetDuringACut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut  func(*wal.Log) error
		more int
	}{
		"back":  {func(l *wal.Log) error { return l.TruncateBack(1) }, 5},
		"all":   {func(l *wal.Log) error { return l.TruncateBack(0) }, 6},
		"reset": {func(l *wal.Log) error { return l.Reset(1) }, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(fastDir(t), "log")
			l := openLog(t, dir, small())
			must(t, moreOf(l, 6, 20000))
			o := openReader(t, dir)
			for lsn := wal.LSN(1); lsn <= 6; lsn++ {
				if _, err := o.Get(lsn); err != nil {
					t.Fatal(err)
				}
			}
			must(t, c.cut(l))
			must(t, moreOf(l, c.more, 20000))
			if o.LastLSN() != 6 {
				t.Fatalf("last is %d", o.LastLSN())
			}
			for lsn := wal.LSN(1); lsn <= 6; lsn++ {
				want, err := l.Get(lsn)
				must(t, err)
				if got, err := o.Get(lsn); err != nil || string(got) != string(want) {
					t.Errorf("record %d: %v, or not the new one", lsn, err)
				}
			}
			must(t, l.Sync()) // the writer unmaps what is full
			list, err := os.ReadFile("/proc/self/maps")
			if err != nil {
				t.Skipf("no list of mappings: %v", err)
			}
			for line := range strings.Lines(string(list)) {
				if strings.Contains(line, dir+"/") && strings.Contains(line, "(deleted)") {
					t.Errorf("held: %s", line)
				}
			}
		})
	}
}

// TestSegmentGoesBeforeItIsOpened cuts a segment away right before a reader in
// another process opens it: the reader says so, and not what it met.
func TestSegmentGoesBeforeItIsOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lsn  wal.LSN
		file string
		cut  func(*testing.T, *wal.Log, string)
		want error
	}{
		"front": {3, secondName, func(t *testing.T, l *wal.Log, _ string) {
			must(t, l.TruncateFront(5))
		}, wal.ErrTruncated},
		"back, prepared again": {3, secondName, func(t *testing.T, l *wal.Log, dir string) {
			must(t, l.TruncateBack(1))
			must(t, moreOf(l, 1, 100))
			awaitPrepared(t, l, dir)
		}, wal.ErrNotFound},
		"back, entered again": {3, secondName, func(t *testing.T, l *wal.Log, dir string) {
			must(t, l.TruncateBack(1))
			must(t, moreOf(l, 3, 20000))
			awaitPrepared(t, l, dir)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(fastDir(t), "log")
			l := openLog(t, dir, small())
			must(t, moreOf(l, 6, 20000))
			awaitPrepared(t, l, dir)
			must(t, l.Sync())
			o := openReader(t, dir)
			must(t, moreOf(l, 1, 100)) // a writer that is seen at work
			if o.LastLSN() != 7 {
				t.Fatalf("last is %d", o.LastLSN())
			}
			var begun atomic.Bool
			remove := durabilitytest.InjectDir(dir, func(call *durabilitytest.Call) error {
				if call.Op == durabilitytest.OpOpen && call.Phase == durability.Before && call.Name == c.file && begun.CompareAndSwap(false, true) {
					c.cut(t, l, dir) // which may open it too
				}
				return nil
			})
			p, err := o.Get(c.lsn)
			remove()
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if want, _ := l.Get(c.lsn); c.want == nil && string(p) != string(want) {
				t.Error("another record")
			}
		})
	}
}

// TestBlockThatSaysLess reads concurrently with a writer that has taken the lock and no
// more, where the control block is older than the records, or was lost.
func TestBlockThatSaysLess(t *testing.T) {
	t.Parallel()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	must(t, l.Sync())
	early := takeLive(t, l, dir)
	appendRecords(t, l, 3, 100)
	must(t, l.Checkpoint())
	for name, c := range map[string]struct {
		block func(data []byte)
		last  wal.LSN
	}{
		"older": {func(data []byte) {
			copy(data[frame.ControlOffset:][:frame.BlockBytes], early.get(firstName)[frame.ControlOffset:])
		}, 3},
		"lost": {func(data []byte) { clear(data[frame.ControlOffset:][:frame.BlockBytes]) }, 6},
	} {
		t.Run(name, func(t *testing.T) {
			s := takeLive(t, l, dir)
			s.change(firstName, func(data []byte) []byte { c.block(data); return data })
			defer lockLog(t, s.dir)()
			o := openReader(t, s.dir)
			wantBeside(t, name, o, 1, c.last, 100)
			if o.DurableLSN() != c.last {
				t.Errorf("durable is %d", o.DurableLSN())
			}
			if lsns, _, err := dumped(s.dir, wal.DumpOptions{}, nil); err != nil || len(lsns) != int(c.last) {
				t.Errorf("dumped %v, %v", lsns, err)
			}
		})
	}
}

// TestReaderOfALogThatIsGone reads a log of which only the lock file is left.
func TestReaderOfALogThatIsGone(t *testing.T) {
	s := rotated(t)
	for _, name := range s.segments() {
		s.remove(name)
	}
	o := openReader(t, s.dir)
	for _, from := range []wal.LSN{0, 1, 5} {
		r := o.Reader(from)
		if r.Next() || !errors.Is(r.Err(), wal.ErrCorrupt) {
			t.Errorf("from %d: record %d, %v", from, r.LSN(), r.Err())
		}
		_ = r.Close()
	}
}

// TestZeroCopyLetsGo leads a reader that holds records where they lie through
// several segments: it keeps the one that it is in, and the others can be used
// again, or unmapped.
func TestZeroCopyLetsGo(t *testing.T) {
	dir := filepath.Join(fastDir(t), "log")
	o := small()
	o.SegmentsAhead = 1
	l, err := wal.Open(dir, o)
	must(t, err)
	for range 5 {
		turn(t, l)
	}
	must(t, l.Sync())
	awaitReady(t, l, dir, 1)
	r := l.Reader(0).ZeroCopy().ZeroCopy()
	for r.Next() {
	}
	r = func() *wal.Reader { must(t, r.Close()); return l.Reader(0).ZeroCopy() }()
	for r.LSN() < l.LastLSN() && r.Next() {
	}
	must(t, l.TruncateFront(l.LastLSN()))
	turn(t, l)
	awaitReady(t, l, dir, 1)
	if l.Stats().Recycled != 1 {
		t.Errorf("%d segments were recycled", l.Stats().Recycled)
	}
	wantHeld(t, "truncated behind it", r, r.LSN(), 20000)
	if n := wal.Enrolled(l); n != 1 {
		t.Errorf("%d readers may hold records", n)
	}
	must(t, l.Close())
	if n := mappings(t, dir); n != 1 {
		t.Errorf("%d mappings are held", n)
	}
	must(t, r.Close())
	if m, n := mappings(t, dir), wal.Enrolled(l); m != 0 || n != 0 {
		t.Errorf("%d mappings are left, %d readers", m, n)
	}
}
