package wal_test

import (
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

// TestFileHarmedDuringACut truncates the segment that a cut writes into right
// after one of the cut's syncs, which then has returned success for bytes that
// are gone: the cut acknowledges nothing, and names the file.
func TestFileHarmedDuringACut(t *testing.T) {
	for name, cut := range map[string]func(*wal.Log) error{
		"front":              func(l *wal.Log) error { return l.TruncateFront(2) },
		"back":               func(l *wal.Log) error { return l.TruncateBack(8) },
		"back over segments": func(l *wal.Log) error { return l.TruncateBack(3) },
		"reset":              func(l *wal.Log) error { return l.Reset(50) },
	} {
		for _, extended := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, extended), func(t *testing.T) {
				t.Parallel()
				for at := 0; ; at++ {
					l, err := wal.Open(filepath.Join(fastDir(t), "log"), withMin(wal.Options{SegmentsAhead: 1}))
					if err != nil {
						t.Fatal(err)
					}
					appendRecords(t, l, 9, 20000)
					if err = l.Sync(); err != nil {
						t.Fatal(err)
					}
					h := &cutHarm{t: t, at: at, extend: extended}
					awaitReady(t, l, l.Recovery().Dir, 1)
					remove := durabilitytest.InjectDir(l.Recovery().Dir, h.hook)
					err = cut(l)
					remove()
					cerr := l.Close()
					if h.file == "" {
						if err != nil || cerr != nil || at == 0 {
							t.Fatalf("%d syncs: %v, %v", at, err, cerr)
						}
						return
					}
					if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), h.file) {
						t.Fatalf("%s harmed after sync %d: %v", h.file, at, err)
					}
				}
			})
		}
	}
}

// cutHarm truncates the file of the at-th msync right after it.
type cutHarm struct {
	t      *testing.T
	at, n  int
	extend bool // and back to its size
	file   string
}

func (h *cutHarm) hook(c *durabilitytest.Call) error {
	if c.Op != durability.OpMsync || c.Phase != durability.After {
		return nil
	}
	if h.n++; h.n-1 != h.at {
		return nil
	}
	h.file = c.Name
	path := filepath.Join(c.Dir, c.Name)
	err := os.Truncate(path, 8<<10)
	if err == nil && h.extend {
		err = os.Truncate(path, wal.MinSegmentBytes)
	}
	if err != nil {
		h.t.Error(err)
	}
	return nil
}

// TestRotationDuringAFrontCut lets the log go on in another segment while a cut
// that removes all records writes its slots: the new segment is not durable
// yet, so the one before it, which says where the log begins, stays.
func TestRotationDuringAFrontCut(t *testing.T) {
	t.Parallel()
	rng := newRand(newSeed(t))
	f := newLife(t, withMin(wal.Options{SegmentsAhead: 2}), rng)
	f.open()
	f.fill(4, 20000)
	f.sync()
	awaitReady(t, f.log, f.dir(), 2)
	var meanwhile mark
	turned := false
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Op == durability.OpMsync && c.Offset != 0 && !turned { // a slot's
			turned = true
			f.fill(8, 20000)
			meanwhile = f.last()
		}
		return nil
	})
	defer remove()
	f.truncateFront(5)
	if !turned || len(f.log.Segments()) < 2 {
		t.Fatalf("segments %v", f.log.Segments())
	}
	at := f.rec.Len()
	f.stop()
	or := newOracle(t, f.opts)
	known := meanwhile // what came then is not synced
	known.front, known.durable, known.appended, known.or = 5, 4, 4, nil
	for range 20 {
		or.check(crash{state: f.rec.Crash(f.root, at, rng), mark: known, words: func() string { return f.describe(at) }})
	}
	or.check(crash{state: f.rec.CrashAs(durabilitytest.Drop, f.root, at, nil), mark: known, words: func() string { return f.describe(at) }})
}
