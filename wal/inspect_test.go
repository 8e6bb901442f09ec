package wal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// seen is a segment as Inspect shows it, as far as it is the same each time.
type seen struct {
	Name        string
	State       string
	First, Last wal.LSN
	Used        int64
}

// segmentsSeen returns them.
func segmentsSeen(in *wal.Inspection) []seen {
	var list []seen
	for _, s := range in.Segments {
		list = append(list, seen{s.Name, s.State, s.FirstLSN, s.LastLSN, s.Used})
	}
	return list
}

// inspect inspects a log.
func inspect(t *testing.T, dir string) *wal.Inspection {
	t.Helper()
	in, err := wal.Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func ExampleInspect() {
	dir, err := os.MkdirTemp("", "seawall-example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes})
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	if _, err = l.Append([]byte("not yet durable")); err != nil {
		panic(err)
	}
	in, err := wal.Inspect(dir)
	if err != nil {
		panic(err)
	}
	fmt.Println("live:", in.Live)
	fmt.Println("at risk:", in.AtRisk.Records, "record in segment", in.Segments[0].Name)
	// Output:
	// live: yes
	// at risk: 1 record in segment 0000000000000001.wal
}

// used is where a segment ends that holds n records of that size and nothing
// else.
func used(n, size int64) int64 { return frame.DataOffset + n*frame.Size(size) }

// TestInspect follows a log through its life.
func TestInspect(t *testing.T) {
	const size = 6000 // 7 records a segment
	o := small()
	o.SegmentsAhead = 2
	l, dir := newTestLog(t, o)
	appendRecords(t, l, 10, size)
	awaitReady(t, l, dir, 2)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, size)
	in := inspect(t, dir)
	const third, fourth = "0000000000000003.wal", "0000000000000004.wal"
	want := []seen{
		{firstName, "full", 1, 7, wal.MinSegmentBytes},
		{secondName, "active", 8, 12, used(5, size)},
		{third, "prepared", 0, 0, 0},
		{fourth, "prepared", 0, 0, 0},
	}
	if diff := cmp.Diff(want, segmentsSeen(in)); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
	risk := wal.AtRisk{Records: 2, Bytes: 2 * frame.Size(size), BytesKnown: true}
	if in.AtRisk != risk || in.Live != wal.Yes || in.Ahead != 2 || in.FirstLSN != 1 || in.LastLSN != 12 || in.DurableLSN != 10 {
		t.Errorf("%+v", in)
	}
	if in.Pages.DirtyKnown && onDevice(t, dir) && in.Pages.Dirty+in.Pages.Writeback < 2*size/int64(os.Getpagesize()) {
		t.Errorf("%d dirty pages, %d on their way", in.Pages.Dirty, in.Pages.Writeback)
	}
	if err := l.TruncateFront(9); err != nil {
		t.Fatal(err)
	}
	if in = inspect(t, dir); in.FirstLSN != 9 || in.AtRisk.Records != 0 || !in.AtRisk.BytesKnown {
		t.Errorf("truncated: %+v", in)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	in = inspect(t, dir)
	if in.Live != wal.No || in.LastLSN != 12 || in.DurableLSN != 12 || in.AtRisk.Records != 0 || len(in.Damage) != 0 {
		t.Errorf("closed: %+v", in)
	}
	// The control block may be one: it is set after the sync.
	if in.Pages.DirtyKnown && onDevice(t, dir) && in.Pages.Dirty > 1 {
		t.Errorf("dirty pages of a log that was closed: %+v", in.Pages)
	}
	for _, s := range in.Segments {
		if len(s.Map) == 0 || int64(len(s.Map))*in.CellBytes < s.Size || len(s.Map) > 64 {
			t.Errorf("map %q of %d bytes, %d each", s.Map, s.Size, in.CellBytes)
		}
	}
	text, err := json.Marshal(in)
	if err != nil || !strings.Contains(string(text), `"uuid":"`+in.UUID.String()+`"`) || !strings.Contains(string(text), `"live":false`) {
		t.Errorf("%s, %v", text, err)
	}
}

// onDevice reports whether a directory lies on a filesystem with a device, where
// alone pages become clean.
func onDevice(t *testing.T, dir string) bool {
	t.Helper()
	d, err := durability.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	fs, err := d.Filesystem()
	return err == nil && (fs.Name == "ext4" || fs.Name == "xfs" || fs.Name == "btrfs")
}

// TestInspectBringsNothingIn drops a log from the page cache: Inspect shows that,
// tells what it can, and leaves it so.
func TestInspectBringsNothingIn(t *testing.T) {
	l, dir := newDiskLog(t, wal.Options{SegmentBytes: 1 << 20})
	appendRecords(t, l, 300, 6000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left := dropSegments(t, dir)
	for range 2 {
		in := inspect(t, dir)
		if in.LastLSN != 300 || in.DurableLSN != 300 || in.Segments[1].LastLSN != 300 {
			t.Errorf("%+v", in)
		}
		s := in.Segments[1]
		if s.Pages.ResidentKnown && in.Pages.Resident > left {
			t.Errorf("%d pages are in memory, %d were: %s", in.Pages.Resident, left, s.Map)
		}
	}
}

// TestInspectOfManyBringsNothingIn is the same of more files than are open at once:
// those that are opened again are known without a look into them.
func TestInspectOfManyBringsNothingIn(t *testing.T) {
	l, dir := newDiskLog(t, small())
	for range manyFiles {
		appendRecords(t, l, 1, manyBytes)
	}
	must(t, l.Close())
	left := dropSegments(t, dir)
	for range 2 {
		in := inspect(t, dir)
		if p := in.Pages; len(in.Segments) < manyFiles || in.LastLSN != manyFiles || p.ResidentKnown && p.Resident > left {
			t.Errorf("%d segments, last %d: %d pages are in memory, %d were", len(in.Segments), in.LastLSN, p.Resident, left)
		}
	}
}

// dropSegments drops a log's segments from the page cache, where there is a device
// that has them too. It returns how many pages stay: the kernel leaves those that
// a process has open.
func dropSegments(t *testing.T, dir string) (left int64) {
	t.Helper()
	if !onDevice(t, dir) {
		t.Skip("the page cache is all there is of this filesystem")
	}
	d, err := durability.OpenDir(dir, nil)
	must(t, err)
	defer func() { _ = d.Close() }()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	must(t, err)
	for _, name := range names {
		f, err := d.Open(filepath.Base(name), false)
		must(t, err)
		must(t, f.DropCache(0, 0))
		pages, err := f.PageCache(0, 0)
		must(t, errors.Join(err, f.Close()))
		left += pages.Cached
	}
	return left
}

// TestInspectShowsDamage inspects logs of which files are missing or are no
// segments any more.
func TestInspectShowsDamage(t *testing.T) {
	s := rotated(t)
	s.remove(secondName)
	in := inspect(t, s.dir)
	if len(in.Damage) != 1 || in.Damage[0].File != secondName {
		t.Errorf("missing: %+v", in.Damage)
	}
	s = rotated(t)
	s.flip(secondName, 20)
	in = inspect(t, s.dir)
	if len(in.Damage) != 1 || in.Damage[0].File != secondName || in.Segments[1].State != "damaged" {
		t.Errorf("header: %+v", in.Damage)
	}
	if _, err := wal.Inspect(t.TempDir()); !errors.Is(err, wal.ErrMissing) {
		t.Errorf("no log: %v", err)
	}
	if _, err := wal.Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, wal.ErrMissing) {
		t.Errorf("no directory: %v", err)
	}
}

// TestLookAsReader looks at a live log as a user who may read it and no more.
// What the kernel does not tell is unknown.
func TestLookAsReader(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "becoming another user needs root")
	}
	dir := filepath.Join(fastDir(t), "log")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // a test's directory
		t.Fatal(err)
	}
	l := openLog(t, dir, small())
	appendRecords(t, l, 9, 6000)
	awaitPrepared(t, l, dir)
	before := readDir(t, dir)
	asNobody(t, func() {
		looksAll(t, dir, 9, true)
		wantUnknown(t, dir)
	})
	unchanged(t, "looking", dir, before)
	if err := os.Chmod(filepath.Join(dir, secondName), 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		_, verr := wal.Verify(dir)
		_, _, derr := dumped(dir, wal.DumpOptions{}, nil)
		_, ierr := wal.Inspect(dir)
		for _, err := range []error{verr, derr, ierr} {
			if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), secondName) {
				t.Errorf("%v, want a permission error that names %s", err, secondName)
			}
		}
	})
}

// looksAll verifies, dumps and inspects a clean log.
func looksAll(t *testing.T, dir string, last wal.LSN, live bool) {
	t.Helper()
	rep, err := wal.Verify(dir)
	if err != nil || rep.Verdict != wal.Clean || rep.LastLSN != last || rep.Live != live {
		t.Errorf("verify: %+v, %v", rep, err)
	}
	rep, err = wal.VerifyWith(dir, wal.VerifyOptions{Device: true})
	if err != nil || rep.Verdict != wal.Clean || rep.Live != live {
		t.Errorf("device: %+v, %v", rep, err)
	}
	lsns, _, err := dumped(dir, wal.DumpOptions{}, nil)
	if err != nil || len(lsns) != int(last) {
		t.Errorf("dump: %d, %v", lsns, err)
	}
	in, err := wal.Inspect(dir)
	if err != nil || in.LastLSN != last || in.Live == wal.Yes != live {
		t.Errorf("inspect: %+v, %v", in, err)
	}
}

// wantUnknown checks that what a reader is not told is unknown.
func wantUnknown(t *testing.T, dir string) {
	t.Helper()
	in, err := wal.Inspect(dir)
	if err != nil {
		t.Error(err)
		return
	}
	for _, s := range in.Segments {
		if s.Pages.ResidentKnown || s.Pages.DirtyKnown || strings.Trim(string(s.Map), "?") != "" || s.Pages.Resident != 0 {
			t.Errorf("a reader is told: %+v", s)
		}
	}
	if in.Pages.Reason == "" || len(in.Warnings) == 0 {
		t.Errorf("no reason is given: %+v", in)
	}
}

// TestLookAtReadOnlyMedia looks at a log on a filesystem that is mounted
// read-only, from a device that is.
func TestLookAtReadOnlyMedia(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "mounting needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		cannotRun(t, "there is no mkfs.ext4")
	}
	root := fastDir(t)
	image, at := filepath.Join(root, "image"), filepath.Join(root, "mnt")
	source := filepath.Join(root, "source")
	l := openLog(t, filepath.Join(source, "log"), small())
	appendRecords(t, l, 9, 6000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			cannotRun(t, strings.Join(args, " ")+": "+string(out))
		}
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 8<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-d", source, image)
	run("mount", "-o", "loop,ro", image, at)
	t.Cleanup(func() {
		if err := unmount(at); err != nil {
			t.Error(err)
		}
	})
	looksAll(t, filepath.Join(at, "log"), 9, false)
}

// TestInspectWithoutABlock inspects logs whose control block a crash lost: the
// newest checkpoint record, whichever slot it lies in, or the stamp, says how far the log
// goes at least.
func TestInspectWithoutABlock(t *testing.T) {
	l, dir := newTestLog(t, small())
	lost := func(last wal.LSN) {
		t.Helper()
		s := takeLive(t, l, dir)
		for _, seg := range l.Segments() {
			s.zero(seg.Name, frame.ControlOffset, frame.ControlOffset+frame.BlockBytes)
		}
		if in := inspect(t, s.dir); in.FirstLSN != 1 || in.LastLSN != last || in.DurableLSN != last {
			t.Errorf("%d to %d, durable %d, want up to %d", in.FirstLSN, in.LastLSN, in.DurableLSN, last)
		}
	}
	for last := wal.LSN(2); last <= 8; last += 2 {
		appendRecords(t, l, 2, 100)
		must(t, l.Checkpoint())
		lost(last)
	}
	turn(t, l)
	lost(l.LastLSN() - 1)
}
