//go:build linux

package seawall

import (
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
		"append", "batch", "rotation", "sync", "commit", "checkpoint", "front cut", "back cut", "reset", "close", "read", "lend",
	}

	// With SyncEach there is nothing left for a sync to do, and an append waits for the name of
	// the segment that it enters, which no other call may wait for.
	notWithSyncEach = []string{"sync", "commit", "preparation"}
)

// pairs returns the names of all pairs, and of all calls in a shortage.
func pairs() (names []string) {
	for _, first := range firstCalls {
		for _, second := range secondCalls {
			names = append(names, pairName(first, second))
		}
	}
	for i := range shortages {
		for _, name := range scarceCalls() {
			names = append(names, scarceName(name, &shortages[i]))
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
	all := w.meetings()
	w.rng.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	if w.life.Known != nil {
		all = all[:shortLife]
	}
	for _, do := range all {
		if err := do(); err != nil {
			return errors.Join(err, w.log.Close())
		}
	}
	return w.end()
}

// meetings returns all that a life of pairs does.
func (w *work) meetings() (all []func() error) {
	for _, first := range firstCalls {
		if w.opts.Sync == wal.SyncEach && slices.Contains(notWithSyncEach, first) {
			continue
		}
		for _, second := range secondCalls {
			all = append(all, func() error { return w.pair(first, second) })
		}
	}
	for i := range shortages {
		for _, name := range scarceCalls() {
			all = append(all, func() error { return w.scarce(&shortages[i], name) })
		}
	}
	return all
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
			return prefixed(name, err)
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
	w     *work
	calls [2]*call // the first is nil where it is a preparation
	begun [2]bool
}

// tryPair makes a first call, and the second at its nth operation, if it has as many.
func (w *work) tryPair(first, second string, nth int) (met bool, err error) {
	if err = w.beforeCalls(first == "rotation" || second == "rotation" || first == "preparation"); err != nil {
		return false, err
	}
	m := &meeting{w: w}
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
	case "read", "lend":
		err = m.makeReading(first == "lend", nth, begin)
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

// beforeCalls appends what calls may cut away or sync, and fills the segment up where one of
// them is to go on in the next.
func (w *work) beforeCalls(up bool) error {
	if err := w.fill(); err != nil {
		return err
	}
	if up {
		if err := w.fillUp(); err != nil {
			return err
		}
	}
	return w.appendOne(w.size()) // there is something to sync in any case
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
// come as far as it can. Where none came so far, that is not begun.
func (w *work) duringPreparation(begin func()) error {
	there, open := w.watch.shut([]durability.Op{durability.OpRename, durability.OpSync}[w.rng.IntN(2)])
	defer open()
	for end := time.Now().Add(mostPreparation); time.Now().Before(end); {
		select {
		case <-there:
			begin()
			open()
			return nil
		case <-time.After(mostPreparation / 100_000):
		}
		if w.log.Stats().Ready > 0 { // entering one has the log prepare another; where none is, it is about to
			if err := w.append(large); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostPreparation is how long a segment's preparation may take to come to where it is stopped:
// it waits for nothing but the disk.
const mostPreparation = 10 * time.Second
