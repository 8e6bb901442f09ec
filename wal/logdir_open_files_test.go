package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

const (
	// manyFiles is how many segments a log has that are not all open at once.
	manyFiles = 2*wal.MaxOpen + 20
	// manyBytes is the size of a record of it: each fills a segment.
	manyBytes = 40000
	// fewMore is how many descriptors there are for it: those of the segments that
	// may be open, and of the directory, locks, and segments that are mapped for
	// writing.
	fewMore = wal.MaxOpen + 20
)

// TestManySegments does all that can be done with a log of more segments than the
// process may have files open.
func TestManySegments(t *testing.T) {
	t.Parallel()
	tryLimited(t, "segments")
}

// manySegmentsLog makes a log of many segments.
func manySegmentsLog(dir string) error {
	l, err := wal.Open(dir, small())
	if err != nil {
		return err
	}
	for range manyFiles {
		if _, err = l.Append(record(l.LastLSN()+1, manyBytes)); err != nil {
			break
		}
	}
	return errors.Join(err, l.Close())
}

// wantManyRecords returns a function for Dump, and one that tells whether it was
// called with the records from first on, each once.
func wantManyRecords(first wal.LSN) (fn func(wal.LSN, []byte) error, end func() error) {
	next := first
	fn = func(lsn wal.LSN, p []byte) error {
		if lsn != next || !bytes.Equal(p, record(lsn, manyBytes)) {
			return fmt.Errorf("LSN %d in place of %d, or another record", lsn, next)
		}
		next++
		return nil
	}
	return fn, func() error {
		if next != manyFiles+1 {
			return fmt.Errorf("the records end before LSN %d", next)
		}
		return nil
	}
}

// manySegments is the child of TestManySegments.
func manySegments(dir string) error {
	if err := manySegmentsLog(dir); err != nil {
		return err
	}
	first := wal.LSN(1)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"verify", func() error { return wantManyClean(wal.Verify(dir)) }},
		{"verify of the device", func() error { return wantManyClean(wal.VerifyWith(dir, wal.VerifyOptions{Device: true})) }},
		{"dump", func() error { return dumpMany(dir, first) }},
		{"inspect", func() error {
			in, err := wal.Inspect(dir)
			if err == nil && (in.LastLSN != manyFiles || len(in.Segments) < manyFiles) {
				err = fmt.Errorf("%d segments up to LSN %d", len(in.Segments), in.LastLSN)
			}
			return err
		}},
		{"read beside", func() error { return readMany(dir) }},
		{"repair", func() error { return wantManyClean(wal.Repair(dir, wal.RepairOptions{})) }},
		{"open and cut", func() error {
			l, err := wal.Open(dir, small())
			if err != nil {
				return err
			}
			first = 5
			return errors.Join(l.TruncateFront(first), l.Close())
		}},
		{"dump again", func() error { return dumpMany(dir, first) }},
	} {
		if err := limited(fewMore, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// wantManyClean returns an error unless a report says that the log is clean.
func wantManyClean(rep *wal.Report, err error) error {
	if err == nil && (rep.Verdict != wal.Clean || rep.LastLSN != manyFiles) {
		err = fmt.Errorf("%v up to LSN %d: %+v", rep.Verdict, rep.LastLSN, rep.Damage)
	}
	return err
}

// dumpMany dumps the log.
func dumpMany(dir string, first wal.LSN) error {
	fn, end := wantManyRecords(first)
	rep, err := wal.Dump(dir, wal.DumpOptions{}, fn)
	return errors.Join(wantManyClean(rep, err), end())
}

// readMany reads the log by a reader beside it.
func readMany(dir string) error {
	o, err := wal.OpenReader(dir)
	if err != nil {
		return err
	}
	fn, end := wantManyRecords(1)
	r := o.Reader(0)
	for r.Next() && err == nil {
		err = fn(r.LSN(), r.Record())
	}
	return errors.Join(err, r.Err(), end(), r.Close(), o.Close())
}

// replaceFile puts a copy of a file in its place.
func replaceFile(name string) error {
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name+".copy", b, 0o644)
	}
	if err == nil {
		err = os.Rename(name+".copy", name)
	}
	return err
}

// TestReplacedWhileClosed replaces a segment's file by a copy, and removes one, while
// a look has closed it: what is opened again is not taken for what it was.
func TestReplacedWhileClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	must(t, manySegmentsLog(dir))
	late := filepath.Join(dir, fmt.Sprintf("%016x.wal", manyFiles-40))
	fn, end := wantManyRecords(1)
	rep, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		if lsn == 3 {
			must(t, replaceFile(late))
		}
		return fn(lsn, p)
	})
	must(t, wantManyClean(rep, err))
	must(t, end())
	rep, err = wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, _ []byte) error {
		if lsn == 3 {
			must(t, os.Rename(late, late+".away"))
		}
		return nil
	})
	if err != nil || rep.Verdict != wal.Damaged || rep.LastLSN != manyFiles-41 {
		t.Errorf("%v up to LSN %d, %v", rep.Verdict, rep.LastLSN, err)
	}
	must(t, os.Rename(late+".away", late))
}

// TestOpenRefusesWhatIsReplaced replaces a file that Open has closed for now: it is an
// error, and nothing is changed.
func TestOpenRefusesWhatIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	must(t, manySegmentsLog(dir))
	late := fmt.Sprintf("%016x.wal", manyFiles-40)
	opened, replaced := 0, false
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durabilitytest.OpOpen && strings.HasSuffix(c.Name, ".wal") {
			opened++
		}
		if opened == manyFiles && !replaced { // the late one was closed by then
			replaced = true
			return replaceFile(filepath.Join(dir, late))
		}
		return nil
	})
	defer remove()
	l, err := wal.Open(dir, small())
	remove()
	if err == nil {
		must(t, l.Close())
	}
	if !replaced || err == nil || !strings.Contains(err.Error(), late) || !strings.Contains(err.Error(), "another file") {
		t.Errorf("replaced %v: %v", replaced, err)
	}
	l = openLog(t, dir, small())
	if l.LastLSN() != manyFiles {
		t.Errorf("the log ends at LSN %d", l.LastLSN())
	}
}

// TestManySegmentsUnreadable has blocks that cannot be read in segments that are not
// open all the time: headers, which tell whether a file is the same as before, too.
func TestManySegmentsUnreadable(t *testing.T) {
	dir := logDir(t)
	must(t, manySegmentsLog(dir))
	s := take(t, dir)
	name := func(n int) string { return fmt.Sprintf("%016x.wal", n) }
	s.badBlocks(t, bad{name(40), inSecond}, bad{name(70), 0})
	for _, device := range []bool{false, true} {
		rep, err := wal.VerifyWith(s.dir, wal.VerifyOptions{Device: device})
		if err != nil || rep.LastLSN != 39 || len(rep.Damage) != 2 || rep.Damage[0].File != name(70) || rep.Damage[1].File != name(40) {
			t.Fatalf("verify, device %v: %+v, %v", device, rep, err)
		}
	}
	rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true})
	if err != nil || rep.LastLSN != 39 || !rep.Trimmed {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	if rep, err = wal.Verify(s.dir); err != nil || rep.Verdict != wal.Clean || rep.LastLSN != 39 {
		t.Fatalf("behind the repair: %+v, %v", rep, err)
	}
}
