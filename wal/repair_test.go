package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// forceTests are damages, what a forced repair leaves, and what it saves.
var forceTests = []struct {
	name        string
	hurt        func(*specimen)
	first, last wal.LSN
	lost        string
	saved       []string
}{
	{
		"record in the last segment", func(s *specimen) { s.flip(fourthName, frame.DataOffset+10024+100) },
		1, 13, "[{14 14}]", savedAs(fourthName),
	},
	{
		"record in the first segment", func(s *specimen) { s.flip(firstName, frame.DataOffset+100) },
		1, 0, "[{1 14}]", savedAs(firstName, secondName, thirdName, fourthName),
	},
	{
		"record in the middle", func(s *specimen) { s.zero(secondName, frame.DataOffset+10024, frame.DataOffset+10100) },
		1, 5, "[{6 14}]", savedAs(secondName, thirdName, fourthName),
	},
	{"two records", func(s *specimen) {
		s.flip(secondName, frame.DataOffset+2*10024+100)
		s.flip(fourthName, frame.DataOffset+100)
	}, 1, 6, "[{7 14}]", savedAs(secondName, thirdName, fourthName)},
	{
		"last record of a segment", func(s *specimen) { s.flip(secondName, frame.DataOffset+3*10024) },
		1, 7, "[{8 14}]", savedAs(secondName, thirdName, fourthName),
	},
	{
		"stamp of the first segment", func(s *specimen) { s.flip(firstName, frame.StampOffset+50) },
		1, 0, "[{1 14}]", savedAs(firstName, secondName, thirdName, fourthName),
	},
	{
		"stamp of the last segment", func(s *specimen) { s.flip(fourthName, frame.StampOffset+50) },
		1, 12, "[{13 14}]", savedAs(fourthName),
	},
	{
		"stamp in the middle", func(s *specimen) { s.zero(secondName, frame.StampOffset, frame.StampOffset+104) },
		1, 4, "[{5 14}]", savedAs(secondName, thirdName, fourthName),
	},
	{
		"header of the first segment", func(s *specimen) { s.flip(firstName, 20) },
		15, 14, "[{1 14}]", savedAs(firstName, secondName, thirdName, fourthName),
	},
	{
		"header in the middle", func(s *specimen) { s.flip(thirdName, 20) },
		1, 8, "[{9 14}]", savedAs(thirdName, fourthName),
	},
	{
		"header of the last segment", func(s *specimen) { s.flip(fourthName, 20) },
		1, 12, "[{13 14}]", savedAs(fourthName),
	},
	{
		"header of a prepared segment", func(s *specimen) { s.flip(fifthName, 20) },
		1, 14, "[]", savedAs(fifthName),
	},
	{"short in the middle", func(s *specimen) {
		s.change(secondName, func(data []byte) []byte { return data[:frame.DataOffset+20000] })
	}, 1, 5, "[{6 14}]", savedAs(secondName, thirdName, fourthName)},
	{
		"empty last segment", func(s *specimen) { s.put(fourthName, nil) },
		1, 12, "[{13 14}]", savedAs(fourthName),
	},
	{
		"empty last segment, and no checkpoint kept", func(s *specimen) { s.put(fourthName, nil); s.forgetCheckpoint() },
		1, 12, "[]", savedAs(fourthName),
	}, // nothing tells any more what was in it
	{
		"first segment missing", func(s *specimen) { s.remove(firstName) },
		5, 14, "[{1 4}]", nil,
	},
	{
		"first two segments missing", func(s *specimen) { s.remove(firstName); s.remove(secondName) },
		9, 14, "[{1 8}]", nil,
	},
	{"first segment missing and a record", func(s *specimen) {
		s.remove(firstName)
		s.flip(thirdName, frame.DataOffset+100)
	}, 5, 8, "[{1 4} {9 14}]", savedAs(thirdName, fourthName)},
	{
		"second segment missing", func(s *specimen) { s.remove(secondName) },
		1, 4, "[{5 14}]", savedAs(thirdName, fourthName),
	},
	{"prepared segment missing", func(s *specimen) { s.remove(fifthName) }, 1, 14, "[]", nil},
	{
		"renamed", func(s *specimen) { s.rename(secondName, "0000000000000007.wal") },
		1, 4, "[{5 14}]", savedAs(thirdName, fourthName, "0000000000000007.wal"),
	},
	{"all segments missing", func(s *specimen) {
		for _, n := range s.segments() {
			s.remove(n)
		}
	}, 15, 14, "[{1 14}]", nil},
	{"all segments missing, and no checkpoint kept", func(s *specimen) {
		for _, n := range s.segments() {
			s.remove(n)
		}
		s.forgetCheckpoint()
	}, 1, 0, "[]", nil},
	{"all headers", func(s *specimen) {
		for _, n := range s.segments() {
			s.flip(n, 20)
		}
	}, 15, 14, "[{1 14}]", savedAs(firstName, secondName, thirdName, fourthName, fifthName, sixthName)},
}

// TestForce cuts damaged logs at their damage. The log has records 1 to 14 of
// 10,000 bytes in segments 1 to 4, all durable, and segments 5 and 6 prepared.
func TestForce(t *testing.T) {
	base := rotated(t)
	for _, tt := range forceTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := take(t, base.dir)
			tt.hurt(s)
			s.forced(t, tt.first, tt.last, tt.lost, tt.saved)
		})
	}
}

// forced repairs with force, and wants the log to hold the records of that
// range, the others lost and saved, and to go on from there.
func (s *specimen) forced(t *testing.T, first, last wal.LSN, lost string, saved []string) {
	t.Helper()
	before := readDir(t, s.dir)
	found, err := wal.Verify(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := wal.Repair(s.dir, wal.RepairOptions{})
	var c *wal.CorruptError
	if !errors.As(err, &c) || rep == nil || rep.Verdict != wal.Damaged {
		t.Fatalf("repair without force: %+v, %v", rep, err)
	}
	unchanged(t, "repair without force", s.dir, before)
	plan, err := wal.Repair(s.dir, wal.RepairOptions{Force: true, DryRun: true})
	if err != nil || plan.FirstLSN != first || plan.LastLSN != last || fmt.Sprint(plan.Lost) != lost || plan.Trimmed || plan.Saved != nil {
		t.Errorf("a dry run: %+v, %v", plan, err)
	}
	unchanged(t, "a dry run", s.dir, before)
	rep, err = wal.Repair(s.dir, wal.RepairOptions{Force: true})
	if err != nil {
		t.Fatalf("repair: %v", err)
	}
	if rep.Verdict != wal.Damaged || !slices.Equal(rep.Damage, found.Damage) || rep.UUID != found.UUID {
		t.Errorf("repair found %v, %+v; verify found %+v", rep.Verdict, rep.Damage, found.Damage)
	}
	if rep.FirstLSN != first || rep.LastLSN != last || !rep.Trimmed {
		t.Errorf("repair leaves %d to %d, trimmed %v; want %d to %d", rep.FirstLSN, rep.LastLSN, rep.Trimmed, first, last)
	}
	if fmt.Sprint(rep.Lost) != lost {
		t.Errorf("repair lost %v, want %s", rep.Lost, lost)
	}
	if !slices.Equal(rep.Saved, saved) {
		t.Errorf("repair saved %v, want %v", rep.Saved, saved)
	}
	s.sameSaved(rep.Saved, before)
	if t.Failed() {
		return
	}
	s.analyze(small(), finding{first: first, last: last, durable: last, size: 10000})
	again := readDir(t, s.dir)
	if rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); err != nil || rep.Verdict != wal.Clean || rep.Trimmed {
		t.Fatalf("repair of a repaired log: %+v, %v", rep, err)
	}
	unchanged(t, "repair of a repaired log", s.dir, again)
}

// TestRepairTorn repairs torn logs, with force and without: the records before
// the tail stay, whatever segment they are in, and all that goes is saved.
func TestRepairTorn(t *testing.T) {
	base := lived(t, 9)
	for _, force := range []bool{false, true} {
		t.Run(fmt.Sprintf("force=%v", force), func(t *testing.T) {
			s := take(t, base.dir)
			s.flip(thirdName, frame.DataOffset+2*10024+100) // record 11
			before := readDir(t, s.dir)
			rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: force, DryRun: true})
			if err != nil || rep.Verdict != wal.Torn || rep.Trimmed || rep.LastLSN != 10 || len(rep.Lost) != 0 {
				t.Fatalf("a dry run: %+v, %v", rep, err)
			}
			unchanged(t, "a dry run", s.dir, before)
			rep, err = wal.Repair(s.dir, wal.RepairOptions{Force: force})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Verdict != wal.Torn || !rep.Trimmed || rep.FirstLSN != 1 || rep.LastLSN != 10 || len(rep.Lost) != 0 {
				t.Fatalf("repair: %+v", rep)
			}
			if fmt.Sprint(rep.Behind) != "[{12 14}]" {
				t.Errorf("removed %v", rep.Behind)
			}
			if want := []string{"lost/0001/" + thirdName, "lost/0001/" + fourthName}; !slices.Equal(rep.Saved, want) {
				t.Errorf("saved %v, want %v", rep.Saved, want)
			}
			s.sameSaved(rep.Saved, before)
			s.analyze(small(), finding{last: 10, durable: 10, size: 10000})
		})
	}
}

// TestRepairTornBytes repairs a log with nothing intact behind its tail: Open
// saves nothing of that, Repair does.
func TestRepairTornBytes(t *testing.T) {
	s := synced(t, 3, 4)
	s.flip(firstName, s.frames(firstName)[3].off+40)
	before := readDir(t, s.dir)
	rep, err := wal.Repair(s.dir, wal.RepairOptions{})
	if err != nil || rep.Verdict != wal.Torn || fmt.Sprint(rep.Saved) != "[lost/0001/"+firstName+"]" {
		t.Fatalf("repair: %+v, %v", rep, err)
	}
	s.sameSaved(rep.Saved, before)
	s.analyze(small(), finding{last: 3, durable: 3, size: 100})
}

// TestRepairClean leaves a clean log alone, and a log that is in use.
func TestRepairClean(t *testing.T) {
	s := rotated(t)
	before := readDir(t, s.dir)
	for _, force := range []bool{false, true} {
		rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: force})
		if err != nil || rep.Verdict != wal.Clean || rep.Trimmed || rep.Records != 14 || rep.Live {
			t.Fatalf("repair of a clean log: %+v, %v", rep, err)
		}
		unchanged(t, "repair", s.dir, before)
	}
	l := openLog(t, s.dir, small())
	appendRecords(t, l, 1, 10000)
	for _, force := range []bool{false, true} {
		for _, dry := range []bool{false, true} {
			if _, err := wal.Repair(s.dir, wal.RepairOptions{Force: force, DryRun: dry}); !errors.Is(err, wal.ErrLocked) {
				t.Fatalf("repair of a log in use: %v, want ErrLocked", err)
			}
		}
	}
	wantRecords(t, l, 1, 15, 10000)
}

// TestTrimsNested tears and trims a log again and again, with appends between,
// and keeps what each trim removed apart.
func TestTrimsNested(t *testing.T) {
	s := synced(t, 2, 2)
	last := wal.LSN(2)
	for round := range 6 {
		l, err := wal.Open(s.dir, small())
		if err != nil {
			t.Fatal(err)
		}
		if l.LastLSN() != last {
			t.Fatalf("round %d: opened with record %d, want %d", round, l.LastLSN(), last)
		}
		appendRecords(t, l, 5, 100)
		next := takeLive(t, l, s.dir)
		if err = l.Close(); err != nil {
			t.Fatal(err)
		}
		// Nothing was synced since the log was opened.
		f := next.frameOf(firstName, last+3)
		next.zero(firstName, f.off, f.end())
		before := readDir(t, next.dir)
		rep, err := wal.Verify(next.dir)
		if err != nil || rep.Verdict != wal.Torn || rep.LastLSN != last+2 {
			t.Fatalf("round %d: %+v, %v", round, rep, err)
		}
		s, last = next, last+2
		l = openLog(t, s.dir, small())
		want := fmt.Sprintf("[lost/%04d/%s]", round+1, firstName)
		if got := fmt.Sprint(l.Recovery().Saved); got != want {
			t.Fatalf("round %d: saved %v, want %s", round, got, want)
		}
		if got := s.get(filepath.Join("lost", fmt.Sprintf("%04d", round+1), firstName)); string(got) != string(before[firstName]) {
			t.Fatalf("round %d: what was saved is not what was there", round)
		}
		wantRecords(t, l, 1, last, 100)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepairSavesElsewhere saves what a repair removes in a directory that it is
// told, which is made, or nowhere.
func TestRepairSavesElsewhere(t *testing.T) {
	t.Parallel()
	base := lived(t, 9)
	to := filepath.Join(t.TempDir(), "made", "for it")
	for round, noSave := range []bool{false, false, true} {
		s := take(t, base.dir)
		s.flip(thirdName, frame.DataOffset+2*10024+100) // record 11
		before := readDir(t, s.dir)
		rep, err := wal.Repair(s.dir, wal.RepairOptions{SaveTo: to, NoSave: noSave})
		if err != nil || rep.LastLSN != 10 || noSave && len(rep.Saved) > 0 {
			t.Fatalf("repair: %+v, %v", rep, err)
		}
		if _, err = os.Stat(filepath.Join(s.dir, "lost")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("beside the log: %v", err)
		}
		if noSave {
			continue
		}
		for i, name := range []string{thirdName, fourthName} {
			want := filepath.Join(to, fmt.Sprintf("%04d", round+1), name)
			got, err := os.ReadFile(want)
			if rep.Saved[i] != want || err != nil || !bytes.Equal(got, before[name]) {
				t.Errorf("saved %q, want %s: %v", rep.Saved, want, err)
			}
		}
	}
}

// TestRepairThatCannotSave fails at each call of the saving: nothing of the log is
// changed, and nothing is left of the copies.
func TestRepairThatCannotSave(t *testing.T) {
	t.Parallel()
	base := lived(t, 9)
	for nth := 1; ; nth++ {
		s := take(t, base.dir)
		s.flip(thirdName, frame.DataOffset+2*10024+100) // record 11
		before := readDir(t, s.dir)
		calls := 0
		remove := durabilitytest.InjectDir(filepath.Join(s.dir, "lost"), func(c *durabilitytest.Call) error {
			if c.Phase != durability.Before || c.Op == durability.OpRemove {
				return nil
			}
			if calls++; calls == nth {
				return unix.EIO
			}
			return nil
		})
		rep, err := wal.Repair(s.dir, wal.RepairOptions{})
		remove()
		if err == nil && calls < nth {
			if nth < 8 || len(rep.Saved) != 2 {
				t.Errorf("saved %q in %d calls", rep.Saved, calls)
			}
			return
		}
		if !errors.Is(err, unix.EIO) {
			t.Fatalf("call %d fails: %+v, %v", nth, rep, err)
		}
		delete(before, lockFile)
		after := readDir(t, s.dir)
		delete(after, lockFile)
		if d := cmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))); d != "" {
			t.Errorf("call %d fails, files (-before +after):\n%s", nth, d)
		}
		rep, err = wal.Verify(s.dir)
		if err != nil || rep.Verdict != wal.Torn || rep.LastLSN != 10 || fmt.Sprint(rep.Behind) != "[{12 14}]" {
			t.Errorf("call %d fails, verify: %+v, %v", nth, rep, err)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "lost")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("call %d fails: lost is there: %v", nth, err)
		}
	}
}
