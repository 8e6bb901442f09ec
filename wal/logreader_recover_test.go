package wal_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// lockLog takes the writer's lock as one does that has not come to look at the
// log yet.
func lockLog(t *testing.T, dir string) (unlock func()) {
	t.Helper()
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(lockFile, true)
	if err == nil {
		err = f.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(f.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}

// lostPower is a log of 12 records, of which the device got 7, while the
// control block, which it got too, speaks of all.
func lostPower(t *testing.T, size int) *specimen {
	t.Helper()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 6, size)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 6, size)
	s := takeLive(t, l, dir)
	for _, name := range s.segments() {
		if data := s.get(name); recovery.LastNonzero(data[frame.StampOffset:frame.DataOffset]) == 0 {
			continue // prepared
		}
		for _, f := range s.frames(name) {
			if f.Kind == frame.KindRecord && f.LSN > 7 {
				s.zero(name, f.off, f.end())
			}
		}
	}
	return s
}

// TestStaleBlockIsNotBelieved reads what a power loss left, without a writer,
// beside one that has just taken the lock, and beside one that goes on.
func TestStaleBlockIsNotBelieved(t *testing.T) {
	for _, size := range []int{100, 20000} {
		s := lostPower(t, size)
		dead := openReader(t, s.dir)
		wantBeside(t, "dead", dead, 1, 7, size)
		safe := dead.Reader(0).Durable()
		for safe.Next() {
		}
		if safe.Err() != nil || safe.LSN() != 6 || dead.DurableLSN() != 6 {
			t.Fatalf("durable up to %d, %d: %v", safe.LSN(), dead.DurableLSN(), safe.Err())
		}
		placed := dead.Reader(6)
		if first, second, third := placed.Next(), placed.Next(), placed.Next(); !first || !second || third || placed.Err() != nil {
			t.Fatalf("read %d: %v", placed.LSN(), placed.Err())
		}
		unlock := lockLog(t, s.dir)
		opening := openReader(t, s.dir)
		if !opening.Live() {
			t.Error("there is a writer")
		}
		wantBeside(t, "opening", opening, 1, 7, size)
		wantBeside(t, "opening, opened before", dead, 1, 7, size)
		unlock()
		l := openLog(t, s.dir, small())
		wantBeside(t, "opened", opening, 1, 7, size)
		appendRecords(t, l, 5, size)
		for what, o := range map[string]*wal.LogReader{"dead": dead, "opening": opening, "new": openReader(t, s.dir)} {
			wantBeside(t, "appended, "+what, o, 1, 12, size)
		}
		if !placed.Next() || placed.LSN() != 8 {
			t.Fatalf("read %d: %v", placed.LSN(), placed.Err())
		}
		for !safe.Durable().Next() {
			if safe.Err() != nil {
				t.Fatal(safe.Err())
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if safe.LSN() != 7 {
			t.Fatalf("durable: read %d", safe.LSN())
		}
	}
}

// TestDurableBeside returns no record before a sync that covers it has returned.
func TestDurableBeside(t *testing.T) {
	l, dir := newTestLog(t, small())
	o := openReader(t, dir)
	r := o.Reader(0).Durable()
	defer r.Close()
	for lsn := wal.LSN(1); lsn <= 12; lsn++ {
		appendRecords(t, l, 1, 20000)
		if o.LastLSN() != lsn || o.DurableLSN() != lsn-1 {
			t.Fatalf("last %d, durable %d behind the append of %d", o.LastLSN(), o.DurableLSN(), lsn)
		}
		if r.Next() || r.Err() != nil {
			t.Fatalf("record %d is not durable: %v", r.LSN(), r.Err())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if r.Follow(ctx) || !errors.Is(r.Err(), context.DeadlineExceeded) {
			t.Fatalf("record %d is not durable: %v", r.LSN(), r.Err())
		}
		cancel()
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if !r.Follow(t.Context()) || r.LSN() != lsn {
			t.Fatalf("record %d is durable: %v", lsn, r.Err())
		}
	}
}

// TestDamageBeside reads damaged logs: what lies before the damage is read, and
// the error says where it is.
func TestDamageBeside(t *testing.T) {
	t.Parallel()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 12, 20000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		harm  func(*specimen)
		until wal.LSN // records before it are read
		file  string
	}{
		"payload":         {func(s *specimen) { s.flip(secondName, s.frameOf(secondName, 4).off+500) }, 3, secondName},
		"header":          {func(s *specimen) { s.flip(secondName, s.frameOf(secondName, 4).off+5) }, 3, secondName},
		"last record":     {func(s *specimen) { s.flip("0000000000000006.wal", s.frameOf("0000000000000006.wal", 12).off+500) }, 11, "0000000000000006.wal"},
		"missing segment": {func(s *specimen) { s.remove(secondName) }, 2, secondName},
	} {
		for _, live := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := take(t, dir)
				c.harm(s)
				if live {
					defer lockLog(t, s.dir)()
				}
				o := openReader(t, s.dir)
				r := o.Reader(0)
				defer r.Close()
				for r.Next() {
					wantRecord(t, r.LSN(), 20000, r.Record())
				}
				var damaged *wal.CorruptError
				if !errors.As(r.Err(), &damaged) || r.LSN() > c.until || damaged.File != c.file {
					t.Fatalf("read up to %d, want %d: %v", r.LSN(), c.until, r.Err())
				}
				if name != "missing segment" && r.LSN() != c.until {
					t.Errorf("read up to %d, want %d", r.LSN(), c.until)
				}
				if _, err := o.Get(c.until + 1); !errors.Is(err, wal.ErrCorrupt) {
					t.Errorf("get of %d: %v", c.until+1, err)
				}
			})
		}
	}
}

// TestTwoDamagesBeside reads a log that is damaged in two places, of which only
// the later one lies where Open would look: the error names the one that was met.
func TestTwoDamagesBeside(t *testing.T) {
	t.Parallel()
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 12, 20000)
	must(t, l.Close())
	s := take(t, dir)
	for name, lsn := range map[string]wal.LSN{secondName: 4, sixthName: 12} {
		s.flip(name, s.frameOf(name, lsn).off+500)
	}
	o := openReader(t, s.dir)
	r := o.Reader(0)
	defer r.Close()
	for r.Next() {
	}
	var c *wal.CorruptError
	if !errors.As(r.Err(), &c) || r.LSN() != 3 || c.File != secondName || c.FirstLSN != 4 {
		t.Errorf("read up to %d: %v", r.LSN(), r.Err())
	}
	for lsn, name := range map[wal.LSN]string{4: secondName, 12: sixthName} {
		if _, err := o.Get(lsn); !errors.As(err, &c) || c.File != name || c.FirstLSN != lsn {
			t.Errorf("get of %d: %v", lsn, err)
		}
	}
}

// TestTruncatedBeside truncates a segment below readers in another process.
func TestTruncatedBeside(t *testing.T) {
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	appendRecords(t, l, 6, 20000)
	awaitPrepared(t, l, dir) // all have their final names
	o := openReader(t, dir)
	r := o.Reader(1)
	defer r.Close()
	if !r.Next() {
		t.Fatal(r.Err())
	}
	if err = os.Truncate(filepath.Join(dir, firstName), 8192); err != nil {
		t.Fatal(err)
	}
	var fault *durability.FaultError
	if r.Next() || !errors.As(r.Err(), &fault) || !strings.HasSuffix(fault.File, firstName) {
		t.Errorf("next: %v", r.Err())
	}
	if _, err = o.Get(2); !errors.As(err, &fault) {
		t.Errorf("get: %v", err)
	}
	if p, gerr := o.Get(4); gerr != nil || len(p) != 20000 {
		t.Errorf("get of another segment's record: %v", gerr)
	}
	// The block that the writer keeps up goes, too.
	if err = os.Truncate(filepath.Join(dir, thirdName), 0); err != nil {
		t.Fatal(err)
	}
	r = o.Reader(3)
	defer r.Close()
	if r.Follow(t.Context()) || !errors.As(r.Err(), &fault) || !strings.HasSuffix(fault.File, thirdName) {
		t.Errorf("follow: %v", r.Err())
	}
}

// TestRecycledBeside lets all segments below a reader be used again.
func TestRecycledBeside(t *testing.T) {
	dir := filepath.Join(fastDir(t), "log")
	l := openLog(t, dir, small())
	appendRecords(t, l, 9, 20000)
	o := openReader(t, dir)
	var readers []*wal.Reader
	for lsn := wal.LSN(1); lsn <= 6; lsn++ {
		r := o.Reader(lsn)
		defer r.Close()
		if !r.Next() {
			t.Fatal(r.Err())
		}
		readers = append(readers, r)
	}
	for l.Stats().Recycled < 8 {
		appendRecords(t, l, 3, 20000)
		if err := l.TruncateFront(l.LastLSN() - 2); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range readers {
		if r.Next() || !errors.Is(r.Err(), wal.ErrTruncated) {
			t.Errorf("reader %d: record %d, %v", i, r.LSN(), r.Err())
		}
	}
	wantBeside(t, "recycled", o, l.FirstLSN(), l.LastLSN(), 20000)
}

// TestOpenReaderRefuses opens what is no log, and closes one.
func TestOpenReaderRefuses(t *testing.T) {
	empty := t.TempDir()
	for what, dir := range map[string]string{"no directory": filepath.Join(empty, "none"), "empty": empty} {
		if _, err := wal.OpenReader(dir); !errors.Is(err, wal.ErrMissing) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := rotated(t)
	other := rotated(t)
	s.put(thirdName, other.get(thirdName))
	if _, err := wal.OpenReader(s.dir); !errors.Is(err, wal.ErrForeign) {
		t.Errorf("a segment of another log: %v", err)
	}
	o, err := wal.OpenReader(other.dir)
	if err != nil {
		t.Fatal(err)
	}
	r, late := o.Reader(0), o.Reader(14)
	for late.Next() {
	}
	f := startFollow(t.Context(), late)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	f.waits(t)
	if err = o.Close(); err != nil {
		t.Fatal(err)
	}
	f.ends(t, wal.ErrClosed)
	wantRecord(t, 1, 10000, r.Record())
	if r.Next() || !errors.Is(r.Err(), wal.ErrClosed) {
		t.Errorf("next of a closed log: %v", r.Err())
	}
	if _, err = o.Get(1); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("get of a closed log: %v", err)
	}
	if err = o.Close(); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("close of a closed log: %v", err)
	}
	_, _ = r.Close(), late.Close()
	if n := mappings(t, other.dir); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

// TestOpenReaderAsNobody follows as a user who may read and no more.
func TestOpenReaderAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "becoming another user needs root")
	}
	root := fastDir(t)
	dir := filepath.Join(root, "log")
	l := openLog(t, dir, small())
	g := &generations{l: l}
	if err := errors.Join(os.Chmod(root, 0o755), os.Chmod(dir, 0o555)); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, exec.Command(thisProgram), "follow", dir, &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
	})
	for range sayAt {
		if err := g.step(50, 0); err != nil {
			t.Fatal(err)
		}
	}
	p.await()
	if s := p.end(); s.Records != sayAt {
		t.Errorf("%+v", s)
	}
}

// TestReaderGoesOnBehindACrash reads what a crash left, at each event of a life
// that rotates, and then, with the same Reader, what is appended behind the
// recovery: also where a segment has no record, since its writer died as it
// entered it, and the next one ends the commit at a boundary.
func TestReaderGoesOnBehindACrash(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	for life := 1; ; life++ {
		f := newLife(t, withMin(wal.Options{SegmentsAhead: 1}), rng)
		f.open()
		f.fill(10, 9000)
		f.stop()
		empty := 0
		for at := range f.moments() {
			if segments := readOn(t, f, at); len(segments) > 1 {
				for i := range segments[1:] {
					if segments[i].FirstLSN == segments[i+1].FirstLSN {
						empty++
					}
				}
			}
		}
		if empty > 0 {
			return
		}
		if life == 20 {
			t.Fatal("no segment without a record")
		}
	}
}

// readOn reads what a crash after that event left, and what is appended to it,
// and returns the log's segments.
func readOn(t *testing.T, f *life, at int) []wal.Segment {
	t.Helper()
	root := fastDir(t)
	must(t, f.rec.CrashAs(durabilitytest.Keep, f.root, at, nil).WriteTo(root))
	dir := filepath.Join(root, logName)
	o, err := wal.OpenReader(dir)
	if errors.Is(err, wal.ErrMissing) {
		return nil
	}
	must(t, err)
	defer o.Close()
	r := o.Reader(0)
	defer r.Close()
	for r.Next() {
	}
	if must(t, r.Err()); r.LSN() == 0 {
		return nil
	}
	l := openLog(t, dir, withMin(wal.Options{SegmentsAhead: 1, Align: wal.AlignFolio}))
	defer l.Close()
	appendRecords(t, l, 3, 900)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for r.LSN() != l.LastLSN() && r.Follow(ctx) {
	}
	if r.Err() != nil || r.LSN() != l.LastLSN() {
		t.Fatalf("crash after %d of %d events: read up to %d of %d: %v", at, f.rec.Len(), r.LSN(), l.LastLSN(), r.Err())
	}
	return l.Segments()
}
