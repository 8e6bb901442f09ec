package wal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// dumped returns the LSNs that Dump hands out, and calls at with each.
func dumped(dir string, o wal.DumpOptions, at func(wal.LSN) error) ([]wal.LSN, *wal.Report, error) {
	var lsns []wal.LSN
	rep, err := wal.Dump(dir, o, func(lsn wal.LSN, p []byte) error {
		lsns = append(lsns, lsn)
		if at != nil {
			return at(lsn)
		}
		return nil
	})
	return lsns, rep, err
}

// runOf returns the LSNs from first to last.
func runOf(first, last wal.LSN) []wal.LSN {
	var lsns []wal.LSN
	for lsn := first; lsn <= last; lsn++ {
		lsns = append(lsns, lsn)
	}
	return lsns
}

// meeting is a cut in the middle of a dump.
type meeting struct {
	name  string
	at    wal.LSN // when this one is handed out
	cut   func(*wal.Log) error
	again int // records that are appended behind the cut
	want  []wal.LSN
	err   error
	warns string
}

// meetings are cuts of a log of 40 records, 7 a segment.
var meetings = []meeting{
	{
		name: "front, before it", at: 10, want: runOf(1, 40),
		cut: func(l *wal.Log) error { return l.TruncateFront(9) },
	},
	{
		// Segments that are cut off stay readable, all but the one that is
		// used again, whose bytes are gone.
		name: "front, behind it, and recycled", at: 2, again: 60,
		cut:   func(l *wal.Log) error { return l.TruncateFront(30) },
		want:  append(runOf(1, 2), runOf(30, 100)...),
		warns: "LSN 3 to 29 were cut off at the front before they were read",
	},
	{
		// The segments behind the cut are removed, and stay readable.
		name: "back, before it, in a segment before", at: 10, again: 5, want: runOf(1, 40),
		cut: func(l *wal.Log) error { return l.TruncateBack(6) },
	},
	{
		name: "back, before it", at: 5, want: runOf(1, 5),
		cut:   func(l *wal.Log) error { return l.TruncateBack(3) },
		warns: "LSN 4 to 5 were cut off at the end after they were read",
	},
	{
		name: "back, before it, and fewer", at: 5, again: 1, want: runOf(1, 5),
		cut: func(l *wal.Log) error { return l.TruncateBack(3) }, err: wal.ErrTruncated,
	},
	{
		name: "back, before it, and more", at: 5, again: 20, want: runOf(1, 5),
		cut: func(l *wal.Log) error { return l.TruncateBack(3) }, err: wal.ErrTruncated,
	},
	{
		name: "back, behind it, and more", at: 4, again: 9, want: runOf(1, 15),
		cut: func(l *wal.Log) error { return l.TruncateBack(6) },
	},
	{
		name: "all", at: 5, want: runOf(1, 5),
		cut: func(l *wal.Log) error { return l.TruncateBack(0) }, warns: "LSN 1 to 5 were cut off at the end",
	},
	{
		name: "reset", at: 10, again: 3, want: runOf(1, 40),
		cut: func(l *wal.Log) error { return l.Reset(5) },
	},
}

// TestDumpMeetsCut cuts the log in the middle of a dump.
func TestDumpMeetsCut(t *testing.T) {
	const size = 6000
	for _, tt := range meetings {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, dir := newTestLog(t, small())
			appendRecords(t, l, 40, size)
			got, rep, err := dumped(dir, wal.DumpOptions{}, func(lsn wal.LSN) error {
				if lsn != tt.at {
					return nil
				}
				err := tt.cut(l)
				appendRecords(t, l, tt.again, size)
				return err
			})
			if !errors.Is(err, tt.err) {
				t.Fatalf("%v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("handed out (-want +got):\n%s", diff)
			}
			if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("handed out of order or twice: %d", got)
			}
			if err != nil {
				return
			}
			if rep.Verdict != wal.Clean || !rep.Live || !strings.Contains(strings.Join(rep.Warnings, "\n"), tt.warns) {
				t.Errorf("%v, live %v, warnings %q", rep.Verdict, rep.Live, rep.Warnings)
			}
		})
	}
}

// TestDumpMeetsCutInHeads resets the log, and lets it rotate, after the head of
// one segment was read and before the next one's is. The front, which the reset
// lowers, must not bring back what had been cut before it.
func TestDumpMeetsCutInHeads(t *testing.T) {
	o := small()
	o.SegmentsAhead = 2
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 40, 6000) // 36 to 40 lie in the last segment
	if err := l.TruncateFront(38); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, l, dir, 2)
	var done atomic.Bool // asked by the log's goroutines too
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		if c.Op != durabilitytest.OpRead || c.Phase != durability.After || c.Length != frame.DataOffset ||
			!strings.HasSuffix(c.Name, "7.wal") || !done.CompareAndSwap(false, true) {
			return nil
		}
		err := l.Reset(36)
		appendRecords(t, l, 8, 7000)
		return err
	})
	_, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		wantRecord(t, lsn, 7000, p)
		return nil
	})
	if err != nil || !done.Load() {
		t.Errorf("reset: %v; %v", done.Load(), err)
	}
}

// TestDumpPublished dumps a live log whose block says that fewer records are
// published than there are: half a frame may look like a whole one.
func TestDumpPublished(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 9, 100)
	f, err := os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	word := binary.LittleEndian.AppendUint64(nil, 6)
	if _, err = f.WriteAt(word, frame.ControlOffset+frame.ControlAppended); err != nil {
		t.Fatal(err)
	}
	if err = f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, rep, err := dumped(dir, wal.DumpOptions{}, nil); err != nil || len(got) != 6 || rep.Verdict != wal.Clean {
		t.Errorf("live: %d, %v", got, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _, err := dumped(dir, wal.DumpOptions{}, nil); err != nil || len(got) != 9 {
		t.Errorf("closed: %d, %v", got, err)
	}
}

// TestLookWithoutLock looks at a live log whose lock file may not be read: it is
// seen to be live when it changes, and never torn.
func TestLookWithoutLock(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "becoming another user needs root")
	}
	dir := filepath.Join(fastDir(t), "log")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // a test's directory
		t.Fatal(err)
	}
	l := openLog(t, dir, small())
	appendRecords(t, l, 20, 9000)
	if err := os.Chmod(filepath.Join(dir, lockFile), 0o600); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		rep, err := wal.Verify(dir)
		if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != 20 ||
			!strings.Contains(strings.Join(rep.Warnings, "\n"), lockFile) {
			t.Errorf("verify: %+v, %v", rep, err)
		}
		in, err := wal.Inspect(dir)
		if err != nil || in.Live != wal.Unsure || !strings.Contains(strings.Join(in.Warnings, "\n"), lockFile) {
			t.Errorf("inspect: %+v, %v", in, err)
		}
	})
}

// TestTruncatedUnderLook truncates a file before each single operation of a
// look. The look names the file, in an error or as damaged, unless it has read
// all that is gone; it never dies.
func TestTruncatedUnderLook(t *testing.T) {
	t.Parallel()
	looks := map[string]func(dir string) (*wal.Report, error){
		"verify": wal.Verify,
		"device": func(dir string) (*wal.Report, error) {
			return wal.VerifyWith(dir, wal.VerifyOptions{Device: true})
		},
		"dump": func(dir string) (*wal.Report, error) {
			_, rep, err := dumped(dir, wal.DumpOptions{}, nil)
			return rep, err
		},
		"match": func(dir string) (*wal.Report, error) {
			o := wal.DumpOptions{Match: func(_ wal.LSN, p []byte) (bool, error) { return p[len(p)-1] == 0, nil }}
			_, rep, err := dumped(dir, o, nil)
			return rep, err
		},
		"inspect": func(dir string) (*wal.Report, error) {
			in, err := wal.Inspect(dir)
			if err != nil {
				return nil, err
			}
			return &wal.Report{Damage: in.Damage}, nil
		},
	}
	s := rotated(t)
	for what, look := range looks {
		for _, size := range []int64{0, 5000, 30000} {
			failed := 0
			for n := 1; ; n++ {
				ops, err := truncateAt(t, s, secondName, size, n, look)
				if ops < n {
					break
				}
				if err != nil {
					failed++
				}
			}
			if failed == 0 {
				t.Errorf("%s: no truncation to %d bytes was noticed", what, size)
			}
		}
	}
}

// truncateAt truncates a file before operation n of a look. It returns how many
// there were, and what the look said.
func truncateAt(
	t *testing.T, s *specimen, name string, size int64, n int, look func(string) (*wal.Report, error),
) (ops int, err error) {
	t.Helper()
	dir := filepath.Join(fastDir(t), "log")
	copyLog(t, s.dir, dir)
	path := filepath.Join(dir, name)
	remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before {
			if ops++; ops == n {
				return os.Truncate(path, size)
			}
		}
		return nil
	})
	rep, err := look(dir)
	remove()
	if err == nil && len(rep.Damage) > 0 {
		err = fmt.Errorf("%+v", rep.Damage)
	}
	if err != nil && !strings.Contains(err.Error(), name) && n > 1 {
		t.Errorf("%d bytes left before operation %d: %v does not name the file", size, n, err)
	}
	if rerr := os.RemoveAll(dir); rerr != nil {
		t.Error(rerr)
	}
	return ops, err
}

// copyLog copies a log's files.
func copyLog(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestExtract hands out what is intact behind damage: whole batches, in order,
// each record once, and only those that were asked for.
func TestExtract(t *testing.T) {
	dir := filepath.Join(fastDir(t), "log")
	l := openLog(t, dir, small())
	appendRecords(t, l, 3, 500)
	for range 4 { // LSN 4 to 15
		next := l.LastLSN() + 1
		if _, err := l.AppendBatch([][]byte{record(next, 500), record(next+1, 500), record(next+2, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	appendRecords(t, l, 200, 900) // over three more segments
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := take(t, dir)
	hit := s.frameOf(firstName, 8) // in the middle of the batch of 7 to 9
	s.flip(firstName, hit.off+frame.HeaderBytes)
	last := wal.LSN(215)
	for _, tt := range []struct {
		from, to wal.LSN
		head     []wal.LSN
		behind   []wal.LSN
	}{
		{head: runOf(1, 6), behind: runOf(10, last)},
		{to: 12, head: runOf(1, 6), behind: runOf(10, 12)},
		{from: 5, to: 100, head: runOf(5, 6), behind: runOf(10, 100)},
		{from: 11, behind: runOf(11, last)},
	} {
		var behind []wal.LSN
		o := wal.DumpOptions{From: tt.from, To: tt.to, Behind: func(lsn wal.LSN, p []byte) error {
			behind = append(behind, lsn)
			if lsn <= 15 {
				wantRecord(t, lsn, 500, p)
			} else {
				wantRecord(t, lsn, 900, p)
			}
			return nil
		}}
		head, rep, err := dumped(s.dir, o, nil)
		if err != nil || rep.Verdict != wal.Damaged {
			t.Fatalf("from %d: %v, %v", tt.from, rep, err)
		}
		if diff := cmp.Diff([2][]wal.LSN{tt.head, tt.behind}, [2][]wal.LSN{head, behind}); diff != "" {
			t.Errorf("from %d to %d (-want +got):\n%s", tt.from, tt.to, diff)
		}
		want := []wal.Range{{First: tt.behind[0], Last: tt.behind[len(tt.behind)-1]}}
		var got []wal.Range
		for _, e := range rep.Extracted {
			if got = append(got, wal.Range{First: e.First, Last: e.Last}); e.Sure != wal.SureChain {
				t.Errorf("records %d to %d: %s", e.First, e.Last, e.Sure)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %d: extracted (-want +got):\n%s", tt.from, diff)
		}
	}
	stop := errors.New("stop")
	o := wal.DumpOptions{Behind: func(wal.LSN, []byte) error { return stop }}
	if _, _, err := dumped(s.dir, o, nil); !errors.Is(err, stop) {
		t.Errorf("the error of Behind: %v", err)
	}
}

// TestVerifyDevice reads a log around the page cache, every byte of it, and says
// where it cannot.
func TestVerifyDevice(t *testing.T) {
	l, dir := newDiskLog(t, small())
	appendRecords(t, l, 20, 9000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var direct, populated int64
	durabilitytest.Inject(t, dir, func(c *durabilitytest.Call) error {
		switch {
		case c.Phase != durability.Before:
		case c.Op == durabilitytest.OpReadDirect:
			direct += c.Length
		case c.Op == durabilitytest.OpPopulate || c.Op == durabilitytest.OpMap:
			populated += c.Length
		}
		return nil
	})
	rep, err := wal.VerifyWith(dir, wal.VerifyOptions{Device: true})
	if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != 20 || rep.Records != 20 {
		t.Errorf("%+v, %v", rep, err)
	}
	if direct < rep.Bytes || rep.Bytes < 20*9000 || populated != 0 {
		t.Errorf("%d bytes of %d from the device, %d mapped", direct, rep.Bytes, populated)
	}
	if buffered := rep.BufferedBytes > 0; buffered != strings.Contains(strings.Join(rep.Warnings, "\n"), "page cache") {
		t.Errorf("%d bytes from the page cache, warnings %q", rep.BufferedBytes, rep.Warnings)
	}
	memory := filepath.Join(fastDir(t), "log")
	copyLog(t, dir, memory)
	rep, err = wal.VerifyWith(memory, wal.VerifyOptions{Device: true})
	var st durability.Filesystem
	if d, derr := durability.OpenDir(memory, nil); derr == nil {
		st, _ = d.Filesystem()
		_ = d.Close()
	}
	if err != nil || rep.Verdict != wal.Clean || st.Name == "tmpfs" && (rep.BufferedBytes == 0 || len(rep.Warnings) == 0) {
		t.Errorf("in memory: %+v, %v", rep, err)
	}
}

// TestTruncatedPage truncates a file within its last page while it is read: the
// kernel shows zeros there and raises nothing, and the look must not take them
// for damage.
func TestTruncatedPage(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 1, 45000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(fastDir(t), "log")
	copyLog(t, dir, copied)
	durabilitytest.Inject(t, copied, func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpPopulate && c.Phase == durability.Before {
			return os.Truncate(filepath.Join(copied, firstName), 63000)
		}
		return nil
	})
	rep, err := wal.Verify(copied)
	if err == nil || !strings.Contains(err.Error(), firstName+" at offset 63000: the file was truncated") {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestStaleBoard finds the control block of a power loss in a segment that was
// never entered. Nobody believes it.
func TestStaleBoard(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 3, 100)
	awaitPrepared(t, l, dir)
	f, err := os.OpenFile(filepath.Join(dir, secondName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	board := make([]byte, frame.ControlBytes)
	binary.LittleEndian.PutUint64(board[frame.ControlEpoch:], 1)
	binary.LittleEndian.PutUint64(board[frame.ControlAppended:], 1000)
	_, err = f.WriteAt(board, frame.ControlOffset)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	// What is in progress looks torn: here rubbish behind the last record.
	f, err = os.OpenFile(filepath.Join(dir, firstName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err = f.WriteAt([]byte("rubbish"), 60000); err != nil {
		t.Fatal(err)
	}
	if err = wantClean(wal.Verify(dir)); err != nil {
		t.Error(err)
	}
	if in := inspect(t, dir); in.LastLSN != 3 {
		t.Errorf("the last record is %d", in.LastLSN)
	}
	if _, err = f.WriteAt(make([]byte, 7), 60000); err != nil {
		t.Fatal(err)
	}
}

// TestExtractForged puts frames that repeat LSNs into a later segment, with links
// that takes knowledge of its salt to make. No record comes twice.
func TestExtractForged(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 12, 500)
	awaitPrepared(t, l, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := take(t, dir)
	s.flip(firstName, s.frameOf(firstName, 5).off+4)
	s.change(secondName, func(data []byte) []byte {
		h, err := frame.DecodeHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		var buf frame.Buffer
		off, link := int64(30000), frame.Link(0)
		for _, lsn := range []wal.LSN{8, 9, 14, 15} {
			p := []byte("forged")
			f := frame.Frame{
				Length: uint32(len(p)), PayloadCRC: frame.Checksum(p), LSN: lsn, Epoch: 1,
				Kind: frame.KindRecord, First: true, Last: true,
			}
			if lsn == 14 {
				off, link = 31000, 0
			}
			head, next := buf.Encode(&f, h.Seed(), link, off)
			copy(data[off:], append(head, p...))
			off, link = off+f.Size(), next
		}
		return data
	})
	var behind []wal.LSN
	o := wal.DumpOptions{Behind: func(lsn wal.LSN, _ []byte) error {
		behind = append(behind, lsn)
		return nil
	}}
	if _, _, err := dumped(s.dir, o, nil); err != nil {
		t.Fatal(err)
	}
	// Of two neighbours whose predecessor is lost the first has only its header
	// proved, and is a whole batch all the same.
	if diff := cmp.Diff([]wal.LSN{6, 7, 8, 9, 10, 11, 12, 14, 15}, behind); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
