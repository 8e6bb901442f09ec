package wal_test

import (
	"bytes"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// TestTornSlotIsNotCompleted: a crash in a front cut leaves all of its slot but
// one word, and the log opens as it was before. The next slot that is stored
// there may have just that word: a crash during its store must not make the old
// cut out of the two. The model found it: lost, clause C2, three crashes deep.
func TestTornSlotIsNotCompleted(t *testing.T) {
	before, after, at := slotOfACut(t)
	words, states, torn := 0, 0, before[firstName]
	for w := at; w < at+frame.SlotBytes; w += 8 {
		if bytes.Equal(after[firstName][w:w+8], before[firstName][w:w+8]) {
			continue
		}
		words++
		files := maps.Clone(before)
		files[firstName] = bytes.Clone(torn)
		copy(files[firstName][at:], after[firstName][at:at+frame.SlotBytes])
		copy(files[firstName][w:w+8], torn[w:])
		states += completeSlot(t, files)
	}
	t.Logf("%d words, each held back in a first crash; %d states of a second one", words, states)
	if words < 4 || states < 1000 {
		t.Error("too few")
	}
}

// slotOfACut returns the files of a log before and after a front cut, and the
// offset of the slot that the cut wrote first.
func slotOfACut(t *testing.T) (before, after durabilitytest.Files, at int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	for range 3 { // each Close leaves a slot
		l := openLog(t, dir, small())
		appendRecords(t, l, 10, 100)
		must(t, l.Close())
	}
	before = durabilitytest.Files(readDir(t, dir))
	l := openLog(t, dir, small())
	must(t, l.TruncateFront(20))
	must(t, l.Close())
	after = durabilitytest.Files(readDir(t, dir))
	h, err := frame.DecodeHeader(after[firstName])
	must(t, err)
	a, err := frame.DecodeSlot(after[firstName][frame.SlotOffset:], h.Seed())
	must(t, err)
	b, err := frame.DecodeSlot(after[firstName][frame.SlotOffset+frame.BlockBytes:], h.Seed())
	must(t, err)
	if a.Counter < b.Counter {
		return before, after, frame.SlotOffset
	}
	return before, after, frame.SlotOffset + frame.BlockBytes
}

// completeSlot opens a log, cuts it elsewhere, and crashes at every event, with
// every choice of the words of the slot that is being stored. It returns how many
// states it checked.
func completeSlot(t *testing.T, files durabilitytest.Files) int {
	t.Helper()
	root := fastDir(t)
	rec := newRecorder()
	must(t, files.WriteTo(filepath.Join(root, "log")))
	must(t, rec.Base(root))
	o := small()
	o.Tracer = rec
	l, err := wal.Open(filepath.Join(root, "log"), o)
	must(t, err)
	if l.FirstLSN() != 1 || l.LastLSN() != 30 {
		t.Fatalf("opened with LSN %d to %d", l.FirstLSN(), l.LastLSN())
	}
	must(t, l.TruncateFront(5))
	rec.Stop()
	must(t, l.Close())
	states := 0
	for at := range rec.Len() + 1 {
		m := rec.Moment(root, at)
		var words []int
		for i, p := range m.Pieces() {
			if p.Kind == durabilitytest.WordPiece && p.Offset >= frame.SlotOffset && p.Offset < frame.ControlOffset {
				words = append(words, i)
			}
		}
		for choice := range 1 << len(words) {
			for bit, i := range words {
				m.Set(i, choice>>bit&1)
			}
			states++
			checkSlots(t, m.Files())
		}
	}
	return states
}

// checkSlots wants one of the two states that the second cut may leave.
func checkSlots(t *testing.T, state durabilitytest.Files) {
	t.Helper()
	files := make(map[string][]byte)
	for path, b := range state {
		if name, ok := strings.CutPrefix(path, "log/"); ok {
			files[name] = b
		}
	}
	j, err := waltest.RecoverAll(files, func(wal.LSN, []byte) error { return nil })
	if err != nil || j.Verdict == wal.Damaged || j.First != 1 && j.First != 5 || j.Last != 30 {
		t.Fatalf("found %+v, %v", j, err)
	}
}

// must ends the test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
