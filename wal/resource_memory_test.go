package wal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// The tests of the table of memory in the package's documentation. They run
// alone, since they look at the heap of the whole process. Under the race detector
// a sync.Pool drops what it is given by chance, so what is allocated in all says
// nothing there: only what is kept does.

// liveHeap returns the bytes of the heap that are in use.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // empties the pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// allocated returns how many bytes do allocates.
func allocated(do func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestReopenedLogKeepsLittle opens logs that exist: what was needed to read them
// is given back.
func TestReopenedLogKeepsLittle(t *testing.T) {
	const logs, limit = 20, 128 << 10
	dirs := make([]string, logs)
	for i := range dirs {
		dirs[i] = filepath.Join(t.TempDir(), "log")
		l, err := wal.Open(dirs[i], wal.Options{SegmentBytes: 1 << 20})
		must(t, err)
		must(t, moreOf(l, 10, 100))
		must(t, l.Close())
	}
	before := liveHeap()
	for _, dir := range dirs {
		l, err := wal.Open(dir, wal.Options{SegmentBytes: 1 << 20})
		must(t, err)
		defer l.Close()
	}
	if each := (liveHeap() - before) / logs; each > limit {
		t.Errorf("an open log keeps %d bytes, more than %d", each, limit)
	}
}

// TestManySegmentsOpen opens a log of many segments, and looks at the heap when
// all of their heads have been read.
func TestManySegmentsOpen(t *testing.T) {
	const segments = 200
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	must(t, err)
	must(t, moreOf(l, segments*4, 9000))
	must(t, l.Close())
	for _, tt := range []struct {
		what  string
		limit int64 // of bytes a segment
		inAll bool  // what is freed or given to a pool counts
		do    func() int64
	}{
		{"what Open keeps while it recovers", 8 << 10, false, func() (most int64) {
			before := liveHeap()
			defer durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
				if c.Phase == durability.Before && c.Op == durability.OpSyncDir {
					most = max(most, liveHeap()-before)
					if n := descriptorsIn(t, dir); n > wal.MaxOpen+20 {
						t.Errorf("Open has %d descriptors for %d segments", n, segments)
					}
				}
				return nil
			})()
			l = openLog(t, dir, small())
			return most
		}},
		{"what an open log keeps", 4 << 10, false, func() int64 {
			before := liveHeap()
			must(t, l.Close())
			return before - liveHeap()
		}},
		{"what Open and Close allocate", 512 << 10, true, func() int64 {
			return allocated(func() {
				l, err := wal.Open(dir, small())
				must(t, err)
				must(t, l.Close())
			})
		}},
		{"what Verify allocates", 96 << 10, true, func() int64 {
			return allocated(func() {
				rep, err := wal.Verify(dir)
				must(t, err)
				if rep.Verdict != wal.Clean {
					t.Errorf("%v: %+v", rep.Verdict, rep.Damage)
				}
			})
		}},
	} {
		got := tt.do()
		t.Logf("%s: %d bytes a segment", tt.what, got/segments)
		if got > tt.limit*segments && (!tt.inAll || !raceDetector) {
			t.Errorf("%s: %d bytes a segment, more than %d", tt.what, got/segments, tt.limit)
		}
	}
}

// TestAppendedSegmentsKeepLittle appends over many segments: what is kept of each
// that is full is its name and a few places.
func TestAppendedSegmentsKeepLittle(t *testing.T) {
	const segments, limit = 300, 2 << 10
	l, _ := newTestLog(t, small())
	must(t, moreOf(l, 40, 9000))
	must(t, l.Sync())
	before := liveHeap()
	for range segments / 10 {
		must(t, moreOf(l, 40, 9000))
		must(t, l.Sync())
	}
	if each := (liveHeap() - before) / segments; each > limit {
		t.Errorf("%d bytes are kept of each segment, more than %d", each, limit)
	}
}

// extended returns a log whose only file has that size: another process extended it
// behind the segment's end.
func extended(t *testing.T, size int64) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, small())
	must(t, err)
	must(t, moreOf(l, 3, 100))
	must(t, l.Close())
	file = filepath.Join(dir, fmt.Sprintf("%016x.wal", 1))
	must(t, os.Truncate(file, size))
	return dir, file
}

// TestOpenExtendedFile opens a log whose segment's file was made longer: no more
// than the segment is read, or given blocks, and what was put behind it stays.
func TestOpenExtendedFile(t *testing.T) {
	const size = 6 << 30
	dir, file := extended(t, size)
	read := int64(0)
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		// The next segments may have been prepared, or not.
		if c.Phase == durability.Before && c.Op == durabilitytest.OpReadDirect && c.Name == filepath.Base(file) {
			read += c.Length
		}
		return nil
	})
	defer remove()
	l := openLog(t, dir, small())
	remove()
	if read == 0 || read > 2*wal.MinSegmentBytes {
		t.Errorf("Open read %d bytes of a segment of %d", read, int64(wal.MinSegmentBytes))
	}
	must(t, moreOf(l, 20, 9000))
	must(t, l.Sync())
	var st unix.Stat_t
	must(t, unix.Stat(file, &st))
	if st.Size != size || st.Blocks*512 > 4*wal.MinSegmentBytes {
		t.Errorf("the file has %d bytes, %d of them with blocks", st.Size, st.Blocks*512)
	}
}

// TestInspectExtendedFile looks at a file of 1 TiB.
func TestInspectExtendedFile(t *testing.T) {
	dir, _ := extended(t, 1<<40)
	var in *wal.Inspection
	n := allocated(func() {
		var err error
		in, err = wal.Inspect(dir)
		must(t, err)
	})
	if n > 8<<20 && !raceDetector {
		t.Errorf("Inspect allocates %d bytes", n)
	}
	// Behind it there may be segments that were prepared in time.
	if s := in.Segments[0]; in.LastLSN != 3 || s.Pages.Pages != 1<<40/int64(os.Getpagesize()) {
		t.Errorf("LSN %d, %d pages", in.LastLSN, s.Pages.Pages)
	}
}

// TestInspectShortFile looks at files that end within the head.
func TestInspectShortFile(t *testing.T) {
	for _, size := range []int64{0, 100, 4096, 5000, 12288, 20480} {
		dir, _ := extended(t, size)
		in, err := wal.Inspect(dir)
		if err != nil || len(in.Damage) == 0 {
			t.Errorf("cut to %d bytes: %+v, %v", size, in, err)
		}
	}
}
