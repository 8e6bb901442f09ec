package wal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// preparing reports whether a call is a step of preparing a segment that may
// find no space.
func preparing(c *durabilitytest.Call) bool {
	if !strings.HasSuffix(c.Name, ".tmp") {
		return false
	}
	switch c.Op {
	case durability.OpCreate, durability.OpAllocate, durability.OpWrite, durability.OpSync, durability.OpRename:
		return true
	}
	return false
}

// TestFullDiskIsAnErrorBeforeAStore lets each step of preparing a segment find
// no space, and all steps behind it too, until there is some again. Append
// says so (C8), the log goes on serving and syncing, and appends again once
// there is space.
func TestFullDiskIsAnErrorBeforeAStore(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			at := 0
			for at < 60 && fillUp(t, errno, at, errno == unix.ENOSPC) {
				at++
			}
			if at < 10 {
				t.Fatalf("preparation has %d steps", at)
			}
		})
	}
}

// fillUp appends until the disk is full, from the step with that number on. It
// reports whether that happened. A patient appender enters no segment that has
// its temporary name still, so that no sync fails that covers records.
func fillUp(t *testing.T, errno unix.Errno, at int, patient bool) bool {
	t.Helper()
	root := fastDir(t)
	dir := root + "/log"
	o := small()
	o.SegmentsAhead = 1
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{match: preparing, at: at, err: errno, all: true, phase: durability.Before}
	remove := durabilitytest.InjectDir(dir, f.hook)
	defer remove()
	for l.LastLSN() < 30 && err == nil {
		_, err = l.Append(record(l.LastLSN()+1, 9000))
		for patient && err == nil && !prepared(t, l, dir, f) {
			time.Sleep(100 * time.Microsecond)
		}
	}
	where, hit := f.has()
	if !hit {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	for err == nil { // the segment at hand has room
		_, err = l.Append(record(l.LastLSN()+1, 9000))
	}
	if !errors.Is(err, wal.ErrNoSpace) || !errors.Is(err, errno) || patient && errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("append with no space for %s: %v", where, err)
	}
	last := l.LastLSN()
	if serr := l.Sync(); !patient && serr != nil {
		return nameGoesOn(t, l, f, where, serr)
	}
	for range 3 {
		if _, err = l.AppendBatch([][]byte{record(1, 20000), record(2, 20000)}); !errors.Is(err, wal.ErrNoSpace) {
			t.Fatalf("batch with no space for %s: %v", where, err)
		}
	}
	if l.LastLSN() != last {
		t.Fatalf("no space for %s: last LSN went from %d to %d", where, last, l.LastLSN())
	}
	if err = errors.Join(l.Sync(), l.Checkpoint(), l.Commit(context.Background(), last)); err != nil || l.DurableLSN() != last {
		t.Fatalf("no space for %s: durable %d of %d: %v", where, l.DurableLSN(), last, err)
	}
	wantRecords(t, l, 1, last, 9000)
	f.heal()
	appendRecords(t, l, 20, 9000)
	wantRecords(t, l, 1, last+20, 9000)
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	rep, err := wal.Verify(dir)
	if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != last+20 {
		t.Fatalf("no space for %s: verify: %+v, %v", where, rep, err)
	}
	if rep.Warnings != nil {
		t.Fatalf("no space for %s: warnings %v", where, rep.Warnings)
	}
	wantNoTemporaries(t, dir, where)
	return true
}

// nameGoesOn is what becomes of a log whose last sync failed because the disk was
// full: where a segment that holds records could not be synced, the log is
// poisoned; where only its name found no room, nothing is acknowledged until
// there is some, and then all is.
func nameGoesOn(t *testing.T, l *wal.Log, f *faults, where string, serr error) bool {
	t.Helper()
	if errors.Is(serr, wal.ErrPoisoned) {
		if !strings.Contains(serr.Error(), "fsync") {
			t.Errorf("no space for %s poisons the log: %v", where, serr)
		}
		return l.Close() != nil
	}
	last, durable := l.LastLSN(), l.DurableLSN()
	for what, err := range map[string]error{
		"sync": l.Sync(), "checkpoint": l.Checkpoint(), "commit": l.Commit(context.Background(), last),
		"front": l.TruncateFront(2), "back": l.TruncateBack(1),
	} {
		if !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned) {
			t.Fatalf("%s with no space for %s: %v", what, where, err)
		}
	}
	if l.LastLSN() != last || l.DurableLSN() != durable || durable >= last {
		t.Fatalf("no space for %s: durable %d of %d, before %d of %d", where, l.DurableLSN(), l.LastLSN(), durable, last)
	}
	wantRecords(t, l, 1, last, 9000)
	f.heal()
	if err := l.Sync(); err != nil || l.DurableLSN() != last {
		t.Fatalf("space again for %s: durable %d of %d, %v", where, l.DurableLSN(), last, err)
	}
	appendRecords(t, l, 20, 9000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

// TestNoRoomForANameAtTheEnd closes a log whose last segment finds no room for
// its name: Close says so, and what was appended is there all the same, with
// and without room for the name behind the close.
func TestNoRoomForANameAtTheEnd(t *testing.T) {
	t.Parallel()
	dir := fastDir(t) + "/log"
	o := small()
	o.SegmentsAhead = 1
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{
		match: func(c *durabilitytest.Call) bool { return c.Op == durability.OpRename },
		err:   unix.ENOSPC, all: true, phase: durability.Before,
	}
	// A segment that is refused its name before it is entered is discarded: the
	// answer comes when the log has gone on in it.
	entered := make(chan struct{})
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if f.match(c) {
			<-entered
		}
		return f.hook(c)
	})
	defer remove()
	open := sync.OnceFunc(func() { close(entered) })
	defer open()
	for l.Segments()[len(l.Segments())-1].FirstLSN == 1 {
		if _, err = l.Append(record(l.LastLSN()+1, 9000)); err != nil {
			t.Fatal(err)
		}
	}
	open()
	last := l.LastLSN()
	if err = l.Close(); !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("close: %v", err)
	}
	if _, err = wal.Open(dir, o); !errors.Is(err, wal.ErrNoSpace) {
		t.Fatalf("open while there is no room: %v", err)
	}
	f.heal()
	l = openLog(t, dir, o)
	wantRecords(t, l, 1, last, 9000)
}

// prepared reports whether the segment ahead has its name, or the disk is full.
func prepared(t *testing.T, l *wal.Log, dir string, f *faults) bool {
	t.Helper()
	if _, full := f.has(); full {
		return l.Stats().Ready == 0 // the segment that failed was discarded
	}
	ready := l.Stats().Ready // before the names are looked at: it is so before it has one
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if strings.HasSuffix(e.Name(), ".tmp") {
			return false
		}
	}
	return ready == 1
}

// wantNoTemporaries checks that a closed log left nothing half made.
func wantNoTemporaries(t *testing.T, dir, where string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			t.Fatalf("no space for %s: %s is left", where, e.Name())
		}
	}
}

// TestFullDiskAtBirth lets each step of a log's birth find no space: Open says
// so, and makes the log once there is some.
func TestFullDiskAtBirth(t *testing.T) {
	t.Parallel()
	for at := 0; ; at++ {
		root := fastDir(t)
		dir := root + "/log"
		f := &faults{
			match: func(c *durabilitytest.Call) bool {
				return preparing(c) || c.Op == durability.OpMkdir || c.Op == durability.OpCreate ||
					c.Op == durability.OpWrite || isSync(c.Op)
			},
			at: at, err: unix.ENOSPC, all: true, phase: durability.Before,
		}
		remove := durabilitytest.InjectDir(root, f.hook)
		l, err := wal.Open(dir, small())
		remove()
		where, hit := f.has()
		if !hit {
			if err != nil || at < 10 {
				t.Fatalf("birth has %d steps: %v", at, err)
			}
			if err = l.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, wal.ErrNoSpace) || !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("open with no space for %s: %v", where, err)
		}
		l = openLog(t, dir, small())
		if l.LastLSN() != 0 {
			t.Fatalf("open after no space for %s: last LSN %d", where, l.LastLSN())
		}
		appendRecords(t, l, 5, 9000)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// messages hands on what a log tells its logger.
type messages struct {
	slog.Handler
	ch chan string
}

func (m messages) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (m messages) Handle(_ context.Context, r slog.Record) error {
	m.ch <- r.Message
	return nil
}

// TestFailedSyncOfAPreparedSegmentIsNoPoison fails the fsync of a segment that
// holds no record: it is discarded, and the log goes on (C6).
func TestFailedSyncOfAPreparedSegmentIsNoPoison(t *testing.T) {
	t.Parallel()
	for at := range 3 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			root := fastDir(t)
			dir := root + "/log"
			o := small()
			o.SegmentsAhead = 3
			told := messages{slog.DiscardHandler, make(chan string, 100)}
			o.Logger = slog.New(told)
			l := openLog(t, dir, o)
			f := &faults{
				match: func(c *durabilitytest.Call) bool {
					return c.Op == durability.OpSync && strings.HasSuffix(c.Name, ".tmp")
				},
				at: at, err: unix.EIO, phase: durability.Before,
			}
			durabilitytest.Inject(t, dir, f.hook)
			appendRecords(t, l, 1, 9000) // preparation begins with the first record
			for m := range told.ch {
				if strings.Contains(m, "discarded") {
					break
				}
			}
			if _, hit := f.has(); !hit {
				t.Fatal("discarded without a fault")
			}
			for l.LastLSN() < 40 {
				lsn := l.LastLSN() + 1
				_, err := l.Append(record(lsn, 9000))
				if err != nil && !errors.Is(err, unix.EIO) || errors.Is(err, wal.ErrPoisoned) {
					t.Fatal(err)
				}
			}
			if err := l.Checkpoint(); err != nil || l.DurableLSN() != 40 {
				t.Fatalf("durable %d of 40: %v", l.DurableLSN(), err)
			}
			wantRecords(t, l, 1, 40, 9000)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFailedWriteOutIsNoPoison fails what writes a prepared segment's pages beside commits: the
// kernel tells such a failure once, and the fsync behind it would say that all is well.
func TestFailedWriteOutIsNoPoison(t *testing.T) {
	t.Parallel()
	dir := fastDir(t) + "/log"
	o := small()
	o.SegmentsAhead = 3
	told := messages{slog.DiscardHandler, make(chan string, 100)}
	o.Logger = slog.New(told)
	l := openLog(t, dir, o)
	appendRecords(t, l, 1, 9000)
	must(t, l.Sync()) // there are commits from now on
	awaitReady(t, l, dir, 3)
	f := &faults{
		match: func(c *durabilitytest.Call) bool { return c.Op == durabilitytest.OpWriteOut },
		err:   unix.EIO, phase: durability.Before,
	}
	durabilitytest.Inject(t, dir, f.hook)
	for s := l.Stats(); s.Rotations == 0; s = l.Stats() { // another one is prepared
		appendRecords(t, l, 1, 9000)
	}
	for m := range told.ch {
		if strings.Contains(m, "discarded") {
			break
		}
	}
	if call, hit := f.has(); !hit || !strings.Contains(call, ".tmp") {
		t.Fatalf("discarded without a fault of a prepared segment: %s", call)
	}
	appendRecords(t, l, 40, 9000)
	must(t, l.Checkpoint())
	wantRecords(t, l, 1, l.LastLSN(), 9000)
	must(t, l.Close())
}
