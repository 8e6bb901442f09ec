package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestOpenFailsWithItsSyncs fails each sync of an Open that trims, in turn, and
// each of its writes and directory operations: Open must fail, before its first
// store with every file as it was. What it leaves, the next one mends.
func TestOpenFailsWithItsSyncs(t *testing.T) {
	t.Parallel()
	changes := func(op durability.Op) bool { return !isSync(op) && op < durabilitytest.OpRead }
	for _, c := range []struct {
		errno unix.Errno
		match func(durability.Op) bool
	}{{unix.EIO, isSync}, {unix.ENOSPC, changes}} {
		t.Run(unix.ErrnoName(c.errno), func(t *testing.T) {
			t.Parallel()
			f := &faults{err: c.errno, phase: durability.Before}
			f.match = func(call *durabilitytest.Call) bool { return c.match(call.Op) }
			unchanged := 0
			for openWith(t, f, &unchanged) {
				f = &faults{err: f.err, phase: f.phase, match: f.match, at: f.at + 1}
			}
			if f.at < 5 || unchanged == 0 {
				t.Fatalf("Open asked for %d, %d of them before its first store", f.at, unchanged)
			}
			t.Logf("%d failures, %d of them before the first store", f.at, unchanged)
		})
	}
}

// openWith opens a torn log with one call failing, and reports whether it did.
func openWith(t *testing.T, f *faults, unchanged *int) bool {
	t.Helper()
	state, m := tornState(t, wal.AlignFrame)
	o := withMin(wal.Options{SegmentsAhead: 1})
	root := fastDir(t)
	if err := state.WriteTo(root); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	if err := rec.Base(root); err != nil {
		t.Fatal(err)
	}
	rec.LoseOnFailedSync()
	remove := durabilitytest.InjectDir(root, f.hook)
	o.Tracer = rec
	l, err := wal.Open(root+"/"+logName, o)
	remove()
	where, hit := f.has()
	if !hit {
		if err = errors.Join(err, l.Close()); err != nil {
			t.Fatal(err)
		}
		return false
	}
	if !errors.Is(err, f.err) {
		t.Fatalf("open with a failing %s: %v", where, err)
	}
	if !stored(rec.Events()) {
		*unchanged++
		wantFiles(t, root, state, where)
	}
	m.appended = m.durable
	or := newOracle(t, o)
	for _, mode := range []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Keep, durabilitytest.Mix} {
		or.check(crash{
			state: rec.CrashAs(mode, root, rec.Len(), newRand(uint64(f.at))), mark: m,
			words: func() string { return "after an Open that failed at " + where + "\n" },
		})
	}
	now, err := durabilitytest.ReadFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	or.check(crash{state: now, mark: m, killed: true, words: func() string {
		return "opened again after an Open that failed at " + where + "\n"
	}})
	return true
}

// stored reports whether anything was changed.
func stored(events []durability.Event) bool {
	for _, e := range events {
		if !isSync(e.Op) && e.Err == nil && e.Phase != durability.Before || e.Op == durability.OpStore {
			return true
		}
	}
	return false
}

// wantFiles compares a directory with what it was.
func wantFiles(t *testing.T, root string, want durabilitytest.Files, when string) {
	t.Helper()
	got, err := durabilitytest.ReadFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Fatalf("%s: %s changed", when, name)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: files %v, want %v", when, got.Names(), want.Names())
	}
}

// TestOpenBelievesTheDevice lets the page cache hold what the process stored,
// and the device what a crash would have left of it: so it is after a failed
// writeback, when the pages count as clean. Open must return what the device
// holds, give the cache the same before its first store into the file, and
// leave no page that differs. A crash at any of its events is recovered, from
// the device.
func TestOpenBelievesTheDevice(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	differed, states := 0, 0
	for round := range rounds(t, 4, 8) {
		rng := newRand(seed + uint64(round))
		o := randomOptions(rng)
		f := newLife(t, o, rng)
		f.open()
		f.work(4 + rng.IntN(20))
		f.stop()
		or := newOracle(t, o)
		for range 5 {
			at := rng.IntN(f.rec.Len() + 1)
			device := f.rec.Crash(f.root, at, rng)
			cached := f.rec.Killed(f.root, at, 1<<30)
			if !sameNames(device, cached) {
				continue // names are the kernel's, not the device's
			}
			where := fmt.Sprintf("round %d, device and cache as of event %d of %d:\n%s", round, at, f.rec.Len(), f.describe(at))
			c := crash{state: device, mark: f.known(at), words: func() string { return where }}
			or.check(c)
			differed += openOver(t, or, f, c, cached)
		}
		states += or.states
	}
	if differed == 0 {
		t.Fatal("cache and device never differed")
	}
	t.Logf("%d logs with a cache that differed, %d states", differed, states)
}

// sameNames reports whether the files have the same names and sizes.
func sameNames(a, b durabilitytest.Files) bool {
	for name := range a {
		if _, there := b[name]; !there || len(a[name]) != len(b[name]) {
			return false
		}
	}
	return len(a) == len(b)
}

// openOver opens a log whose files are in the cache, while the device holds
// the state of c. It returns 1 where they differ.
func openOver(t *testing.T, or *oracle, old *life, c crash, cached durabilitytest.Files) int {
	t.Helper()
	m := c.mark
	m.appended = m.durable
	m.records = m.until(m.begun())
	m.at = 0
	f := newLife(t, old.opts, old.rng)
	f.marks = []mark{m}
	f.before, f.believes = c.words, true
	if err := f.rec.BaseFiles(f.root, c.state); err != nil {
		t.Fatal(err)
	}
	if err := cached.WriteTo(f.root); err != nil {
		t.Fatal(err)
	}
	remove := durabilitytest.InjectDir(f.root, func(call *durabilitytest.Call) error {
		if call.Op != durabilitytest.OpReadDirect || call.Phase != durability.After || call.Err != nil {
			return nil
		}
		// What was written since is being written back, and O_DIRECT waits for it.
		now := f.rec.Final(f.root)[logName+"/"+call.Name]
		copy(call.Data, now[min(call.Offset, int64(len(now))):])
		return nil
	})
	f.open()
	remove()
	f.wantFaithful()
	f.wantSameBeforeStores(c.state, cached)
	f.append(100)
	f.sync()
	f.append(2000)
	f.stop()
	for at := range f.moments() {
		f.crashes(at, 1, func(c crash) {
			if !c.killed { // the cache is not what the recorder takes it for
				or.check(c)
			}
		})
	}
	f.discard()
	for name := range cached {
		if !bytes.Equal(cached[name], c.state[name]) && strings.HasSuffix(name, ".wal") {
			return 1
		}
	}
	return 0
}

// wantSameBeforeStores checks that no byte is stored into a mapped page that
// differs from the device's: the store would carry it there.
func (f *life) wantSameBeforeStores(device, cached durabilitytest.Files) {
	f.t.Helper()
	unsynced := make(map[string]bool)
	for i, e := range f.rec.Events() {
		switch {
		case e.Op == durability.OpWrite:
			unsynced[e.Name] = true
		case e.Op == durability.OpSync && e.Phase == durability.After && e.Err == nil:
			delete(unsynced, e.Name)
		}
		if e.Op != durability.OpStore {
			continue
		}
		if unsynced[e.Name] {
			f.t.Fatalf("event %d stores into %s before what was written to it is synced\n%s", i, e.Name, f.describe(i+1))
		}
		name := logName + "/" + e.Name
		real, model := f.pages(i, cached, device, name, e)
		if !bytes.Equal(real, model) {
			f.t.Fatalf("event %d stores at %d of %s into a page that the device does not hold\n%s", i, e.Offset, e.Name, f.describe(i+1))
		}
	}
}

// pages returns the pages around a store as cache and device hold them before
// it: both changed alike by what was written since the beginning.
func (f *life) pages(at int, cached, device durabilitytest.Files, name string, e durability.Event) (inCache, onDevice []byte) {
	from := e.Offset &^ 4095
	to := (e.Offset + e.Length + 4095) &^ 4095
	onDevice = f.rec.Killed(f.root, at, 1<<30)[name]
	inCache = append([]byte(nil), cached[name]...)
	for _, w := range f.rec.Events()[:at] {
		if w.Name != e.Name || w.Op != durability.OpWrite && w.Op != durability.OpStore || w.Phase != durability.Before {
			continue
		}
		p := append(append([]byte(nil), w.Data...), w.Data2...)
		if len(p) == 0 {
			p = make([]byte, w.Length)
		}
		copy(inCache[min(int(w.Offset), len(inCache)):], p)
	}
	if int(to) > len(onDevice) || int(to) > len(inCache) {
		return nil, nil // a file of this life
	}
	return inCache[from:to], onDevice[from:to]
}

// TestRefusedDirectReadsAreReported opens a log where there is no way around
// the page cache: the report of the recovery says so.
func TestRefusedDirectReadsAreReported(t *testing.T) {
	for _, c := range []struct {
		name   string
		memory bool
	}{{"memory", true}, {"disk", false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.memory {
				dir = fastDir(t)
			}
			l := openLog(t, dir, small())
			appendRecords(t, l, 5, 100)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			refused := false
			durabilitytest.Inject(t, dir, func(*durabilitytest.Call) error { return nil })
			l = openLog(t, dir, small())
			for _, w := range l.Recovery().Warnings {
				refused = refused || strings.Contains(w, "0000000000000001.wal") && strings.Contains(w, "page cache")
			}
			if want := directReads(t, dir) != durability.ModeDirect; refused != want {
				t.Fatalf("warnings %q, direct reads refused: %v", l.Recovery().Warnings, want)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// directReads asks how the filesystem reads directly.
func directReads(t *testing.T, dir string) durability.ReadMode {
	t.Helper()
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := d.Open("0000000000000001.wal", false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, mode, err := f.ReadDirect(make([]byte, 10), 0)
	if err != nil {
		t.Fatal(err)
	}
	return mode
}
