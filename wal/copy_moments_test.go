package wal_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// moments is a log's directory at several moments, and the log's history. Every
// record says of which generation it is; each cut at the back begins one.
type moments struct {
	files  []map[string][]byte
	fronts map[wal.LSN]bool // the first LSNs that the log had
	begins []wal.LSN        // of each generation, the first LSN that it may have
	resets []wal.LSN        // of each generation, the first LSN of the log when it began
}

// take adds a moment.
func (m *moments) take(t *testing.T, dir string) {
	t.Helper()
	m.files = append(m.files, momentOf(t, dir))
}

// momentOf reads a directory in which segments are made, named and removed
// at the same time: files that vanish are left out.
func momentOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			t.Fatal(err)
		default:
			files[filepath.Base(name)] = data
		}
	}
	return files
}

// live writes a log, cuts it at both ends and resets it, and keeps so many
// moments of its directory.
func live(t *testing.T, dir string, n int, rng *rand.Rand) *moments {
	t.Helper()
	o := small()
	o.SegmentsAhead = 2
	l, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &moments{fronts: map[wal.LSN]bool{1: true}, begins: []wal.LSN{1}, resets: []wal.LSN{1}}
	g := &generations{l: l}
	for len(m.files) < n {
		for range 1 + rng.IntN(30) {
			gen, choice := g.generation, rng.IntN(150)
			if err = g.step(choice, rng.Uint64()); err == nil && choice > 145 {
				err = l.Checkpoint()
			} else if err == nil && choice > 140 {
				err = l.Sync()
			}
			if err != nil {
				t.Fatal(err)
			}
			m.fronts[l.FirstLSN()] = true
			if g.generation == gen {
				continue
			}
			m.begins = append(m.begins, l.LastLSN()+1)
			m.resets = append(m.resets, m.resets[gen])
			if choice == 2 {
				m.resets[g.generation] = l.FirstLSN()
			}
		}
		m.take(t, dir)
	}
	return m
}

// generation returns of which generation a record is where the log's last one is
// of generation last.
func (m *moments) generation(lsn wal.LSN, last uint64) uint64 {
	for gen := last; gen > 0; gen-- {
		if lsn >= m.begins[gen] {
			return gen
		}
	}
	return 0
}

// history is what was read from a copy: the generation of each record.
type history struct {
	first       wal.LSN
	generations []uint64
}

// add adds the next record.
func (h *history) add(lsn wal.LSN, p []byte) error {
	gen, err := generationOf(lsn, p)
	if err != nil {
		return err
	}
	if len(h.generations) == 0 {
		h.first = lsn
	}
	if next := h.first + wal.LSN(len(h.generations)); lsn != next {
		return fmt.Errorf("record %d was read where %d follows", lsn, next)
	}
	h.generations = append(h.generations, gen)
	return nil
}

// legal returns an error unless the log held just these records at some moment,
// in front of others. Of a log that is known to be damaged the first may be gone.
func (m *moments) legal(h *history, damaged bool) error {
	if len(h.generations) == 0 {
		return nil
	}
	last := h.generations[len(h.generations)-1]
	for i, gen := range h.generations {
		lsn := h.first + wal.LSN(i)
		if want := m.generation(lsn, last); gen != want {
			return fmt.Errorf("record %d is of generation %d: before generation %d the log went on from %d", lsn, gen, last, want)
		}
	}
	if !damaged && (!m.fronts[h.first] || h.first < m.resets[last]) {
		return fmt.Errorf("the first record is %d, which the log never began with in generation %d", h.first, last)
	}
	return nil
}

// copy makes a copy that took its time: it lists the directory at one moment
// and reads each file at another, later one or, where again is set, any other,
// as several runs of rsync do. What has vanished is left out.
func (m *moments) copy(rng *rand.Rand) map[string][]byte {
	from := rng.IntN(len(m.files) - 1)
	to := min(len(m.files), from+2+rng.IntN(20))
	names := slices.Sorted(maps.Keys(m.files[from]))
	if rng.IntN(3) == 0 {
		all := make(map[string][]byte)
		for _, files := range m.files[from:to] {
			maps.Copy(all, files)
		}
		names = slices.Sorted(maps.Keys(all))
	}
	files := make(map[string][]byte)
	for _, name := range names {
		if data, ok := m.files[from+rng.IntN(to-from)][name]; ok {
			files[name] = data
		}
	}
	return files
}

// TestCopiesOfManyMoments puts copies together of which each file was read at
// another moment, in any order, while the log was written and cut: each is a
// legal prefix, or is refused in words.
func TestCopiesOfManyMoments(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	root := fastDir(t)
	var m *moments
	ends, records := make(map[string]int), 0
	for n := range rounds(t, 60, 6) {
		if n%60 == 0 {
			m = live(t, filepath.Join(root, fmt.Sprintf("log%d", n)), 40, rng)
		}
		s := &specimen{t: t, dir: filepath.Join(root, "copy")}
		s.fill(m.copy(rng))
		var seen, opens history
		rep, err := lookAtCopy(s.dir, seen.add)
		if err == nil {
			err = m.legal(&seen, rep.Verdict == wal.Damaged)
		}
		if err != nil {
			t.Fatalf("copy %d: %v", n, err)
		}
		ended := useCopy(t, s.dir, rep, opens.add)
		if err = m.legal(&opens, ended == copyBroken || ended == copyRefused); err != nil {
			t.Fatalf("copy %d, opened: %v", n, err)
		}
		if ended == copyOpened && (opens.first != seen.first || !slices.Equal(opens.generations, seen.generations)) {
			ended = copyDiffers // as many records, of another generation
		}
		if ended == copyOpened && !m.fronts[rep.FirstLSN] {
			t.Fatalf("copy %d: the log never began with %d", n, rep.FirstLSN)
		}
		ends[ended]++
		records += len(opens.generations)
		if err = os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("copies: %v, %d records", ends, records)
	if ends[copyOpened] == 0 || ends[copyRefused] == 0 {
		t.Error("one of the two never happened")
	}
}
