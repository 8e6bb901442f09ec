//go:build linux

package seawall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// A life of pairs has each call of the log come during each other one, at an operation of
// the first call that is chosen at random. The second call is made by another goroutine,
// since it may have to wait for the first. All pairs have their turn in each life, so that
// none depends on chance; which of the goroutines has a lock first does, and so no such life
// can be lived again by its seed alone.

// firstCalls and secondCalls are the calls of which pairs are made. Preparation is no call: the
// log prepares a segment in the background, and is stopped in the middle of that.
var (
	firstCalls  = append([]string{"preparation"}, secondCalls...)
	secondCalls = []string{
		"append", "batch", "rotation", "sync", "commit", "checkpoint", "front cut", "back cut", "reset", "close", "read",
	}

	// With SyncEach there is nothing left for a sync to do, and an append waits for the name of
	// the segment that it enters, which no other call may wait for.
	notWithSyncEach = []string{"sync", "commit", "preparation"}
)

// pairs returns the names of all pairs.
func pairs() (names []string) {
	for _, first := range firstCalls {
		for _, second := range secondCalls {
			names = append(names, pairName(first, second))
		}
	}
	return names
}

func pairName(first, second string) string { return second + " during " + first }

// livePairs has each pair once, in an order of the life's own.
func (w *work) livePairs() error {
	w.setOptions()
	if err := w.reopen(); err != nil {
		return err
	}
	order := w.rng.Perm(len(firstCalls) * len(secondCalls))
	if w.life.Known != nil {
		order = order[:shortLife]
	}
	for _, i := range order {
		first, second := firstCalls[i/len(secondCalls)], secondCalls[i%len(secondCalls)]
		if w.opts.Sync == wal.SyncEach && slices.Contains(notWithSyncEach, first) {
			continue
		}
		if err := w.pair(first, second); err != nil {
			return errors.Join(err, w.log.Close())
		}
	}
	return w.end()
}

// operations is how many operations of a call the second one may wait for.
const operations = 12

// pair makes the second call during the first. Where that was over too soon, it is made
// again, and the second one comes at its first operation.
func (w *work) pair(first, second string) error {
	name := pairName(first, second)
	w.doing(name)
	nth := 1 + w.rng.IntN(operations)
	for range tries {
		met, err := w.tryPair(first, second, nth)
		if err != nil {
			b := *campaign.AsBroken(err, campaign.Stuck)
			b.What = name + ": " + b.What
			return &b
		}
		if met {
			w.did[name]++
			return nil
		}
		nth = 1
	}
	return fmt.Errorf("no operation of a %s was seen", first)
}

// tries is how often a first call is made until it has had an operation: what it has to do the
// log may have done in the background before.
const tries = 20

// meeting is two calls in progress, and what is known by them.
type meeting struct {
	w      *work
	calls  [2]*call // the first is nil where it is a preparation
	begun  [2]bool
	cuts   bool    // one of them cuts records away
	worlds []*Mark // all that the log may have been since the first call began
}

// tryPair makes a first call, and the second at its nth operation, if it has as many.
func (w *work) tryPair(first, second string, nth int) (met bool, err error) {
	if err = w.fill(); err != nil {
		return false, err
	}
	if first == "rotation" || second == "rotation" || first == "preparation" {
		if err = w.fillUp(); err != nil {
			return false, err
		}
	}
	if err = w.appendOne(w.size()); err != nil { // so that there is something to sync
		return false, err
	}
	cuts := []string{"front cut", "back cut", "reset"}
	m := &meeting{w: w, cuts: slices.Contains(cuts, first) || slices.Contains(cuts, second)}
	m.calls = [2]*call{w.callOf(first, m), w.callOf(second, m)}
	done := make(chan error, 1)
	begin := func(alone bool) {
		met = true
		m.begin(1)
		calling := make(chan struct{})
		go func() {
			close(calling)
			done <- m.make(1)
		}()
		<-calling
		if alone {
			done <- <-done
		} else {
			w.letWork(done)
		}
	}
	switch first {
	case "preparation":
		err = w.duringPreparation(func() { begin(false) })
	case "read":
		err = m.makeReading(nth, begin)
	default:
		m.begin(0)
		w.watch.armAny(nth, func() { begin(false) })
		err = m.make(0)
		w.watch.disarm()
	}
	if met {
		err = errors.Join(err, <-done)
	}
	if err != nil {
		return met, err
	}
	return met, m.resolve()
}

// letWork lets the second call come to where it waits for the first, or to its end. How far it
// comes depends on the machine; whatever that is, what the calls return has to be explained.
func (w *work) letWork(done chan error) {
	if w.life.Settle != nil {
		w.life.Settle()
		return
	}
	const short = time.Millisecond
	for end := time.Now().Add(short); len(done) == 0 && time.Now().Before(end); {
		time.Sleep(short / 20)
	}
}

// make makes a call that has begun, and notes what it has returned.
func (m *meeting) make(i int) error {
	lsn, err := m.calls[i].do()
	return m.end(i, lsn, err)
}

// begin notes that a call is in progress.
func (m *meeting) begin(i int) {
	m.w.note(func(now *Mark) *Mark {
		if c := m.calls[i]; c.begin != nil {
			c.begin(now)
		}
		m.begun[i] = true
		worlds := chain(unfold(now.worlds(), m.inProgress())).worlds()
		for _, w := range worlds {
			w.during = strings.TrimPrefix(now.during+" and ", " and ") + m.calls[i].name
		}
		m.worlds = append(m.worlds, worlds...)
		return worlds[0]
	})
}

// inProgress returns the calls that have begun.
func (m *meeting) inProgress() (calls [2]*call) {
	for i, begun := range m.begun {
		if begun {
			calls[i] = m.calls[i]
		}
	}
	return calls
}

// end notes what a call has returned.
func (m *meeting) end(i int, lsn wal.LSN, err error) error {
	var wrong error
	if b := (*campaign.Broken)(nil); errors.As(err, &b) {
		return err // what a reader was given is wrong by itself
	}
	m.w.note(func(now *Mark) *Mark {
		left, nerr := narrow(now.worlds(), i, m.calls[i], lsn, err)
		if nerr != nil {
			wrong = nerr
			return now
		}
		return chain(left)
	})
	return wrong
}

// resolve goes on with what the log is after both calls, and opens it again where one of them
// has closed it.
func (m *meeting) resolve() error {
	w := m.w
	closed := w.mark().closed // in all worlds that are left, or in none
	if closed {
		return w.reopen()
	}
	var err error
	w.note(func(now *Mark) *Mark {
		one, serr := settleOn(now.worlds(), w.log.FirstLSN(), w.log.LastLSN())
		if serr != nil {
			err = serr
			return now
		}
		return one
	})
	return err
}

// duringPreparation stops a segment in preparation, and lets it go on when the second call has
// come as far as it can.
func (w *work) duringPreparation(begin func()) error {
	open := w.watch.shut([]durability.Op{durability.OpRename, durability.OpSync}[w.rng.IntN(2)])
	defer open()
	if w.log.Stats().Ready > 0 { // entering one has the log prepare another; where none is, it is about to
		if err := w.append(large); err != nil {
			return err
		}
	}
	begin()
	open()
	return nil
}

// callOf returns a call with its arguments, which are chosen by what is known now.
func (w *work) callOf(name string, meet *meeting) *call {
	now := w.mark()
	covers := func(name string, do func() error) *call { // covers what was appended when it begins
		var before wal.LSN
		return &call{
			name: name, do: none(do), begin: func(m *Mark) { before = m.appended },
			effect: func(m *Mark) (wal.LSN, error) { m.made(before); return 0, nil },
		}
	}
	switch name {
	case "append":
		return w.appendCall(w.size())
	case "rotation":
		return w.appendCall(large)
	case "batch":
		return w.appendCall(w.size(), w.size(), w.size())
	case "sync":
		return covers(name, w.log.Sync)
	case "checkpoint":
		return covers(name, w.log.Checkpoint)
	case "commit":
		lsn := now.appended
		return &call{
			name: fmt.Sprintf("commit of record %d", lsn), closed: true,
			do: none(func() error { return w.log.Commit(context.Background(), lsn) }),
			effect: func(m *Mark) (wal.LSN, error) {
				if lsn > m.begun {
					return 0, wal.ErrNotFound
				}
				m.made(lsn) // a closed log answers, too: its records are durable
				return 0, nil
			},
		}
	case "front cut":
		return w.frontCall(now)
	case "back cut":
		return w.backCall(now)
	case "reset":
		next := now.appended + 1 + wal.LSN(w.rng.IntN(3)*w.rng.IntN(1000))
		return &call{
			name: fmt.Sprintf("reset to %d", next), do: none(func() error { return w.log.Reset(next) }),
			effect: func(m *Mark) (wal.LSN, error) {
				empty := emptyMark(next)
				empty.alt, empty.calls, empty.reused = m.alt, m.calls, true
				*m = empty
				return 0, nil
			},
		}
	case "close":
		return &call{name: name, do: none(w.log.Close), effect: func(m *Mark) (wal.LSN, error) {
			m.made(m.appended)
			m.closed = true
			return 0, nil
		}}
	case "read":
		return w.readCall(meet)
	}
	return nil
}

// none has a call return no LSN.
func none(do func() error) func() (wal.LSN, error) {
	return func() (wal.LSN, error) { return 0, do() }
}

// appendCall appends records, several as a batch.
func (w *work) appendCall(sizes ...int) *call {
	var ps [][]byte
	var runs []run
	for _, n := range sizes {
		// What it holds has to be known before its LSN is. The sum is all that is compared.
		p, fresh := w.payload(wal.LSN(w.rng.Uint64()|1<<63), n)
		ps, runs = append(ps, p), append(runs, fresh...)
	}
	n := wal.LSN(len(ps))
	return &call{
		name: fmt.Sprintf("append of %d records", n), appends: true, synced: w.opts.Sync == wal.SyncEach,
		do: func() (wal.LSN, error) {
			if n == 1 {
				return w.to.Append(ps[0])
			}
			return w.to.AppendBatch(ps)
		},
		effect: func(m *Mark) (wal.LSN, error) {
			here := slices.Clone(runs)
			for i := range here {
				here[i].from = m.begun + 1 + wal.LSN(i)
			}
			next := m.begin(n, here)
			*m = *next
			return m.begun, nil
		},
	}
}

// frontCall cuts some of the first records away, or all.
func (w *work) frontCall(now *Mark) *call {
	lsn := now.front + wal.LSN(w.rng.Uint64N(uint64(now.appended-now.front+2)))
	var before wal.LSN
	return &call{
		name: fmt.Sprintf("truncate the front to %d", lsn),
		do:   none(func() error { return w.log.TruncateFront(lsn) }), begin: func(m *Mark) { before = m.appended },
		effect: func(m *Mark) (wal.LSN, error) {
			if lsn > m.begun+1 {
				return 0, wal.ErrNotFound
			}
			if lsn > m.front {
				m.front = lsn
				m.durable = max(m.durable, lsn-1)
				m.made(before)
			}
			return 0, nil
		},
	}
}

// backCall cuts some of the last records away, or all.
func (w *work) backCall(now *Mark) *call {
	lsn := now.appended - wal.LSN(w.rng.Uint64N(uint64(min(now.appended-now.front+1, 6)+1)))
	return &call{
		name: fmt.Sprintf("truncate the back to %d", lsn),
		do:   none(func() error { return w.log.TruncateBack(lsn) }),
		effect: func(m *Mark) (wal.LSN, error) {
			switch {
			case lsn > m.begun:
				return 0, wal.ErrNotFound
			case lsn+1 < m.front:
				return 0, wal.ErrTruncated
			}
			m.end(lsn)
			m.reused = true
			return 0, nil
		},
	}
}

// readCall reads the log from its first record to its last.
func (w *work) readCall(m *meeting) *call {
	lends := w.rng.IntN(2) == 0
	c := &call{name: "read", effect: func(*Mark) (wal.LSN, error) { return 0, nil }}
	c.do = none(func() error { return m.read(lends, func() {}) })
	return c
}

// makeReading is make for a reading, during which the second call begins at a record.
func (m *meeting) makeReading(nth int, begin func(alone bool)) error {
	lends := m.w.rng.IntN(2) == 0
	if now := m.w.mark(); m.w.rng.IntN(4) > 0 { // or near the log's end, where records are cut away
		nth = max(1, int(now.appended+2-now.front)-m.w.rng.IntN(2))
	}
	m.begin(0)
	err := m.read(lends, func() {
		if nth--; nth == 0 {
			begin(!lends) // then nothing waits for the reader
		}
	})
	return m.end(0, 0, err)
}

// read reads the log, and checks what it is given. It calls before ahead of each record, with
// a reader that holds the record before it, if it lends.
func (m *meeting) read(lends bool, before func()) error {
	must := m.w.mark() // of the worlds the one in which nothing has happened yet, or one of those
	r := m.w.log.Reader(0)
	if lends {
		r = r.ZeroCopy()
	}
	last := wal.LSN(0)
	for {
		before()
		worlds, later := m.w.mark().worlds(), m.unfolded()
		if !r.Next() {
			return m.readEnd(must, last, worlds, errors.Join(r.Err(), r.Close()))
		}
		if last != 0 && r.LSN() != last+1 {
			return errors.Join(illegal("a reader was given record %d behind record %d", r.LSN(), last), r.Close())
		}
		last = r.LSN()
		s := seen{last, Sum(r.Record())}
		worlds = append(worlds, m.since(later)...)
		if !slices.ContainsFunc(worlds, func(m *Mark) bool { return m.holds(s) }) {
			return errors.Join(&campaign.Broken{
				Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf("a reader was given what is not record %d", last),
			}, r.Close())
		}
	}
}

// readEnd checks how a reading ended that was given records up to last, of a log that was one
// of these worlds.
func (m *meeting) readEnd(must *Mark, last wal.LSN, worlds []*Mark, err error) error {
	cutAway := last != 0 && !slices.ContainsFunc(worlds, func(m *Mark) bool { return last <= m.begun && last+1 >= m.front })
	switch {
	case err == nil && cutAway:
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C9", What: fmt.Sprintf("a reader that was given record %d was not told of a cut", last)}
	case m.cuts && (err == nil || errors.Is(err, wal.ErrTruncated)):
		return nil
	case err == nil && max(last, must.front-1) < must.appended:
		return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: fmt.Sprintf("a reader ended behind record %d, and %d was appended", last, must.appended)}
	}
	return err
}

// unfolded returns how many worlds there have been.
func (m *meeting) unfolded() int {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return len(m.worlds)
}

// since returns the worlds that there have been besides so many.
func (m *meeting) since(n int) []*Mark {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return slices.Clone(m.worlds[n:])
}

// seen is a record that a reader was given.
type seen struct {
	lsn wal.LSN
	sum uint64
}

// holds reports whether a log that is m has a record.
func (m *Mark) holds(s seen) bool {
	runs := between(m.runs, s.lsn, s.lsn)
	if len(runs) == 0 || s.lsn < m.front || s.lsn > m.begun {
		return false
	}
	if sum := runs[0].sum; sum != 0 {
		return sum == s.sum
	}
	return Sum(runs[0].record(uint64(s.lsn))) == s.sum
}
