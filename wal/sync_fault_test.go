package wal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// faults answers in the kernel's place: the call that fails is the one with
// the number at, counted from 0, of those that match.
type faults struct {
	mu    sync.Mutex
	match func(*durabilitytest.Call) bool
	at    int
	err   error // nil lets all pass
	all   bool  // every matching call from at on fails
	phase durability.Phase
	n     int
	fired *durabilitytest.Call
	syncs []string // every sync that the kernel was asked for since watch
	watch bool
}

// hook is the hook for durabilitytest.Inject.
func (f *faults) hook(c *durabilitytest.Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch && isSync(c.Op) && c.Phase == durability.Before {
		f.syncs = append(f.syncs, fmt.Sprintf("%s of %s", c.Op, c.Name))
	}
	if f.match == nil || !f.match(c) {
		return nil
	}
	if c.Phase == durability.Before {
		f.n++
	}
	if f.err == nil || c.Phase != f.phase || f.n-1 < f.at || f.n-1 > f.at && !f.all {
		return nil
	}
	if f.fired == nil {
		fired := *c
		f.fired = &fired
	}
	return f.err
}

// isSync reports whether the operation makes something durable.
func isSync(op durability.Op) bool {
	switch op {
	case durability.OpMsync, durability.OpDatasync, durability.OpSync, durability.OpSyncDir:
		return true
	}
	return false
}

// has tells whether the fault has happened, and where.
func (f *faults) has() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fired == nil {
		return "", false
	}
	return fmt.Sprintf("%s of %s, phase %s", f.fired.Op, f.fired.Name, f.fired.Phase), true
}

// heal lets all calls pass.
func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
}

// look begins to note syncs.
func (f *faults) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = true
}

// durables notes what OnDurable says.
type durables struct {
	mu   sync.Mutex
	lsns []wal.LSN
}

func (d *durables) add(lsn wal.LSN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lsns = append(d.lsns, lsn)
}

func (d *durables) all() []wal.LSN {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lsns)
}

// faultWork appends, syncs, checkpoints and rotates until something fails or
// it is done. It returns the first error.
func faultWork(l *wal.Log) error {
	for i := range 8 {
		for range 2 {
			_, err := l.Append(record(l.LastLSN()+1, 9000))
			if errors.Is(err, unix.EIO) && !errors.Is(err, wal.ErrPoisoned) {
				// A segment that could not be prepared: the next attempt may do.
				_, err = l.Append(record(l.LastLSN()+1, 9000))
			}
			if err != nil {
				return err
			}
		}
		var err error
		switch i % 4 {
		case 0:
			err = l.Sync()
		case 1:
			err = l.Commit(context.Background(), l.LastLSN()-1)
		case 2:
			err = l.Checkpoint()
		}
		if err != nil {
			return err
		}
	}
	return l.Sync()
}

// TestFirstFailureIsFinal fails each sync of a log's work in turn, once: the
// msync of records, stamp or slot, the fsync of a checkpoint or of a prepared
// segment, and that of the directory. Nothing is acknowledged after it (C6).
func TestFirstFailureIsFinal(t *testing.T) {
	for _, op := range []durability.Op{durability.OpMsync, durability.OpSync, durability.OpSyncDir} {
		for _, phase := range []durability.Phase{durability.Before, durability.After} {
			t.Run(fmt.Sprintf("%s/%s", op, phase), func(t *testing.T) {
				t.Parallel()
				// Which call has which number depends on the preparer's pace.
				poisoned := 0
				for try := 0; try < 20 && poisoned == 0; try++ {
					for at := 0; ; at++ {
						hit, final := failOneSync(t, op, phase, at)
						if final {
							poisoned++
						}
						if !hit {
							break
						}
						if at > 200 {
							t.Fatal("the fault never stops to hit")
						}
					}
				}
				if poisoned == 0 {
					t.Fatalf("no failing %s poisoned the log", op)
				}
				t.Logf("%d failures poisoned the log", poisoned)
			})
		}
	}
}

// failOneSync works on a new log with one sync failing. It reports whether the
// fault happened, and whether it poisoned the log.
func failOneSync(t *testing.T, op durability.Op, phase durability.Phase, at int) (hit, poisoned bool) {
	t.Helper()
	var d durables
	o := small()
	o.OnDurable = d.add
	root := fastDir(t)
	dir := root + "/log"
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{
		match: func(c *durabilitytest.Call) bool { return c.Op == op },
		at:    at, err: unix.EIO, phase: phase,
	}
	defer durabilitytest.InjectDir(dir, f.hook)()
	err = faultWork(l)
	where, hit := f.has()
	if err != nil {
		if !hit || !errors.Is(err, wal.ErrPoisoned) || !errors.Is(err, unix.EIO) {
			t.Fatalf("fault at %s (%v): %v", where, hit, err)
		}
		wantPoisoned(t, l, f, &d, where)
		poisoned = true
	} else if hit && !strings.HasSuffix(strings.TrimSuffix(where, ", phase "+phase.String()), ".tmp") {
		// The directory's sync may fail behind the last append: then Close says it.
		f.heal()
		if cerr := l.Close(); !errors.Is(cerr, wal.ErrPoisoned) {
			t.Fatalf("failing %s was not noticed: close returns %v", where, cerr)
		}
		return hit, true
	}
	f.heal()
	durable := l.DurableLSN()
	if cerr := l.Close(); errors.Is(cerr, wal.ErrPoisoned) != poisoned {
		t.Fatalf("fault at %s: close: %v", where, cerr)
	}
	wantReopened(t, dir, durable, where)
	return hit, poisoned
}

// wantPoisoned asks everything of a poisoned log.
func wantPoisoned(t *testing.T, l *wal.Log, f *faults, d *durables, where string) {
	t.Helper()
	f.look()
	durable, last, told := l.DurableLSN(), l.LastLSN(), d.all()
	for range 2 {
		_, aerr := l.Append([]byte("refused"))
		_, berr := l.AppendBatch([][]byte{{1}, {2}})
		calls := map[string]error{
			"Append": aerr, "AppendBatch": berr, "Sync": l.Sync(), "Checkpoint": l.Checkpoint(),
			"Commit": l.Commit(context.Background(), last),
		}
		for name, err := range calls {
			if !errors.Is(err, wal.ErrPoisoned) || !errors.Is(err, unix.EIO) {
				t.Fatalf("after a failing %s: %s returns %v", where, name, err)
			}
		}
	}
	if got := l.DurableLSN(); got != durable {
		t.Fatalf("after a failing %s: durable moved from %d to %d", where, durable, got)
	}
	if got := d.all(); !slices.Equal(got, told) || len(got) > 0 && got[len(got)-1] != durable {
		t.Fatalf("after a failing %s: OnDurable said %v and then %v, durable is %d", where, told, got, durable)
	}
	f.mu.Lock()
	for _, s := range f.syncs {
		// A segment without records may get its name at the same time.
		if !strings.HasSuffix(s, ".tmp") && (f.fired.Op == durability.OpSyncDir || !strings.HasPrefix(s, durability.OpSyncDir.String())) {
			t.Errorf("after a failing %s: the kernel was asked for %s", where, s)
		}
	}
	f.mu.Unlock()
	for lsn := wal.LSN(1); lsn <= durable; lsn++ {
		p, err := l.Get(lsn)
		if err != nil {
			t.Fatalf("after a failing %s: get %d of %d durable ones: %v", where, lsn, durable, err)
		}
		wantRecord(t, lsn, 9000, p)
	}
	if durable > 0 {
		wantRecords(t, l, 1, durable, 9000)
	}
	if last > durable {
		if _, err := l.Get(last); !errors.Is(err, wal.ErrNotFound) {
			t.Fatalf("after a failing %s: get of the record %d, durable %d: %v", where, last, durable, err)
		}
	}
}

// wantReopened opens the log again: what was durable is there.
func wantReopened(t *testing.T, dir string, durable wal.LSN, where string) {
	t.Helper()
	l := openLog(t, dir, small())
	if l.LastLSN() < durable {
		t.Fatalf("after a failing %s: reopened with %d records, %d were durable", where, l.LastLSN(), durable)
	}
	wantRecords(t, l, 1, l.LastLSN(), 9000)
	appendRecords(t, l, 3, 9000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedSyncIsNotRetriedInTheModel crashes lives with one failed sync by
// the rule of a kernel that marks pages clean although the device never got
// them: what is acknowledged later, by another Open with the stale cache, must
// not rest on them.
func TestFailedSyncIsNotRetriedInTheModel(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	states, reopened := 0, 0
	for round := range rounds(t, 8, 6) {
		rng := newRand(seed + uint64(round))
		f := newLife(t, withMin(wal.Options{SegmentsAhead: 1, Align: wal.Align(rng.IntN(3))}), rng)
		f.rec.LoseOnFailedSync()
		flt := &faults{
			match: func(c *durabilitytest.Call) bool { return isSync(c.Op) },
			at:    8 + rng.IntN(20), err: unix.EIO, phase: durability.Before,
		}
		remove := durabilitytest.InjectDir(f.root, flt.hook)
		f.failingWork()
		remove()
		if errors.Is(f.log.Close(), wal.ErrPoisoned) {
			reopened++
			// Open believes the device, which may have lost what was only appended.
			f.note(func(m *mark) { m.appended = m.durable })
			remove := f.readLostPages()
			f.open()
			remove()
			f.append(100)
			f.sync()
			f.append(4000)
		}
		f.stop()
		or := newOracle(t, f.opts)
		for at := range f.moments() {
			if rng.IntN(2) == 0 {
				f.crashes(at, 1, func(c crash) {
					if !c.killed { // its cache is not in the files
						or.check(c)
					}
				})
			}
		}
		states += or.states
	}
	if reopened == 0 {
		t.Fatal("no failed sync poisoned a log")
	}
	t.Logf("%d logs opened again with a stale cache, %d states", reopened, states)
}

// readLostPages lets direct reads find what the device holds: not the pages
// that a failed sync lost.
func (f *life) readLostPages() (remove func()) {
	return durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpReadDirect && c.Phase == durability.After && c.Err == nil {
			device, named := f.rec.Device(f.root + "/" + logName)[c.Name]
			if !named {
				return nil // a sync of the directory failed; the file was synced before it got its name
			}
			clear(c.Data) // where it has no blocks yet
			copy(c.Data, device[min(c.Offset, int64(len(device))):])
		}
		return nil
	})
}

// failingWork works until a call fails, and notes what was acknowledged.
func (f *life) failingWork() {
	f.t.Helper()
	f.open()
	f.failingRecords()
}

// failingRecords appends and syncs until a call fails.
func (f *life) failingRecords() {
	f.t.Helper()
	for i := range 8 {
		p := f.payload(f.log.LastLSN()+1, 8000)
		f.begin(p)
		lsn, err := f.log.Append(p)
		if err != nil {
			return
		}
		f.returned(lsn)
		if i%2 == 1 {
			continue
		}
		if i%4 == 0 {
			err = f.log.Sync()
		} else {
			err = f.log.Checkpoint()
		}
		if err != nil {
			return
		}
		f.note(func(m *mark) { m.durable = m.appended })
	}
}

// TestNoNameBehindOneThatIsNotDurable fails the directory's sync behind a
// segment's rename while the next segment waits for its name. That must not get
// it: after a crash it could be there without the first, which looks missing.
func TestNoNameBehindOneThatIsNotDurable(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), rng)
	f.open()
	held, waiting := make(chan struct{}), make(chan struct{})
	var once sync.Once
	durabilitytest.Inject(t, f.root, func(c *durabilitytest.Call) error {
		switch {
		case c.Phase != durability.Before:
		case c.Op == durability.OpSyncDir:
			<-held
			return unix.EIO
		case c.Op == durability.OpWrite && strings.HasPrefix(c.Name, "0000000000000003") && c.Offset == 0 && len(c.Data) > 0:
			once.Do(func() { close(waiting) }) // its header, the last step before it asks for its name
		}
		return nil
	})
	for range 8 {
		f.append(9000)
	}
	<-waiting
	close(held)
	if err := f.log.Sync(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("sync: %v", err)
	}
	if err := f.log.Close(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("close: %v", err)
	}
	f.stop()
	or := newOracle(t, f.opts)
	for at := f.rec.Len() - 20; at <= f.rec.Len(); at++ {
		f.crashes(at, 8, func(c crash) { or.check(c) })
	}
}
