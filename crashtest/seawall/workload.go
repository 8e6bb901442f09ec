//go:build linux

package seawall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// logName is the log's directory below a life's, so that its birth is seen.
const logName = "log"

// options chooses a set of options: each sync mode, each alignment, few or many
// segments ahead.
func options(rng *rand.Rand) wal.Options {
	o := wal.Options{SegmentBytes: wal.MinSegmentBytes, Logger: slog.New(slog.DiscardHandler)}
	switch rng.IntN(4) {
	case 0:
		o.Sync = wal.SyncEach
	case 1:
		o.Sync = wal.SyncEvery(time.Duration(1+rng.IntN(5)) * time.Millisecond)
	}
	o.Align = wal.Align(rng.IntN(3))
	o.SegmentsAhead = 1 + rng.IntN(3)
	return o
}

// steps of a life that begins in an empty directory, or more until it has
// rotated, and of one that goes on.
const (
	longLife  = 260
	shortLife = 14
	busier    = 4 // so many times fewer are as much work in a busy life
)

// work is a life at work.
type work struct {
	life *campaign.Life
	rng  *rand.Rand
	open func(string, wal.Options) (*wal.Log, error)
	opts wal.Options
	busy bool // other calls come between the syncs of one
	calm bool // lets what goes on in the background finish before it cuts or closes
	log  *wal.Log
	tag  uint64 // makes this life's payloads different from those of others
	mu   sync.Mutex

	stage  kill.Stage // in campaigns of package kill; nil elsewhere
	to     Appender   // the log, or what is before it
	before func(*wal.Log) Appender
	run    run    // of the next record there
	fresh  bool   // it begins with that
	turns  uint64 // runs so far
	class  uint64 // of their tags, unless it is above tagClass

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
	return w.end()
}

// setOptions chooses the options of the life.
func (w *work) setOptions() {
	w.opts = options(w.rng)
	if w.life.Exact && w.opts.Sync != wal.SyncEach && w.opts.Sync != wal.SyncManual {
		w.opts.Sync = wal.SyncEvery(time.Hour) // no clock moves
	}
	if w.calm = w.rng.IntN(4) > 0; w.calm || w.life.Exact {
		// By itself the log chooses by the syncs that it has seen when it happens to
		// prepare a segment.
		w.opts.FillBytes = []int{4 << 10, 16 << 10, 64 << 10}[w.rng.IntN(3)]
	}
	w.opts.Tracer = w.life.Tracer
	if w.busy {
		busyOptions(&w.opts, w.rng.IntN(4))
		w.watch = &watch{to: w.life.Tracer}
		w.opts.Tracer = w.watch
	}
	w.opts.OnDurable = func(lsn wal.LSN) {
		w.set(func(m *Mark) { m.durable = max(m.durable, lsn) })
	}
	if w.stage != nil {
		w.killOptions()
	}
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

// beside appends while a sync is on its way, which covers what was appended
// before.
func (w *work) beside() error {
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

// closeAndReopen closes the log, and opens it under the same options.
func (w *work) closeAndReopen() error {
	leave := w.enter(kill.Sync)
	err := w.sync(w.log.Close(), "close")
	leave()
	if err != nil {
		return err
	}
	return w.reopen()
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
	r.sum = recordSum(p)
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
	for _, is := range []error{wal.ErrNoSpace, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, is) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return b
}

// reopen opens the log, and holds what it finds against what is known.
func (w *work) reopen() error {
	before := w.mark()
	leave := w.enter(kill.Recovery)
	l, err := w.open(w.dir(), w.opts)
	leave()
	if err != nil {
		return misjudged("open", err)
	}
	if w.log, w.to = l, l; w.before != nil {
		w.to = w.before(l)
	}
	held, err := readOpen(l)
	if err == nil {
		if b := campaign.Judge(held, before, w.life.Killed); b != nil && w.life.Known != nil && before == w.life.Known {
			err = b
		} else if b := campaign.Judge(held, before, true); b != nil && before != w.life.Known {
			err = b
		}
	}
	if err == nil {
		err = durable(l)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	w.set(func(m *Mark) {
		if m.or != nil && held.legal(m) != nil {
			*m = *m.or
		} else if m.or != nil && held.present(m, w.life.Killed) != nil {
			*m = *m.or
		}
		m.or, m.beside, m.writers, m.situation = nil, false, nil, 0
		m.end(l.LastLSN())
	})
	return nil
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

// cut does one of the log's cuts: until it returns the log may be what it was or
// what it is to be, and from then on only that.
func (w *work) cut(what string, do func() error, becomes func(*Mark)) error {
	w.set(func(m *Mark) {
		next := *m
		becomes(&next)
		m.or = &next
	})
	if err := do(); err != nil {
		return broken(what, err)
	}
	w.set(func(m *Mark) {
		*m = *m.or
		m.beside = false
	})
	return nil
}

// truncateFront cuts some of the first records away, now and then all.
func (w *work) truncateFront() error {
	first, last := w.mark().front, w.mark().appended
	lsn := first + wal.LSN(w.rng.Uint64N(uint64(last-first+2)))
	if lsn <= first {
		return nil
	}
	err := w.cut(fmt.Sprintf("truncate the front to %d", lsn), func() error { return w.log.TruncateFront(lsn) },
		func(m *Mark) {
			m.front = lsn
			m.durable = max(m.durable, lsn-1)
		})
	if err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, m.appended) })
	}
	return err
}

// truncateBack cuts a few of the last records away, now and then all.
func (w *work) truncateBack() error {
	first, last := w.mark().front, w.mark().appended
	n := uint64(last - first + 1)
	if w.rng.IntN(4) > 0 {
		n = min(n, 6)
	}
	lsn := last - wal.LSN(w.rng.Uint64N(n+1))
	err := w.cut(fmt.Sprintf("truncate the back to %d", lsn), func() error { return w.log.TruncateBack(lsn) },
		func(m *Mark) { m.end(lsn) })
	w.turn(false)
	return err
}

// reset empties the log. In campaigns of package kill it may go on with LSNs that it
// has had.
func (w *work) reset() error {
	last := w.mark().appended
	next := last + 1
	if w.stage != nil {
		next = max(1, next+wal.LSN(w.rng.IntN(60))-min(last, 30))
	} else {
		next += wal.LSN(w.rng.IntN(3) * w.rng.IntN(1000))
	}
	err := w.cut(fmt.Sprintf("reset to %d", next), func() error { return w.log.Reset(next) },
		func(m *Mark) { *m = emptyMark(next) })
	w.turn(false)
	return err
}

// end closes the log, and reads it once more.
func (w *work) end() error {
	if err := w.sync(w.log.Close(), "close"); err != nil {
		return err
	}
	held, err := look(w.dir(), true)
	if err != nil {
		return err
	}
	m := w.mark()
	if b := campaign.Judge(held, m, true); b != nil {
		b.Kind = campaign.Stuck
		return b
	}
	if held.Last != m.begun {
		return broken("close", fmt.Errorf("the log holds records up to %d of %d", held.Last, m.begun))
	}
	return nil
}
