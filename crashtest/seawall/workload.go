//go:build linux

package seawall

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// logName is the log's directory below a life's, so that its birth is seen.
const logName = "log"

// steps of a life that begins in an empty directory, or more until it has
// rotated, and of one that goes on.
const (
	longLife  = 260
	shortLife = 14
	busier    = 4 // so many times fewer are as much work in a busy life
)

// work is a life at work.
type work struct {
	life    *campaign.Life
	rng     *rand.Rand
	subject *Log
	opts    wal.Options
	busy    bool // other calls come between the syncs of one
	calm    bool // lets what goes on in the background finish before it cuts or closes
	log     *wal.Log
	tag     uint64 // makes this life's payloads different from those of others
	mu      sync.Mutex

	stage kill.Stage // in campaigns of package kill; nil elsewhere
	to    Appender   // the log, or what is before it
	run   run        // of the next record there
	fresh bool       // it begins with that
	turns uint64     // runs so far
	class uint64     // of their tags, unless it is above tagClass

	watch    *watch         // of a busy life
	appended int64          // bytes in this life
	did      map[string]int // how often, by step
	rotated  bool
}

// dir returns the log's directory.
func (w *work) dir() string { return filepath.Join(w.life.Dir, logName) }

// mark returns what is known.
func (w *work) mark() *Mark { return markOf(w.life.Now()) }

// note replaces what is known. Acknowledgements come from the log's goroutines,
// too.
func (w *work) note(change func(*Mark) *Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life.Note(change(w.mark()))
}

// set notes a change of a copy.
func (w *work) set(change func(*Mark)) {
	w.note(func(m *Mark) *Mark {
		n := *m
		change(&n)
		return &n
	})
}

// live lives the life.
func (w *work) live() error {
	w.setOptions()
	n := longLife
	if w.life.Known != nil {
		n = shortLife
	}
	if w.busy {
		n /= busier
	}
	if err := w.reopen(); err != nil {
		return err
	}
	if w.stage != nil { // a kill counts when a record was appended
		if n = blindLife; w.aim() != "" {
			n = aimedLife
		}
		if err := w.append(w.size()); err != nil {
			return errors.Join(err, w.log.Close())
		}
	}
	for i := 0; i < n || !w.rotated && w.life.Known == nil; i++ {
		w.pause()
		if err := w.step(); err != nil {
			return errors.Join(err, w.log.Close())
		}
		w.rotated = w.rotated || w.log.Stats().Rotations > 0
	}
	w.pause()
	if w.subject.Refuse != nil {
		return w.refused()
	}
	return w.end()
}

// pause lets what goes on in the background come to its next operation.
func (w *work) pause() {
	if w.life.Pause != nil {
		w.life.Pause()
	}
}

// settle lets what goes on in the background finish, in calm lives.
func (w *work) settle() {
	if w.calm && w.life.Settle != nil {
		w.life.Settle()
	}
}

// batch appends up to five records as a batch; of one it is an append.
func (w *work) batch() error {
	sizes := make([]int, 1+w.rng.IntN(5))
	for i := range sizes {
		sizes[i] = w.size()
	}
	return w.append(sizes...)
}

// commit waits until some record that was appended is durable.
func (w *work) commit() error {
	m := w.mark()
	if m.appended <= m.durable {
		return nil
	}
	lsn := m.durable + 1 + wal.LSN(w.rng.Uint64N(uint64(m.appended-m.durable)))
	if err := w.log.Commit(context.Background(), lsn); err != nil {
		return broken(fmt.Sprintf("commit of record %d", lsn), err)
	}
	w.set(func(m *Mark) { m.durable = max(m.durable, lsn) })
	return nil
}

// appendWhileSyncing appends while a sync is in progress, which covers what was appended
// before.
func (w *work) appendWhileSyncing() error {
	before := w.mark().appended
	synced := make(chan error, 1)
	go func() {
		err := w.log.Sync()
		if err == nil {
			w.set(func(m *Mark) { m.durable = max(m.durable, before) })
		}
		synced <- err
	}()
	w.pause()
	var err error
	for n := 1 + w.rng.IntN(4); n > 0 && err == nil; n-- {
		err = w.append(w.size())
	}
	if serr := <-synced; serr != nil {
		err = errors.Join(err, broken("sync", serr))
	}
	return err
}

// size chooses a record's size: mostly small, some empty, a few that fill a good
// part of a segment.
func (w *work) size() int {
	if w.stage != nil {
		return sizeByTag
	}
	switch n := w.rng.IntN(40); {
	case n == 0:
		return 0
	case n < 26:
		return 1 + w.rng.IntN(120)
	case n < 36:
		return 200 + w.rng.IntN(1500)
	}
	return 4000 + w.rng.IntN(9000)
}

// payload makes the payload of a record, and returns the run that begins with it:
// of another life, or another one that had the same LSN, it differs.
func (w *work) payload(lsn wal.LSN, n int) (p []byte, fresh []run) {
	if n == sizeByTag {
		if w.fresh {
			w.run.from, w.fresh = lsn, false
			fresh = []run{w.run}
		}
		return w.run.record(uint64(lsn)), fresh
	}
	r := run{from: lsn, tag: w.tag ^ uint64(w.appended)<<20, size: n}
	p = r.record(uint64(lsn))
	r.sum = Sum(p)
	w.appended += int64(n) + frame.HeaderBytes
	return p, []run{r}
}

// errLSN reports an append that did not get the next LSN.
var errLSN = errors.New("not the next LSN")

// broken returns a broken promise of a log at work: nobody else writes here. What
// the machine lacks is no finding.
func broken(what string, err error) error {
	b := &campaign.Broken{Kind: campaign.Stuck, Clause: "C4", What: fmt.Sprintf("%s: %v", what, err)}
	for _, is := range []error{wal.ErrNotFound, wal.ErrTruncated, wal.ErrCorrupt, errLSN} {
		if errors.Is(err, is) {
			b.Kind, b.Clause, b.What = campaign.Lost, "C1", "the log denies what it has acknowledged: "+b.What
		}
	}
	for _, is := range []error{wal.ErrNoSpace, syscall.EIO, syscall.EROFS, syscall.EUCLEAN, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, is) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return b
}

// append appends a record, or several as a batch.
func (w *work) append(sizes ...int) error {
	var ps [][]byte
	var runs []run
	first := w.mark().begun + 1
	for i, n := range sizes {
		p, fresh := w.payload(first+wal.LSN(i), n)
		ps, runs = append(ps, p), append(runs, fresh...)
	}
	w.note(func(m *Mark) *Mark { return m.begin(wal.LSN(len(ps)), runs) })
	var last wal.LSN
	var err error
	if len(ps) == 1 {
		last, err = w.to.Append(ps[0])
	} else {
		last, err = w.to.AppendBatch(ps)
	}
	if err == nil && last != first+wal.LSN(len(ps))-1 {
		err = fmt.Errorf("LSN %d: %w", last, errLSN)
	}
	if err != nil {
		return broken(fmt.Sprintf("append of record %d", first), err)
	}
	w.set(func(m *Mark) {
		m.returned(last)
		if w.opts.Sync == wal.SyncEach {
			m.durable = max(m.durable, last)
		}
	})
	return nil
}

// sync notes that all that was appended is acknowledged.
func (w *work) sync(err error, what string) error {
	if err != nil {
		return broken(what, err)
	}
	w.set(func(m *Mark) { m.durable = max(m.durable, m.appended) })
	return nil
}
