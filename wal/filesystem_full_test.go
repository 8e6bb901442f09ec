package wal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// spaceSteps are the moments at which a disk is full. Each works in a new
// directory of the volume, and says what came of it.
var spaceSteps = []struct {
	name string
	do   func(*testing.T, *volume, string) string
}{
	{"appending, others fill the disk", fullByOthers},
	{"appending, the log fills the disk", fullByItself},
	{"appending, then killed", fullAndKilled},
	{"birth", fullAtBirth},
	{"open", fullAtOpen},
	{"open of a sparse copy", fullAtSparseOpen},
	{"open that saves and trims", fullAtTrim},
	{"checkpoint", fullAtCheckpoint},
	{"truncate front", fullAtFront},
	{"truncate back, reset", fullAtBack},
	{"a sync", fullAtSync},
	{"close", fullAtClose},
	{"blocks shared with a copy", fullWhileShared},
	{"open of a copy that shares blocks", fullCopy},
}

// TestFullDisks fills real filesystems at every step (C8): whatever was
// appended is there after a remount, Append goes on in the prepared segments,
// says ErrNoSpace behind them, and goes on once there is space.
func TestFullDisks(t *testing.T) {
	var mu sync.Mutex
	table := make(map[string]string)
	t.Run("all", func(t *testing.T) {
		for _, kind := range volumeKinds {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				v := newVolume(t, kind)
				for i, step := range spaceSteps {
					outcome := "FAILED"
					t.Run(step.name, func(t *testing.T) {
						v.t = t
						t.Cleanup(func() { v.t = t; v.free() })
						outcome = v.atFull(t, step.do, v.path(fmt.Sprintf("log%d", i)))
					})
					v.t = t
					mu.Lock()
					table[kind.name+step.name] = outcome
					mu.Unlock()
				}
			})
		}
	})
	var b strings.Builder
	for _, step := range spaceSteps {
		for _, kind := range volumeKinds {
			fmt.Fprintf(&b, "\n%-34s %-12s %s", step.name, kind.name, table[kind.name+step.name])
		}
	}
	t.Logf("full disks:%s", b.String())
}

// refusedSync is a panic of appendUntilFull: a sync of a segment that holds records has failed for
// want of space, and so the log is poisoned (C6).
type refusedSync struct {
	log   *wal.Log
	cause error
}

// atFull takes a step. On a full btrfs a sync may fail for want of space, since it writes elsewhere
// what is written again: then what the log has acknowledged is there after a remount.
func (v *volume) atFull(t *testing.T, do func(*testing.T, *volume, string) string, dir string) (outcome string) {
	t.Helper()
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		refused, ok := r.(*refusedSync)
		if !ok {
			panic(r)
		}
		if v.fs != "btrfs" {
			t.Fatalf("a sync failed: %v", refused.cause)
		}
		first, durable := refused.log.FirstLSN(), refused.log.DurableLSN()
		if err := refused.log.Close(); !errors.Is(err, wal.ErrPoisoned) {
			t.Errorf("close of a log whose sync has failed: %v", err)
		}
		v.free()
		v.remount()
		l := openLog(t, dir, filling())
		if l.LastLSN() < durable {
			t.Errorf("record %d was acknowledged, and the last one is %d", durable, l.LastLSN())
		}
		wantRecords(t, l, first, l.LastLSN(), fillingRecord)
		appendRecords(t, l, 400, fillingRecord)
		last := l.LastLSN()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		v.remount()
		wantRecords(t, openLog(t, dir, filling()), first, last, fillingRecord)
		outcome = "poisoned: no space for a sync; all acknowledged there"
	}()
	return do(t, v, dir)
}

// filling are options under which a log has three segments ahead, and the
// frames of a segment are many syncs' pages.
func filling() wal.Options {
	return wal.Options{SegmentBytes: 4 * wal.MinSegmentBytes, SegmentsAhead: 3, FillBytes: 4096}
}

// fillingRecord is the size of the records of these tests.
const fillingRecord = 3000

// appendUntilFull appends until there is no space, and returns how many
// records there was room for.
func appendUntilFull(t *testing.T, l *wal.Log) int {
	t.Helper()
	for n := 0; ; n++ {
		lsn := l.LastLSN() + 1
		_, err := l.Append(record(lsn, fillingRecord))
		if err != nil {
			if errors.Is(err, wal.ErrPoisoned) && errors.Is(err, wal.ErrNoSpace) && strings.Contains(err.Error(), "fsync ") {
				panic(&refusedSync{l, err})
			}
			wantNoSpace(t, err, ".tmp", ".wal")
			if got := l.LastLSN(); got != lsn-1 {
				t.Fatalf("last LSN is %d behind an append that failed, was %d", got, lsn-1)
			}
			return n
		}
	}
}

// wantNoSpace checks what is said where there is no space: so, and of which
// file.
func wantNoSpace(t *testing.T, err error, names ...string) {
	t.Helper()
	if !errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("without space: %v", err)
	}
	for _, name := range names {
		if strings.Contains(err.Error(), name) {
			return
		}
	}
	t.Fatalf("the error names none of %v: %v", names, err)
}

// prepareAll appends a record and waits until all segments ahead are prepared
// and have their names.
func prepareAll(t *testing.T, l *wal.Log, dir string) {
	t.Helper()
	appendRecords(t, l, 1, fillingRecord)
	awaitReady(t, l, dir, filling().SegmentsAhead)
}

// goesOn frees space, appends more records to the same log, closes it, and
// compares all of them from the device.
func goesOn(t *testing.T, v *volume, l *wal.Log, dir string) {
	t.Helper()
	v.free()
	appendRecords(t, l, 400, fillingRecord)
	last := l.LastLSN()
	wantRecords(t, l, 1, last, fillingRecord)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	v.remount()
	wantLog(t, dir, last)
}

// wantLog verifies a closed log, and compares its records.
func wantLog(t *testing.T, dir string, last wal.LSN) {
	t.Helper()
	n := wal.LSN(0)
	rep, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		wantRecord(t, lsn, fillingRecord, p)
		n = lsn
		return nil
	})
	if err != nil || rep.Verdict != wal.Clean || n != last {
		t.Fatalf("%d of %d records: %+v, %v", n, last, rep, err)
	}
	wantNoTemporaries(t, dir, "a full disk")
}

// wantDurable makes all records durable in every way there is.
func wantDurable(t *testing.T, l *wal.Log) {
	t.Helper()
	last := l.LastLSN()
	err := errors.Join(l.Sync(), l.Commit(context.Background(), last), l.Checkpoint())
	if err != nil || l.DurableLSN() != last {
		t.Fatalf("durable %d of %d on a full disk: %v", l.DurableLSN(), last, err)
	}
}

// fullByOthers has other files take the space of a log that is written to.
func fullByOthers(t *testing.T, v *volume, dir string) string {
	l := openLog(t, dir, filling())
	prepareAll(t, l, dir)
	v.fill(0)
	n := appendUntilFull(t, l)
	// The prepared segments are there for that: all of them were filled.
	if room := (filling().SegmentsAhead + 1) * (int(filling().SegmentBytes) - 32<<10) / (fillingRecord + 32); n < room {
		t.Errorf("%d records went into the prepared segments, want %d", n, room)
	}
	wantDurable(t, l)
	v.cramAll("crumbs of a commit") // which may have given some back
	if again := appendUntilFull(t, l); again != 0 {
		t.Errorf("%d records more on a disk that was full", again)
	}
	wantRecords(t, l, 1, l.LastLSN(), fillingRecord)
	goesOn(t, v, l, dir)
	return fmt.Sprintf("%d records into prepared segments, ErrNoSpace, synced; went on", n)
}

// fullByItself lets the log itself take the space, also while it syncs.
func fullByItself(t *testing.T, v *volume, dir string) string {
	v.fill(3 << 20)
	o := filling()
	o.SegmentsAhead = 1
	l := openLog(t, dir, o)
	n := appendUntilFull(t, l)
	synced := "synced"
	if err := l.Sync(); err != nil {
		// The directory had no room for the name of the segment at the end.
		wantNoSpace(t, err, ".tmp")
		synced = "not synced for want of space for a name"
	} else {
		wantDurable(t, l)
	}
	n += appendUntilFull(t, l)
	goesOn(t, v, l, dir)
	return fmt.Sprintf("%d records, ErrNoSpace, %s; went on", n, synced)
}

// fullAndKilled lets a process fill the disk and die without a word to the log.
func fullAndKilled(t *testing.T, v *volume, dir string) string {
	v.fill(2 << 20)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=1,0,%s", killWriter, dir))
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	words := lines[len(lines)-1]
	full := strings.Contains(words, "no space left")
	// A full btrfs at times refuses a store into blocks that the file has: that is a
	// fault, and no more is acknowledged (C8, C6).
	full = full || v.fs == "btrfs" && strings.Contains(words, "poisoned") && strings.Contains(words, "its disk is full")
	if err == nil || len(lines) < 3 || !full {
		t.Fatalf("the writer ended with %v: %.300s", err, words)
	}
	acked, err := strconv.ParseUint(lines[len(lines)-2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	v.remount()
	refused := ""
	l, err := wal.Open(dir, small())
	if err != nil { // the last segment finds no room for its name
		wantNoSpace(t, err, ".tmp")
		v.free()
		refused = " once there is space"
		l, err = wal.Open(dir, small())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Where the last words were about a sync, its append had returned: of one
	// record, or of a batch of three.
	last := l.LastLSN()
	if last < wal.LSN(acked) || last > wal.LSN(acked)+3 {
		t.Fatalf("%d records are there, %d were appended", last, acked)
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	wantLives(t, dir, []wal.LSN{0, last})
	return fmt.Sprintf("%d records, killed at ErrNoSpace, remounted: all there%s", acked, refused)
}

// fullAtBirth leaves ever more room to a log's birth.
func fullAtBirth(t *testing.T, v *volume, dir string) string {
	refused := 0
	for room := int64(0); ; room += 64 << 10 {
		v.fill(room)
		l, err := wal.Open(dir, filling())
		if err != nil {
			wantNoSpace(t, err, dir)
			refused++
			continue
		}
		wantDurable(t, l)
		goesOn(t, v, l, dir)
		if refused == 0 && v.staysFull() {
			t.Fatal("a log was born on a full disk")
		}
		return fmt.Sprintf("%d times ErrNoSpace, born with %d KiB of room; went on", refused, room>>10)
	}
}

// closedLog makes a log with records in several segments and returns the last.
func closedLog(t *testing.T, dir string) wal.LSN {
	t.Helper()
	l, err := wal.Open(dir, filling())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 200, fillingRecord)
	last := l.LastLSN()
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	return last
}

// openFull opens a log with ever more room until it opens, and returns it and
// how often it was refused.
func openFull(t *testing.T, v *volume, dir string, most int64) (l *wal.Log, refused int, room int64) {
	t.Helper()
	for ; room <= most; room += 128 << 10 {
		v.fill(room)
		l, err := wal.Open(dir, filling())
		if err == nil {
			return l, refused, room
		}
		wantNoSpace(t, err, dir)
		refused++
	}
	t.Fatalf("the log does not open with %d bytes of room", room)
	return nil, 0, 0
}

// fullAtOpen opens a clean log on a full disk: it takes no space.
func fullAtOpen(t *testing.T, v *volume, dir string) string {
	last := closedLog(t, dir)
	l, refused, room := openFull(t, v, dir, 0)
	wantRecords(t, l, 1, last, fillingRecord)
	n := appendUntilFull(t, l)
	wantDurable(t, l)
	goesOn(t, v, l, dir)
	return fmt.Sprintf("refused %d times, opened with %d KiB, %d records, ErrNoSpace; went on", refused, room>>10, n)
}

// fullAtSparseOpen opens a sparse copy whose holes cannot be filled.
func fullAtSparseOpen(t *testing.T, v *volume, dir string) string {
	last := closedLog(t, dir)
	for name, data := range readDir(t, dir) {
		putSparse(t, filepath.Join(dir, name), data)
	}
	v.sync()
	l, refused, room := openFull(t, v, dir, 4<<20)
	if refused == 0 && v.staysFull() {
		t.Error("holes were filled on a full disk")
	}
	wantRecords(t, l, 1, last, fillingRecord)
	n := appendUntilFull(t, l)
	wantDurable(t, l)
	goesOn(t, v, l, dir)
	return fmt.Sprintf("refused %d times, opened with %d KiB, %d records, ErrNoSpace; went on", refused, room>>10, n)
}

// fullAtTrim opens a log with intact records behind a hole: it saves them
// before it trims, and trims nothing where they cannot be saved.
func fullAtTrim(t *testing.T, v *volume, dir string) string {
	const durable, last = 40, 60
	l, err := wal.Open(dir, filling())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, durable, fillingRecord)
	if err = l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, last-durable, fillingRecord)
	awaitReady(t, l, dir, filling().SegmentsAhead)
	s := &specimen{t: t, dir: dir}
	files := readDir(t, dir)
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	if err = os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.fill(files)
	torn := s.frameOf(firstName, durable+5)
	s.zero(firstName, torn.off, torn.off+64)
	v.sync()

	refused, room := 0, int64(0)
	for ; ; room += 64 << 10 {
		v.fill(room)
		l, err = wal.Open(dir, filling())
		if err == nil {
			break
		}
		wantNoSpace(t, err, "lost")
		refused++
		rep, verr := wal.Verify(dir)
		if verr != nil || rep.Verdict != wal.Torn || rep.LastLSN != durable+4 || len(rep.Behind) != 1 {
			t.Fatalf("verify after open found no room to save: %+v, %v", rep, verr)
		}
	}
	rep := l.Recovery()
	if refused == 0 && v.staysFull() || !rep.Trimmed || len(rep.Saved) == 0 {
		t.Fatalf("refused %d times, then %+v", refused, rep)
	}
	wantRecords(t, l, 1, durable+4, fillingRecord)
	v.free() // in memory, loading a hole of the saved copy takes a page
	saved, err := wal.Dump(filepath.Dir(filepath.Join(dir, rep.Saved[0])), wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil })
	if err != nil || len(saved.Behind) != 1 || saved.Behind[0] != (wal.Range{First: durable + 6, Last: last}) {
		t.Fatalf("saved: %+v, %v", saved, err)
	}
	goesOn(t, v, l, dir)
	return fmt.Sprintf("refused %d times, nothing trimmed; saved and trimmed with %d KiB; went on", refused, room>>10)
}

// fullAtCheckpoint checkpoints a log whose disk has become full, many times.
func fullAtCheckpoint(t *testing.T, v *volume, dir string) string {
	l := openLog(t, dir, filling())
	prepareAll(t, l, dir)
	v.fill(0)
	for n := range 20 {
		appendRecords(t, l, 2, fillingRecord)
		if err := l.Checkpoint(); err != nil || l.DurableLSN() != l.LastLSN() {
			t.Fatalf("checkpoint %d on a full disk: %v", n, err)
		}
	}
	v.remountUnder(t, l, dir)
	return "20 checkpoints, remounted: all there"
}

// remountUnder closes the log, remounts the full disk, and compares its records.
func (v *volume) remountUnder(t *testing.T, l *wal.Log, dir string) {
	t.Helper()
	last := l.LastLSN()
	if err := l.Close(); err != nil {
		t.Fatalf("close on a full disk: %v", err)
	}
	v.remount()
	wantLog(t, dir, last)
	l, err := wal.Open(dir, filling())
	if err != nil {
		t.Fatalf("open on a full disk: %v", err)
	}
	wantRecords(t, l, 1, last, fillingRecord)
	goesOn(t, v, l, dir)
}

// fullAtSync has no space for a sync, as a full btrfs at times has none.
func fullAtSync(t *testing.T, v *volume, dir string) string {
	if v.fs != "btrfs" {
		return "needs no space"
	}
	l := openLog(t, dir, filling())
	appendRecords(t, l, 100, fillingRecord)
	wantDurable(t, l)
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpMsync {
			return unix.ENOSPC
		}
		return nil
	})
	defer remove()
	appendRecords(t, l, 10, fillingRecord)
	err := l.Sync()
	if !errors.Is(err, wal.ErrPoisoned) {
		t.Fatalf("a sync that failed: %v", err)
	}
	panic(&refusedSync{l, err})
}

// fullAtClose closes a log whose records no sync has covered on a full disk.
func fullAtClose(t *testing.T, v *volume, dir string) string {
	l := openLog(t, dir, filling())
	prepareAll(t, l, dir)
	v.fill(0)
	n := appendUntilFull(t, l)
	v.remountUnder(t, l, dir)
	return fmt.Sprintf("closed with %d records not synced, remounted: all there", n)
}

// fullAtFront truncates the front of a log that filled its disk: that takes no
// space and gives some back, so that the log goes on.
func fullAtFront(t *testing.T, v *volume, dir string) string {
	l := openLog(t, dir, filling())
	prepareAll(t, l, dir)
	v.fill(0)
	n := appendUntilFull(t, l)
	wantDurable(t, l)
	first := l.LastLSN() - 50
	if err := l.TruncateFront(first); err != nil || l.FirstLSN() != first {
		t.Fatalf("truncate the front on a full disk: %d, %v", l.FirstLSN(), err)
	}
	v.sync()
	more := 0
	for more == 0 { // the freed space may take the filesystem a moment
		more = appendUntilFull(t, l)
		v.sync()
	}
	last := l.LastLSN()
	wantRecords(t, l, first, last, fillingRecord)
	v.free() // a segment's name may find no room
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	v.remount()
	l = openLog(t, dir, filling())
	wantRecords(t, l, first, last, fillingRecord)
	return fmt.Sprintf("%d records, ErrNoSpace, truncated: %d records more", n, more)
}

// fullAtBack truncates the back of a log that filled its disk, over segments and
// within one, and resets it: the last one needs a prepared segment.
func fullAtBack(t *testing.T, v *volume, dir string) string {
	l := openLog(t, dir, filling())
	prepareAll(t, l, dir)
	v.fill(0)
	appendUntilFull(t, l)
	last := l.LastLSN()
	if err := l.Reset(7); err != nil {
		wantNoSpace(t, err, ".tmp", ".wal")
	} else {
		t.Error("reset without a prepared segment on a full disk")
	}
	if l.LastLSN() != last {
		t.Fatalf("a reset that failed left %d records of %d", l.LastLSN(), last)
	}
	for _, to := range []wal.LSN{last - 1, last - 200, 5} {
		if err := l.TruncateBack(to); err != nil || l.LastLSN() != to {
			t.Fatalf("truncate the back to %d of %d on a full disk: %v", to, last, err)
		}
		wantRecords(t, l, 1, to, fillingRecord)
	}
	v.remountUnder(t, l, dir)
	return "reset: ErrNoSpace; truncated three times, remounted: all there"
}
