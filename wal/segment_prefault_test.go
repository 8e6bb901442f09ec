package wal_test

import (
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// coldBytes is the size of the segments of coldLog, many times what is brought in at
// once.
const coldBytes = 2 << 20

// coldNames are the segments of coldLog.
var coldNames = []string{firstName, "0000000000000002.wal", "0000000000000003.wal"}

// coldLog makes a log of some records and two prepared segments, and closes it.
func coldLog(t *testing.T, dir string, segment int64, records int) wal.Options {
	t.Helper()
	o := wal.Options{SegmentBytes: segment}
	l, err := wal.Open(dir, o)
	must(t, err)
	appendRecords(t, l, records, slowBytes)
	awaitPrepared(t, l, dir)
	must(t, l.Close())
	return o
}

// coldDisk notes what is brought in of the segments of coldLog, and holds the warmer
// up until it is released.
type coldDisk struct {
	t       *testing.T
	ahead   int64
	records atomic.Int64 // that were appended, or are about to be

	held    chan struct{} // closed when the warmer is held up
	once    sync.Once
	release chan struct{}

	mu   sync.Mutex
	upTo map[string]int64
}

// hook is a hook of package durabilitytest.
func (d *coldDisk) hook(c *durabilitytest.Call) error {
	i := slices.Index(coldNames, c.Name)
	if c.Op != durabilitytest.OpRead || i < 0 {
		return nil
	}
	stack := make([]byte, 16<<10)
	warmer := strings.Contains(string(stack[:runtime.Stack(stack, false)]), "runWarmer")
	if c.Phase == durability.Before {
		if warmer {
			d.once.Do(func() { close(d.held) })
			<-d.release
		}
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upTo[c.Name] = max(d.upTo[c.Name], c.Offset+c.Length)
	// Not before the log's end: with what the segments' heads and ends take.
	end := (d.records.Load()+2)*(slowBytes+32) + 3*20480
	if far := int64(i)*coldBytes + c.Offset + c.Length - end; warmer && far > d.ahead+wal.PopulateBytes {
		d.t.Errorf("%s was brought in %d bytes ahead of the appenders", c.Name, far)
	}
	return nil
}

// await waits until a segment was brought in up to there.
func (d *coldDisk) await(name string, upTo int64) {
	d.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		is := d.upTo[name]
		d.mu.Unlock()
		if is >= upTo {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s was brought in up to %d, not %d", name, is, upTo)
		}
	}
}

// TestOpenBringsInWhatIsAppendedTo watches an opened log bring in its tail and the
// segments behind it: some before Open returns, the rest ahead of the appenders, no
// further than need be, and without a lock that they need.
func TestOpenBringsInWhatIsAppendedTo(t *testing.T) {
	const ahead = 1 << 20
	was := wal.SetWarmAhead(ahead)
	t.Cleanup(func() { wal.SetWarmAhead(was) })
	dir := filepath.Join(logDir(t), "log")
	o := coldLog(t, dir, coldBytes, 3)
	d := &coldDisk{t: t, ahead: ahead, held: make(chan struct{}), release: make(chan struct{}), upTo: map[string]int64{}}
	release := sync.OnceFunc(func() { close(d.release) })
	durabilitytest.Inject(t, dir, d.hook)
	d.records.Store(3)
	l := openLog(t, dir, o)
	t.Cleanup(release)
	d.mu.Lock()
	n := d.upTo[firstName]
	d.mu.Unlock()
	if n < 3*slowBytes+wal.PopulateBytes || n > 4*slowBytes+wal.PopulateBytes+20480 {
		t.Errorf("Open brought the tail in up to %d", n)
	}
	<-d.held
	more := func(n int) {
		d.records.Add(int64(n))
		appendRecords(t, l, n, slowBytes)
	}
	inTime(t, "an append", func() { more(10) })
	release()
	d.await(firstName, 13*slowBytes+ahead)
	// Each step begins where the warmer waits, and stays behind it.
	for _, step := range []struct {
		records int
		name    string
		upTo    int64
	}{
		{50, firstName, coldBytes},
		{30, coldNames[1], 600 << 10},
		{60, coldNames[1], 1800 << 10},
		{40, coldNames[2], 500 << 10},
	} {
		more(step.records)
		d.await(step.name, step.upTo)
	}
}

// TestAppendFindsItsPages opens a log whose files are not in the page cache: the
// pages that the first appends store to are, when Open returns.
func TestAppendFindsItsPages(t *testing.T) {
	// The kernel reads around what Open touches at the segment's start: no further
	// than 4 MiB on any usual disk.
	const segment, records = 8 << 20, 320
	dir := filepath.Join(t.TempDir(), "log")
	o := coldLog(t, dir, segment, records)
	resident := func() (n int) {
		t.Helper()
		d, err := durability.OpenDir(dir, nil)
		must(t, err)
		defer d.Close()
		f, err := d.Open(firstName, true)
		must(t, err)
		defer f.Close()
		mem, err := f.Map(segment, false)
		must(t, err)
		defer func() { _ = mem.Unmap() }()
		pages, err := mem.Resident(records*(slowBytes+32)+20480+8192, wal.PopulateBytes-8192)
		must(t, err)
		for _, in := range pages {
			if in {
				n++
			}
		}
		return n * 100 / len(pages)
	}
	d, err := durability.OpenDir(dir, nil)
	must(t, err)
	f, err := d.Open(firstName, true)
	must(t, err)
	must(t, f.Sync())
	must(t, f.DropCache(0, 0))
	must(t, f.Close())
	must(t, d.Close())
	if n := resident(); n > 0 {
		t.Skipf("%d %% of the tail stay in the page cache", n)
	}
	c := &coldDisk{t: t, held: make(chan struct{}), release: make(chan struct{}), upTo: map[string]int64{}}
	durabilitytest.Inject(t, dir, c.hook)
	c.records.Store(1 << 20)
	openLog(t, dir, o)
	t.Cleanup(func() { close(c.release) })
	if n := resident(); n < 100 {
		t.Errorf("%d %% of what is appended to first is in the page cache", n)
	}
}
