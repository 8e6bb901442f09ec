package wal_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
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

// pressure is what a log under back-pressure is put to.
type pressure struct {
	t     *testing.T
	l     *wal.Log
	dir   string
	ahead int
	mu    sync.Mutex
	rng   *rand.Rand
	slow  durability.Op // the step that is slower than the others
	full  bool          // now and then there is no space
	ended atomic.Bool   // the log was closed
	cuts  atomic.Int64  // odd while a cut is under way
	stays sync.Map      // names of temporary files whose removal was refused

	checked, most, temps atomic.Int64
}

// TestBackPressure slows every step of preparation, one of them much, while
// appenders, readers, syncs and cuts go on: they return what their comments say,
// files ahead, descriptors and segments without a sync stay within their bounds,
// and the log closes.
func TestBackPressure(t *testing.T) {
	for name, c := range map[string]struct {
		o    wal.Options
		slow durability.Op
		full bool
	}{
		"create, 1 ahead":     {wal.Options{SegmentsAhead: 1}, durability.OpCreate, true},
		"fill, 1 ahead, each": {wal.Options{SegmentsAhead: 1, Sync: wal.SyncEach}, durability.OpWrite, false},
		"fsync, 3 ahead":      {wal.Options{SegmentsAhead: 3}, durability.OpSync, false},
		"rename, 2 ahead":     {wal.Options{SegmentsAhead: 2, Sync: wal.SyncEvery(time.Millisecond)}, durability.OpRename, true},
		"directory, 2 ahead":  {wal.Options{SegmentsAhead: 2, Sync: wal.SyncEach}, durability.OpSyncDir, true},
		"fsync, all ahead":    {wal.Options{SegmentsAhead: wal.MaxSegmentsAhead}, durability.OpSync, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := newSeed(t)
			root := fastDir(t)
			c.o.SegmentBytes = wal.MinSegmentBytes
			p := &pressure{
				t: t, dir: root + "/log", ahead: c.o.SegmentsAhead,
				rng: rand.New(rand.NewPCG(seed, 0)), slow: c.slow, full: c.full,
			}
			var err error
			if p.l, err = wal.Open(p.dir, c.o); err != nil {
				t.Fatal(err)
			}
			remove := durabilitytest.InjectDir(root, p.hook)
			defer remove()
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() { p.append(i) })
			}
			for range 2 {
				wg.Go(p.read)
			}
			wg.Go(p.commit)
			wg.Go(p.cut)
			most := 0
			end := deadline(t, 3)
			for ; !p.pressed() || time.Now().Before(end); time.Sleep(time.Millisecond) {
				most = max(most, descriptorsIn(t, p.dir))
			}
			// Whatever waits now is woken by Close.
			p.goesOn("close", p.l.Close())
			p.ended.Store(true)
			wg.Wait()
			if bound := 2*(wal.MaxUnsynced+c.o.SegmentsAhead) + wal.MaxMapped + 4; most > bound {
				t.Errorf("%d descriptors, the bound is %d", most, bound)
			}
			remove()
			first, last, st := p.l.FirstLSN(), p.l.LastLSN(), p.l.Stats()
			if p.l, err = wal.Open(p.dir, c.o); err != nil {
				t.Fatal(err)
			}
			if p.l.FirstLSN() != first || p.l.LastLSN() != last {
				t.Errorf("LSN %d to %d are there, want %d to %d", p.l.FirstLSN(), p.l.LastLSN(), first, last)
			}
			if err = p.l.Close(); err != nil {
				t.Error(err)
			}
			t.Logf("%d records, %d rotations, %d waits, %d cuts; %d looks at the directory: up to %d files ahead, %d of them with a temporary name",
				st.Records, st.Rotations, st.Waits, st.Truncations, p.checked.Load(), p.most.Load(), p.temps.Load())
		})
	}
}

// pressed reports whether there was enough of everything: appends that waited for
// a segment, cuts, looks at the directory that count, and segments entered. All
// who work go on until Close, so that it comes, on any machine.
func (p *pressure) pressed() bool {
	st := p.l.Stats()
	return p.t.Failed() || st.Waits >= 8 && st.Truncations >= 5 && p.checked.Load() >= 8 && st.Rotations >= 2
}

// hook slows preparation down and looks at what it makes.
func (p *pressure) hook(c *durabilitytest.Call) error {
	if c.Phase == durability.After {
		if c.Err == nil && (c.Op == durability.OpCreate || c.Op == durability.OpRename) {
			p.stays.Delete(c.Name)
			p.look()
		}
		return nil
	}
	// An fsync of the directory has no name; the others are of temporary files.
	if c.Op != durability.OpSyncDir && !strings.HasSuffix(c.Name, ".tmp") && !strings.HasSuffix(c.NewName, ".tmp") {
		return nil
	}
	p.mu.Lock()
	micros := p.rng.IntN(100)
	switch {
	case c.Op == durability.OpWrite && c.Op != p.slow: // there are many
		micros = 0
	case c.Op == durability.OpWrite:
		micros = p.rng.IntN(300)
	case c.Op == p.slow:
		micros = p.rng.IntN(6000)
	}
	var err error
	look := c.Op == durabilitytest.OpRead || c.Op == durabilitytest.OpStatx // takes no space
	if p.full && !look && c.Op != durability.OpSync && c.Op != durability.OpSyncDir && p.rng.IntN(50) == 0 {
		err = unix.ENOSPC
		if c.Op == durability.OpRemove {
			p.stays.Store(c.Name, true)
		}
	}
	p.mu.Unlock()
	time.Sleep(time.Duration(micros) * time.Microsecond)
	return err
}

// look counts the files ahead of the tail, and only where the tail does not move during
// the count: a file that a cut is just removing is not ahead.
func (p *pressure) look() {
	cuts, before := p.cuts.Load(), p.tail()
	entries, err := os.ReadDir(p.dir)
	if err != nil || p.tail() != before || p.cuts.Load() != cuts || cuts%2 == 1 {
		return
	}
	ahead, temps := 0, 0
	for _, e := range entries {
		_, stays := p.stays.Load(e.Name())
		if e.Name() > before && e.Name() != lockFile && !stays {
			ahead++
		}
		if strings.HasSuffix(e.Name(), ".tmp") {
			temps++
		}
	}
	p.checked.Add(1)
	p.most.Store(max(p.most.Load(), int64(ahead)))
	p.temps.Store(max(p.temps.Load(), int64(temps)))
	if ahead > p.ahead || temps > wal.MaxSegmentsAhead {
		p.t.Errorf("%d files are ahead of %s, the bound is %d; %d have a temporary name, the bound is %d: %v",
			ahead, before, p.ahead, temps, wal.MaxSegmentsAhead, entries)
	}
}

// tail returns the name of the segment that is appended to.
func (p *pressure) tail() string {
	list := p.l.Segments()
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1].Name
}

// draw returns a number below n.
func (p *pressure) draw(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

// goesOn reports whether the log goes on after a call that may return these
// errors, or none, or that there is no space where that was injected.
func (p *pressure) goesOn(what string, err error, may ...error) bool {
	if errors.Is(err, wal.ErrClosed) || err == nil && p.ended.Load() { // the last record is durable
		return false
	}
	legal := err == nil || p.full && errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrPoisoned)
	for _, m := range may {
		legal = legal || errors.Is(err, m)
	}
	if !legal {
		p.t.Errorf("%s: %v", what, err)
	}
	return legal
}

// append appends records and batches, each of one byte many times.
func (p *pressure) append(i int) {
	for err := error(nil); p.goesOn("append", err); {
		rec := bytes.Repeat([]byte{byte(i + 1)}, p.draw(9000))
		if i%2 == 0 {
			_, err = p.l.Append(rec)
		} else {
			_, err = p.l.AppendBatch([][]byte{rec, rec[:len(rec)/2]})
		}
	}
}

// read follows the log, for a moment each time.
func (p *pressure) read() {
	for err := error(nil); p.goesOn("read", err, wal.ErrTruncated, context.DeadlineExceeded); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.draw(5000))*time.Microsecond)
		r := p.l.Reader(p.l.FirstLSN())
		for r.Follow(ctx) {
			if rec := r.Record(); len(rec) > 0 && bytes.Count(rec, rec[:1]) != len(rec) {
				p.t.Errorf("the record with LSN %d is not what anybody appended", r.LSN())
			}
		}
		err = r.Err()
		cancel()
	}
}

// commit makes the last record durable, or loses patience.
func (p *pressure) commit() {
	for err := error(nil); p.goesOn("commit", err, context.DeadlineExceeded, wal.ErrNotFound); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.draw(5000))*time.Microsecond)
		err = p.l.Commit(ctx, p.l.LastLSN())
		cancel()
		time.Sleep(time.Duration(p.draw(300)) * time.Microsecond) // where all is durable nothing waits
	}
}

// cut cuts at both ends, and resets, ever less often: a cut ends the filling of a
// segment, and where that takes longer than cuts lie apart none is ever filled.
func (p *pressure) cut() {
	for err := error(nil); p.goesOn("cut", err, wal.ErrNotFound, wal.ErrTruncated); {
		first, last := p.l.FirstLSN(), p.l.LastLSN()
		n := wal.LSN(p.draw(int(last + 2 - first)))
		p.cuts.Add(1)
		switch p.draw(8) {
		case 0:
			err = p.l.Reset(first + 2*n + 1)
		case 1, 2:
			err = p.l.TruncateBack(last - min(n, 20))
		default:
			err = p.l.TruncateFront(first + n)
		}
		p.cuts.Add(1)
		p.wantFewLeftovers()
		pause := 1 + min(p.cuts.Load()/20, 20)
		time.Sleep(time.Duration(pause*int64(p.draw(30000))) * time.Microsecond)
	}
}

// wantFewLeftovers checks that nothing lies before the first segment but one that
// is to be used again, and one that is just being recycled. No cut may be in progress.
func (p *pressure) wantFewLeftovers() {
	list := p.l.Segments()
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(list) == 0 {
		p.t.Error(err, len(list))
		return
	}
	n := 0
	for _, e := range entries {
		if e.Name() < list[0].Name && !strings.HasPrefix(list[0].Name, strings.TrimSuffix(e.Name(), ".tmp")) {
			n++
		}
	}
	if n > 2 {
		p.t.Errorf("%d files are left before the first segment", n)
	}
}
