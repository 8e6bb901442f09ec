package wal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// specimen is a copy of a log's directory, to be damaged and looked at. Taken
// from an open log it is what the death of the process leaves.
type specimen struct {
	t   testing.TB
	dir string
}

// first is the name of the first segment, firstTemp its temporary name.
const (
	firstName  = "0000000000000001.wal"
	secondName = "0000000000000002.wal"
	thirdName  = "0000000000000003.wal"
	fourthName = "0000000000000004.wal"
	lockFile   = "seawall.lock"
)

// readDir returns the contents of all files below a directory, by their names
// relative to it. Symbolic links are read as what they say, named pipes as
// nothing. An open log may give a segment its name meanwhile, in the background:
// then the directory is read again.
func readDir(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		files, err := readFiles(dir)
		if errors.Is(err, os.ErrNotExist) && time.Now().Before(end) {
			if _, gone := os.Stat(dir); gone == nil {
				continue
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
}

// readFiles is readDir once.
func readFiles(dir string) (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if d.Type()&os.ModeNamedPipe != 0 {
			files[rel] = nil
			return nil
		}
		if d.Type()&os.ModeSymlink != 0 {
			to, rerr := os.Readlink(p)
			files[rel] = []byte(to)
			return rerr
		}
		files[rel], err = os.ReadFile(p)
		return err
	})
	return files, err
}

// take copies a log's directory.
func take(t testing.TB, dir string) *specimen {
	t.Helper()
	s := &specimen{t: t, dir: filepath.Join(logDir(t), "copy")}
	s.fill(readDir(t, dir))
	return s
}

// takeLive copies the directory of an open log that holds records, prepared
// segments included: the copy is the same in each run.
func takeLive(t testing.TB, l *wal.Log, dir string) *specimen {
	t.Helper()
	awaitPrepared(t, l, dir)
	return take(t, dir)
}

// awaitPrepared waits until the segments that are prepared in the background
// have their names.
func awaitPrepared(t testing.TB, l *wal.Log, dir string) {
	t.Helper()
	awaitReady(t, l, dir, wal.DefaultSegmentsAhead)
}

// awaitReady is awaitPrepared for a log with so many segments ahead.
func awaitReady(t tester, l *wal.Log, dir string, ahead int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		ready := l.Stats().Ready // before the names are looked at: it is so before it has one
		temps, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		if len(temps) == 0 && ready == ahead {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the segments ahead are not prepared: %+v, %v", l.Stats(), temps)
		}
	}
}

// fill writes files into the directory.
func (s *specimen) fill(files map[string][]byte) {
	s.t.Helper()
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for name, data := range files {
		s.put(name, data)
	}
}

// put writes one file.
func (s *specimen) put(name string, data []byte) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// get reads one file.
func (s *specimen) get(name string) []byte {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// change reads one file, has fn change it, and writes it.
func (s *specimen) change(name string, fn func(data []byte) []byte) {
	s.t.Helper()
	s.put(name, fn(s.get(name)))
}

// flip changes one byte of a file.
func (s *specimen) flip(name string, off int64) {
	s.t.Helper()
	s.change(name, func(data []byte) []byte { data[off] ^= 0x55; return data })
}

// zero zeroes bytes [from, to) of a file.
func (s *specimen) zero(name string, from, to int64) {
	s.t.Helper()
	s.change(name, func(data []byte) []byte { clear(data[from:to]); return data })
}

// remove removes a file.
func (s *specimen) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// rename renames a file.
func (s *specimen) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
		s.t.Fatal(err)
	}
}

// forgetCheckpoint makes the lock file one that keeps no checkpoint, as all were
// once.
func (s *specimen) forgetCheckpoint() {
	s.t.Helper()
	s.change(lockFile, func(data []byte) []byte {
		text, _, _ := bytes.Cut(data, []byte("\n"))
		return append(text[:len(text):len(text)], '\n')
	})
}

// names returns the files' names.
func (s *specimen) names() []string {
	s.t.Helper()
	var names []string
	for name := range readDir(s.t, s.dir) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// segments returns the names of the segments.
func (s *specimen) segments() []string {
	return slices.DeleteFunc(s.names(), func(n string) bool {
		return !strings.HasSuffix(n, ".wal") || strings.Contains(n, "/")
	})
}

// placed is a frame and where it lies.
type placed struct {
	frame.Frame
	off     int64
	payload []byte
}

// end returns the offset behind the frame.
func (p *placed) end() int64 { return p.off + p.Size() }

// heads are a segment's header and stamp.
type heads struct {
	header frame.Header
	stamp  frame.Stamp
	first  frame.Link
}

// headsOf decodes a segment's header and stamp.
func headsOf(t testing.TB, data []byte) heads {
	t.Helper()
	h, err := frame.DecodeHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	st, link, err := frame.DecodeStamp(data[frame.StampOffset:], &h)
	if err != nil {
		t.Fatal(err)
	}
	return heads{h, st, link}
}

// framesOf returns a segment's frames, by a walk of its own.
func framesOf(t testing.TB, data []byte) []placed {
	t.Helper()
	var (
		hs   = headsOf(t, data)
		link = hs.first
		lsn  = hs.stamp.First - 1
		out  []placed
		buf  frame.Buffer
	)
	for off := int64(frame.DataOffset); off+frame.HeaderBytes <= int64(len(data)); {
		f, err := frame.Decode(data[off:], lsn)
		if err != nil || !buf.Linked(&f, hs.header.Seed(), link, off) {
			break
		}
		p, ok := f.Payload(data[off:])
		if !ok {
			break
		}
		out = append(out, placed{f, off, slices.Clone(p)})
		off, link, lsn = off+f.Size(), f.Link, f.LSN
	}
	return out
}

// frames returns the frames of a segment.
func (s *specimen) frames(name string) []placed {
	s.t.Helper()
	return framesOf(s.t, s.get(name))
}

// frameOf returns the frame with a record.
func (s *specimen) frameOf(name string, lsn wal.LSN) placed {
	s.t.Helper()
	for _, f := range s.frames(name) {
		if f.Kind == frame.KindRecord && f.LSN == lsn {
			return f
		}
	}
	s.t.Fatalf("%s has no frame of record %d", name, lsn)
	return placed{}
}

// finding is what a specimen is to be found as.
type finding struct {
	verdict       wal.Verdict
	first, last   wal.LSN // first is 1 if zero
	durable       wal.LSN
	damage        []wal.Damage
	behind        []wal.Range
	anyTorn       bool // torn bytes are not compared
	torn          int64
	saved         []string
	recordsDiffer bool // the payloads are not those of appendRecords
	size          int  // of the records
	dumpFirst     wal.LSN
	// opens says that Open does not look as far back as the damage, and with
	// which last record it opens the log.
	opens wal.LSN
}

// unchanged fails if the files are not byte for byte what they were.
func unchanged(t testing.TB, what, dir string, before map[string][]byte) {
	t.Helper()
	after := readDir(t, dir)
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s made file %s", what, name)
		}
	}
	for name, data := range before {
		got, ok := after[name]
		if !ok {
			t.Errorf("%s removed file %s", what, name)
			continue
		}
		if string(got) != string(data) {
			i := 0
			for i < len(got) && i < len(data) && got[i] == data[i] {
				i++
			}
			t.Errorf("%s changed file %s: %d bytes, %d before, differing from %d", what, name, len(got), len(data), i)
		}
	}
}

// verify verifies the specimen and compares what it finds.
func (s *specimen) verify(want finding) *wal.Report {
	s.t.Helper()
	before := readDir(s.t, s.dir)
	rep, err := wal.Verify(s.dir)
	if err != nil {
		s.t.Fatalf("verify: %v", err)
	}
	unchanged(s.t, "verify", s.dir, before)
	want.first = max(want.first, 1)
	if want.anyTorn {
		want.torn = rep.TornBytes
	}
	type face struct {
		Verdict              wal.Verdict
		First, Last, Durable wal.LSN
		Torn                 int64
		Damage               []wal.Damage
		Behind               []wal.Range
	}
	if want.damage == nil {
		want.damage = []wal.Damage{}
	}
	got := face{rep.Verdict, rep.FirstLSN, rep.LastLSN, rep.DurableLSN, rep.TornBytes, rep.Damage, rep.Behind}
	if d := cmp.Diff(face{want.verdict, want.first, want.last, want.durable, want.torn, want.damage, want.behind}, got); d != "" {
		s.t.Errorf("verify (-want +got):\n%s", d)
	}
	s.dump(want)
	unchanged(s.t, "dump", s.dir, before)
	return rep
}

// dump dumps the specimen and compares the records.
func (s *specimen) dump(want finding) {
	s.t.Helper()
	next := max(want.first, want.dumpFirst)
	_, err := wal.Dump(s.dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		if lsn != next {
			s.t.Fatalf("dumped LSN %d, want %d", lsn, next)
		}
		if !want.recordsDiffer {
			wantRecord(s.t, lsn, want.size, p)
		}
		next++
		return nil
	})
	if err != nil || next != want.last+1 {
		s.t.Errorf("dump ended before record %d, want %d: %v", next, want.last+1, err)
	}
}

// analyze verifies and opens the specimen, and compares all that is found. A log
// that opens is appended to, closed, and is clean then.
func (s *specimen) analyze(o wal.Options, want finding) {
	s.t.Helper()
	s.verify(want)
	if s.t.Failed() {
		return
	}
	want.first = max(want.first, 1)
	switch {
	case want.opens != 0:
		s.opensUnseeing(o, want)
		return
	case want.verdict == wal.Damaged:
		s.refused(o, want.damage)
		return
	}
	before := readDir(s.t, s.dir)
	l, err := wal.Open(s.dir, o)
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	defer func() { _ = l.Close() }()
	if l.FirstLSN() != want.first || l.LastLSN() != want.last || l.DurableLSN() != want.last {
		s.t.Fatalf("opened with %d to %d, durable %d; want %d to %d",
			l.FirstLSN(), l.LastLSN(), l.DurableLSN(), want.first, want.last)
	}
	rep := l.Recovery()
	if rep.Verdict != want.verdict || rep.Trimmed != (want.verdict == wal.Torn) {
		s.t.Errorf("open reports %v, trimmed %v; want %v", rep.Verdict, rep.Trimmed, want.verdict)
	}
	if d := cmp.Diff(want.saved, rep.Saved); d != "" {
		s.t.Errorf("open saved (-want +got):\n%s", d)
	}
	s.sameSaved(rep.Saved, before)
	if lsn, err := l.Append(record(want.last+1, want.size)); err != nil || lsn != want.last+1 {
		s.t.Fatalf("append after open: LSN %d, %v", lsn, err)
	}
	if !want.recordsDiffer {
		wantRecords(s.t, l, want.first, want.last+1, want.size)
	}
	if err := l.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.verify(finding{first: want.first, last: want.last + 1, durable: want.last + 1, size: want.size, recordsDiffer: want.recordsDiffer})
}

// refused opens and repairs the specimen and wants *CorruptError with the
// damage, and all files left as they were.
func (s *specimen) refused(o wal.Options, damage []wal.Damage) {
	s.t.Helper()
	before := readDir(s.t, s.dir)
	open := func() error { _, err := wal.Open(s.dir, o); return err }
	repair := func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{}); return err }
	for what, fn := range map[string]func() error{"open": open, "repair": repair} {
		err := fn()
		var c *wal.CorruptError
		if !errors.As(err, &c) || !errors.Is(err, wal.ErrCorrupt) {
			s.t.Fatalf("%s: %v, want *CorruptError", what, err)
		}
		if d := cmp.Diff(damage, c.Damage); d != "" {
			s.t.Errorf("%s (-want +got):\n%s", what, d)
		}
		first := wal.Damage{
			File: c.File, Offset: c.Offset, FirstLSN: c.FirstLSN, LastLSN: c.LastLSN, Unknown: c.Unknown, Reason: c.Reason,
		}
		if d := cmp.Diff(damage[0], first); d != "" {
			s.t.Errorf("%s: the error's own place (-want +got):\n%s", what, d)
		}
		unchanged(s.t, what, s.dir, before)
	}
}

// sameSaved compares saved files with what they were.
func (s *specimen) sameSaved(saved []string, before map[string][]byte) {
	s.t.Helper()
	for _, name := range saved {
		if !bytes.Equal(s.get(name), before[filepath.Base(name)]) {
			s.t.Errorf("%s is not what %s was", name, filepath.Base(name))
		}
	}
}

// opensUnseeing opens a log whose damage lies before all that Open has to look
// at: what is whole is served, and the lost record is an error that says where.
func (s *specimen) opensUnseeing(o wal.Options, want finding) {
	s.t.Helper()
	l, err := wal.Open(s.dir, o)
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	defer func() { _ = l.Close() }()
	if l.LastLSN() != want.opens || l.Recovery().Trimmed {
		s.t.Fatalf("opened with record %d, trimmed %v; want %d", l.LastLSN(), l.Recovery().Trimmed, want.opens)
	}
	d := want.damage[0]
	for lsn := want.first; lsn <= want.opens; lsn++ {
		p, err := l.Get(lsn)
		if lsn < d.FirstLSN || lsn > d.LastLSN {
			if err != nil {
				s.t.Fatalf("get of record %d: %v", lsn, err)
			}
			wantRecord(s.t, lsn, want.size, p)
			continue
		}
		var c *wal.CorruptError
		if !errors.As(err, &c) || c.File != d.File || c.FirstLSN != lsn || lsn == d.FirstLSN && c.Offset != d.Offset {
			s.t.Fatalf("get of lost record %d: %v", lsn, err)
		}
	}
}
