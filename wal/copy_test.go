package wal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// copiers are programs that copy a directory, holes for zeros. They are shell
// commands: $1 is the directory, $2 the copy, $3 what lies between them. tar makes
// holes only of holes.
var copiers = []struct{ program, command string }{
	{"cp", `cp -r --sparse=always "$1" "$2"`},
	{"tar", `cp -r --sparse=always "$1" "$3" && tar -S -cf "$3.tar" -C "$3" . && mkdir "$2" && tar -S -xf "$3.tar" -C "$2"`},
	{"rsync", `rsync -aS "$1/" "$2"`},
}

// copyCases are logs at rest.
var copyCases = []struct {
	name    string
	verdict wal.Verdict
	make    func(*testing.T) *specimen
}{
	{"clean", wal.Clean, func(t *testing.T) *specimen {
		l, dir := newTestLog(t, small())
		appendRecords(t, l, 300, 500)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return take(t, dir)
	}},
	{"killed", wal.Clean, func(t *testing.T) *specimen {
		l, dir := newTestLog(t, small())
		appendRecords(t, l, 150, 500)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 151, 500)
		return takeLive(t, l, dir)
	}},
	{"torn", wal.Torn, func(t *testing.T) *specimen {
		l, dir := newTestLog(t, small())
		appendRecords(t, l, 3, 500)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		appendRecords(t, l, 200, 500)
		s := takeLive(t, l, dir)
		torn := s.frameOf(firstName, 7)
		s.zero(firstName, torn.off, torn.off+64)
		return s
	}},
	{"cut at both ends and recycled", wal.Clean, func(t *testing.T) *specimen {
		l, dir := newTestLog(t, small())
		for l.Stats().Recycled < 2 {
			appendRecords(t, l, 300, 500)
			last := l.LastLSN()
			if err := errors.Join(l.TruncateFront(last-150), l.TruncateBack(last-20)); err != nil {
				t.Fatal(err)
			}
		}
		appendRecords(t, l, 100, 500)
		return takeLive(t, l, dir)
	}},
}

// TestCopiesAtRest copies logs at rest by programs that make holes of zeros: a
// copy gets the same verdict as its original, opens with the same records, and goes on.
func TestCopiesAtRest(t *testing.T) {
	t.Parallel()
	for _, tt := range copyCases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := tt.make(t)
			want, err := wal.Verify(s.dir)
			if err != nil || want.Verdict != tt.verdict {
				t.Fatalf("verify the original: %+v, %v", want, err)
			}
			records, _, err := dump(s.dir)
			if err != nil || records.Count() == 0 {
				t.Fatalf("dump the original: %d records, %v", records.Count(), err)
			}
			for _, c := range copiers {
				t.Run(c.program, func(t *testing.T) {
					if _, err := exec.LookPath(c.program); err != nil {
						cannotRun(t, "make packages installs what is missing: "+err.Error())
					}
					dir := filepath.Join(t.TempDir(), "copy")
					cmd := exec.Command("sh", "-ec", c.command, "sh", s.dir, dir, dir+".between")
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%s: %v\n%s", c.command, err, out)
					}
					wantHoles(t, dir)
					wantCopy(t, dir, want, *records)
				})
			}
		})
	}
}

// wantHoles fails unless a directory has files with holes: otherwise the copy is
// none of the kind that is tested.
func wantHoles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err = unix.Stat(filepath.Join(dir, e.Name()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 < st.Size {
			return
		}
	}
	t.Errorf("no file of %s has holes", dir)
}

// wantCopy compares a copy with what was found in its original, and goes on
// with it.
func wantCopy(t *testing.T, dir string, want *wal.Report, records seawall.Held) {
	t.Helper()
	got, err := wal.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	got.Dir = want.Dir
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("verify, the original and its copy (-want +got):\n%s", d)
	}
	wantGoesOn(t, dir, records)
}

// wantGoesOn opens a copy that holds those records, appends, and closes it:
// what is then there is clean and complete.
func wantGoesOn(t *testing.T, dir string, records seawall.Held) {
	t.Helper()
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer l.Close()
	if got, rerr := seawall.ReadOpen(l); rerr != nil || !got.Same(&records) {
		t.Fatalf("records %d to %d of %d to %d: %v", got.First, got.Last, records.First, records.Last, rerr)
	}
	const more = 150 // over more than a segment
	for range more {
		p := record(l.LastLSN()+1, 700)
		lsn, aerr := l.Append(p)
		if aerr == nil {
			aerr = records.Add(lsn, p)
		}
		if aerr != nil {
			t.Fatalf("append: %v", aerr)
		}
	}
	if err = l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	rep, err := wal.Verify(dir)
	if err != nil || rep.Verdict != wal.Clean {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
	if got, _, err := dump(dir); err != nil || !got.Same(&records) {
		t.Fatalf("records %d to %d of %d to %d: %v", got.First, got.Last, records.First, records.Last, err)
	}
}

// copyAdvice are words that tell what to do about a copy that is refused.
const copyAdvice = "made while the log was written"

// wantAdvice fails unless an error says that a copy is damaged, where, and what
// to do.
func wantAdvice(t *testing.T, dir string, err error) {
	t.Helper()
	var c *wal.CorruptError
	if !errors.As(err, &c) || c.Reason == "" || !strings.Contains(err.Error(), filepath.Join(dir, c.File)) ||
		!strings.Contains(err.Error(), copyAdvice) {
		t.Fatalf("a copy is refused without saying why, and what to do: %v", err)
	}
}

// How the use of a copy may end.
const (
	copyRefused = "refused"
	copyBroken  = "refused by the reader that came to the damage"
	copyEarlier = "opened as of a moment before a cut"
	copyOpened  = "opened"

	// Open begins at the newest proved segment, Verify at the first: where a copy
	// holds one segment from before a cut and a later one from behind it, they may
	// end at different records. Both are legal prefixes, of different moments.
	copyDiffers = "opened as of another moment than was inspected"
)

// useCopy opens a copy of which rep was found, reads it, appends, and closes it.
// What does not fit together is refused by Open or, where Open need not look that
// far back, by the reader that comes to the place.
func useCopy(t *testing.T, dir string, rep *wal.Report, take func(wal.LSN, []byte) error) string {
	t.Helper()
	l, err := wal.Open(dir, small())
	if err != nil {
		wantAdvice(t, dir, err)
		if rep.Verdict != wal.Damaged {
			t.Fatalf("refused, and not damaged: %v, %+v", err, rep)
		}
		return copyRefused
	}
	defer l.Close()
	r := l.Reader(0)
	for err == nil && r.Next() {
		err = take(r.LSN(), r.Record())
	}
	damage := r.Close() // what Err says
	last := l.LastLSN()
	lsn, aerr := l.Append([]byte("more"))
	if aerr == nil && lsn != last+1 {
		aerr = fmt.Errorf("append behind %d: %d", last, lsn)
	}
	if err = errors.Join(err, aerr, l.Close()); err != nil {
		t.Fatal(err)
	}
	after, err := wal.Verify(dir)
	switch {
	case err != nil:
		t.Fatal(err)
	case damage != nil:
		wantAdvice(t, dir, damage)
		return copyBroken
	case rep.Verdict == wal.Damaged:
		return copyEarlier
	case rep.LastLSN != last && rep.FirstLSN == after.FirstLSN:
		return copyDiffers
	case after.Verdict != wal.Clean && rep.Verdict == wal.Torn && after.Verdict == wal.Torn:
		return copyDiffers
	case after.Verdict != wal.Clean || rep.FirstLSN != after.FirstLSN:
		t.Fatalf("opened with %d, then %+v; before %+v", last, after, rep)
	}
	return copyOpened
}

// lookAtCopy reads a copy of a log without opening it for writing: records that
// the function does not take are wrong, whatever is damaged.
func lookAtCopy(dir string, take func(wal.LSN, []byte) error) (*wal.Report, error) {
	rep, err := wal.Dump(dir, wal.DumpOptions{}, take)
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	if full, verr := wal.Verify(dir); verr != nil || full.Verdict != rep.Verdict || full.LastLSN != rep.LastLSN {
		return nil, fmt.Errorf("verify: %+v, %w; dump: %+v", full, verr, rep)
	}
	return rep, nil
}

// TestCopiesBesideWriter copies the directory of a log with cp, over and over,
// while a process appends to it, rotates and cuts: each copy is a legal prefix,
// or is refused in words.
func TestCopiesBesideWriter(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cp"); err != nil {
		cannotRun(t, err.Error())
	}
	root := fastDir(t)
	dir, to := filepath.Join(root, "log"), filepath.Join(root, "copy")
	notes := startBusyWriter(t, dir)
	ends, records := make(map[string]int), 0
	for n := range rounds(t, 5, 4) {
		before := notes.Load()
		out, err := exec.Command("cp", "-r", dir, to).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "No such file") {
			t.Fatalf("cp: %v\n%s", err, out)
		}
		var seen busyCopy
		rep, err := lookAtCopy(to, func(lsn wal.LSN, p []byte) error { return seen.add(before, lsn, p) })
		if err != nil {
			t.Fatalf("copy %d: %v", n, err)
		}
		var opens busyCopy
		ended := useCopy(t, to, rep, func(lsn wal.LSN, p []byte) error { return opens.add(before, lsn, p) })
		if ended == copyOpened && opens != seen {
			t.Fatalf("copy %d: opened with %+v, inspected with %+v", n, opens, seen)
		}
		ends[ended]++
		records += opens.records
		if err = os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("copies: %v, %d records", ends, records)
}

// busyCopy is what was read from a copy of the busy writer's log.
type busyCopy struct {
	lsn     wal.LSN
	gen     int
	records int
}

// add checks the next record. before is what was cut before the copy was begun.
func (b *busyCopy) add(before *cutNote, lsn wal.LSN, p []byte) error {
	if len(p) < 16 {
		return fmt.Errorf("record %d has %d bytes", lsn, len(p))
	}
	gen := int(binary.LittleEndian.Uint64(p))
	switch {
	case string(p) != string(killRecord(gen, lsn)):
		return fmt.Errorf("record %d of generation %d is not what was appended", lsn, gen)
	case b.records > 0 && lsn != b.lsn+1 || gen < b.gen:
		return fmt.Errorf("record %d of generation %d behind %d of %d", lsn, gen, b.lsn, b.gen)
	case before.illegal(lsn, gen):
		return fmt.Errorf("record %d of generation %d was cut before: %+v", lsn, gen, before)
	}
	b.lsn, b.gen = lsn, gen
	b.records++
	return nil
}
