package wal_test

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// slowBytes is the size of the records that slowLog appends: a segment of the
// smallest size takes three.
const slowBytes = 20000

// slowLog opens a log with nine records in four segments, of which it has mapped
// the newest only, with segments prepared.
func slowLog(t *testing.T) (*wal.Log, string) {
	t.Helper()
	dir := filepath.Join(logDir(t), "log")
	o := small()
	o.FillBytes = 64 << 10 // any segment can be used again
	l, err := wal.Open(dir, o)
	must(t, err)
	appendRecords(t, l, 10, slowBytes)
	must(t, l.Close())
	l = openLog(t, dir, o)
	appendRecords(t, l, 1, slowBytes)
	awaitPrepared(t, l, dir)
	return l, dir
}

// slowDisk holds up the first operation of a kind on the log's first segment, as a
// disk that takes its time does.
type slowDisk struct {
	reached chan struct{} // closed when it is held up
	goOn    func()        // lets it go on
}

func newSlowDisk(t *testing.T, dir string, op durability.Op) *slowDisk {
	t.Helper()
	release := make(chan struct{})
	d := &slowDisk{reached: make(chan struct{}), goOn: sync.OnceFunc(func() { close(release) })}
	var held atomic.Bool
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op == op && c.Name == firstName && c.Phase == durability.Before && held.CompareAndSwap(false, true) {
			close(d.reached)
			<-release
		}
		return nil
	})
	t.Cleanup(d.goOn)
	return d
}

// slowReads are the ways to read a record of the first segment.
var slowReads = map[string]func(l *wal.Log, lsn wal.LSN) ([]byte, error){
	"get": func(l *wal.Log, lsn wal.LSN) ([]byte, error) { return l.Get(lsn) },
	"reader": func(l *wal.Log, lsn wal.LSN) ([]byte, error) {
		r := l.Reader(lsn)
		r.Next()
		return r.Record(), r.Err()
	},
	"zero-copy": func(l *wal.Log, lsn wal.LSN) ([]byte, error) {
		r := l.Reader(lsn).ZeroCopy()
		r.Next()
		p := append([]byte{}, r.Record()...)
		return p, r.Close()
	},
}

// readSlowly begins a read that the disk holds up.
func (d *slowDisk) readSlowly(l *wal.Log, how string, lsn wal.LSN) <-chan slowResult {
	done := make(chan slowResult, 1)
	go func() {
		p, err := slowReads[how](l, lsn)
		done <- slowResult{p, err}
	}()
	<-d.reached
	return done
}

// slowResult is what a read returned.
type slowResult struct {
	p   []byte
	err error
}

// inTime runs what must not wait for the disk.
func inTime(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s waits for the disk of a reader", what)
	}
}

// TestAppendPassesASlowRead appends over the end of a segment while a reader waits
// for the disk: to bring in pages, and to open, read and map a segment's file.
func TestAppendPassesASlowRead(t *testing.T) {
	for what, op := range map[string]durability.Op{
		"populate": durabilitytest.OpPopulate, "open": durabilitytest.OpOpen,
		"read": durabilitytest.OpRead, "map": durabilitytest.OpMap,
	} {
		for how := range slowReads {
			t.Run(what+"/"+how, func(t *testing.T) {
				l, dir := slowLog(t)
				d := newSlowDisk(t, dir, op)
				read := d.readSlowly(l, how, 2)
				was := l.Stats().Rotations
				inTime(t, "an append", func() {
					appendRecords(t, l, 4, slowBytes)
					if _, err := l.Get(l.LastLSN()); err != nil {
						t.Error(err)
					}
					l.Segments()
				})
				if l.Stats().Rotations == was {
					t.Fatal("no segment was entered")
				}
				d.goOn()
				got := <-read
				must(t, got.err)
				wantRecord(t, 2, slowBytes, got.p)
			})
		}
	}
}

// TestSlowReadDuringACut takes the record that a reader waits for from the log:
// neither a cut nor Close waits for a copy, whose reader finds out.
func TestSlowReadDuringACut(t *testing.T) {
	for name, c := range map[string]struct {
		cut  func(*wal.Log) error
		want error
	}{
		"front":  {func(l *wal.Log) error { return l.TruncateFront(8) }, wal.ErrTruncated},
		"back":   {func(l *wal.Log) error { return l.TruncateBack(1) }, wal.ErrNotFound},
		"behind": {func(l *wal.Log) error { return l.TruncateBack(2) }, nil},
		"reset":  {func(l *wal.Log) error { return l.Reset(2) }, nil},
		"close":  {func(l *wal.Log) error { return l.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l, dir := slowLog(t)
			d := newSlowDisk(t, dir, durabilitytest.OpPopulate)
			read := d.readSlowly(l, "get", 2)
			inTime(t, "a cut", func() {
				if err := c.cut(l); err != nil {
					t.Error(err)
				}
				if name == "reset" {
					appendRecords(t, l, 1, slowBytes)
				}
			})
			d.goOn()
			got := <-read
			if !errors.Is(got.err, c.want) {
				t.Fatalf("get of 2: %v, want %v", got.err, c.want)
			}
			if c.want == nil {
				wantRecord(t, 2, slowBytes, got.p)
			}
		})
	}
}

// TestSlowReadOfAReusedSegment truncates and uses the segment again that a reader
// waits for.
func TestSlowReadOfAReusedSegment(t *testing.T) {
	for how := range slowReads {
		t.Run(how, func(t *testing.T) {
			l, dir := slowLog(t)
			d := newSlowDisk(t, dir, durabilitytest.OpPopulate)
			read := d.readSlowly(l, how, 2)
			inTime(t, "a cut at the front", func() {
				for range 6 {
					if err := l.TruncateFront(l.LastLSN()); err != nil {
						t.Error(err)
					}
					appendRecords(t, l, 3, slowBytes)
				}
			})
			if l.Stats().Recycled == 0 {
				t.Error("no segment was used again")
			}
			d.goOn()
			if got := <-read; !errors.Is(got.err, wal.ErrTruncated) {
				t.Fatalf("%d bytes, %v", len(got.p), got.err)
			}
		})
	}
}
