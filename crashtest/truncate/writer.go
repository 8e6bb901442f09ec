//go:build linux

package truncate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// step is one call of the writer, as it tells of it.
type step struct {
	Doing string `json:"doing"`
	Began int64  `json:"began"` // readings of clock
	Ended int64  `json:"ended"`

	// The records that it appended, and that it was told to be durable, are behind From
	// and up to To.
	AppendedFrom wal.LSN `json:"appended_from"`
	AppendedTo   wal.LSN `json:"appended_to"`
	DurableFrom  wal.LSN `json:"durable_from"`
	DurableTo    wal.LSN `json:"durable_to"`

	Gen     uint64 `json:"gen"`
	Proved  bool   `json:"proved,omitempty"`  // the lock file says what is durable
	Delayed bool   `json:"delayed,omitempty"` // a sync in the background may have done it
}

// cutting is what the writer tells before a cut: the records that stay, if it is done.
type cutting struct {
	Front wal.LSN `json:"front"` // 0 for a cut at the back
	Back  wal.LSN `json:"back"`  // 0 for a cut at the front
}

// failed is how a process tells of an error.
type failed struct {
	Doing string `json:"doing"`
	When  int64  `json:"when"` // a reading of clock
	Text  string `json:"text"`
}

// segments are what the writer tells of its segments, whenever they change.
type segments []wal.Segment

// writer is the process that appends.
type writer struct {
	dir  string
	rng  *rand.Rand
	opts wal.Options
	gen  uint64
	ch   *changer
	tell func(word string, v any)
	open func(dir string, o wal.Options) (*wal.Log, error)

	log     *wal.Log
	began   int64   // when the last step did: a reading of clock
	durable wal.LSN // that was told
	told    int     // segments
	newest  string  // the last of them

	readers sync.WaitGroup
	stop    context.CancelFunc
}

// The steps of a life: before the follower comes, while it follows, and after the log
// was opened again.
const (
	stepsBefore = 30
	stepsBeside = 70
	stepsAgain  = 25
)

// beWriter lives the writer's life. It ends without an error, whatever the log says: that
// is told. An error is one of the lab.
func beWriter(args *childArgs, s subject, in io.Reader) error {
	tell := teller()
	w := &writer{
		dir: args.Dir, rng: rand.New(rand.NewPCG(args.Plan.Seed, 0)), tell: tell, open: s.open,
		ch: &changer{plan: args.Plan, dir: args.Dir, me: byWriter, tell: tell},
	}
	policies := []wal.SyncPolicy{wal.SyncManual, wal.SyncEach, wal.SyncEach, wal.SyncEvery(time.Millisecond)}
	w.opts = wal.Options{
		SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1 + w.rng.IntN(2), FillBytes: 4096,
		Align: wal.Align(w.rng.IntN(3)), Sync: policies[w.rng.IntN(len(policies))], Tracer: w.ch,
	}
	defer durabilitytest.InjectDir(w.dir, w.ch.hook)()
	if err := w.life(bufio.NewReader(in)); err != nil {
		w.tell("failed", failed{Doing: w.ch.doing, When: clock(), Text: oneLine(err)})
	}
	w.ch.finally()
	return nil
}

// oneLine returns an error's words without line breaks.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// life opens the log, appends, and closes it, twice. It returns the first error of the
// log.
func (w *writer) life(in *bufio.Reader) error {
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.steps(stepsBefore, false); err != nil {
		return w.failed(err)
	}
	w.tell("ready", nil)
	if _, err := in.ReadString('\n'); err != nil { // the lab gives it up
		return errors.Join(err, w.end())
	}
	w.ch.begin()
	if err := w.steps(stepsBeside, true); err != nil {
		return w.failed(err)
	}
	if err := w.end(); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.steps(stepsAgain, true); err != nil {
		return w.failed(err)
	}
	w.ch.finally()
	return w.end()
}

// failed closes the log after a call that failed, and returns why that did. Where it has
// poisoned the log, it tells of each further call that succeeds: none may.
func (w *writer) failed(err error) error {
	if !errors.Is(err, wal.ErrPoisoned) {
		_ = w.end() // what it says is known
		return err
	}
	last := w.log.LastLSN()
	_, aerr := w.log.Append(recordOf(last+1, w.gen))
	calls := []struct {
		name string
		err  error
	}{
		{"an append", aerr},
		{"a sync", w.log.Sync()},
		{"a checkpoint", w.log.Checkpoint()},
		{"a cut at the front", w.log.TruncateFront(w.log.FirstLSN() + 1)},
		{"a cut at the back", w.log.TruncateBack(last)},
		{"a commit", w.commitNew()},
		{"a close", w.end()},
	}
	for _, c := range calls {
		if c.err == nil {
			w.tell("forgiven", c.name)
		}
	}
	return err
}

// commitNew commits the newest record that is not durable yet, if there is one.
func (w *writer) commitNew() error {
	if last := w.log.LastLSN(); last > w.log.DurableLSN() {
		return w.log.Commit(context.Background(), last)
	}
	return wal.ErrPoisoned // there is nothing to ask it for
}

// begin opens the log, and sets a reader to work in this process.
func (w *writer) begin() (err error) {
	w.ch.now(doingOpen)
	if w.log, err = w.open(w.dir, w.opts); err != nil {
		return err
	}
	w.gen++
	w.durable = w.log.DurableLSN()
	w.tellSegments()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	for _, lent := range []bool{false, true} {
		w.readers.Go(func() {
			f := &follower{ctx: ctx, tell: w.tell, who: "a reader of the writer's process", lent: lent}
			f.follow(func(from wal.LSN) *wal.Reader {
				if lent {
					return w.log.Reader(from).ZeroCopy()
				}
				return w.log.Reader(from)
			})
		})
	}
	return nil
}

// end closes the log. Its readers end before it does.
func (w *writer) end() error {
	// A call that failed may have acknowledged something before it did.
	if durable := w.log.DurableLSN(); durable > w.durable {
		w.tell("step", step{
			Doing: doingSync, Began: w.began, Ended: clock(), AppendedFrom: w.log.LastLSN(), AppendedTo: w.log.LastLSN(),
			DurableFrom: w.durable, DurableTo: durable, Gen: w.gen, Delayed: true,
		})
		w.durable = durable
	}
	w.ch.now(doingClose)
	began, last := clock(), w.log.LastLSN()
	w.stop()
	w.readers.Wait()
	err := w.log.Close()
	if err == nil {
		w.tell("step", step{
			Doing: doingClose, Began: began, Ended: clock(), AppendedFrom: last, AppendedTo: last,
			DurableFrom: w.durable, DurableTo: last, Gen: w.gen, Proved: true,
		})
		w.durable = last
	}
	return err
}

// steps makes so many calls, cuts among them if it may. It returns the first error.
func (w *writer) steps(n int, cuts bool) error {
	for range n {
		if err := w.step(cuts); err != nil {
			return err
		}
	}
	return nil
}

// step makes one call, and tells of it.
func (w *writer) step(cuts bool) error {
	doing, call, proved := w.choose(cuts)
	w.ch.now(doing)
	w.began = clock()
	s := step{
		Doing: doing, Began: w.began, AppendedFrom: w.log.LastLSN(), DurableFrom: w.durable, Gen: w.gen, Proved: proved,
		Delayed: w.opts.Sync != wal.SyncManual && w.opts.Sync != wal.SyncEach,
	}
	if err := call(); err != nil {
		return err
	}
	if doing == doingCut { // what it left is what was there
		s.AppendedFrom, s.DurableFrom = w.log.LastLSN(), min(s.DurableFrom, w.log.LastLSN())
	}
	s.Ended, s.AppendedTo, s.DurableTo = clock(), w.log.LastLSN(), w.log.DurableLSN()
	w.durable = s.DurableTo
	w.tellSegments()
	w.tell("step", s)
	return nil
}

// choose chooses a call. proved says that the lock file tells afterwards what is durable.
func (w *writer) choose(cuts bool) (doing string, call func() error, proved bool) {
	first, last := w.log.FirstLSN(), w.log.LastLSN()
	switch n := w.rng.IntN(100); {
	case n < 8:
		return doingSync, w.log.Sync, false
	case n < 12:
		return doingSync, w.log.Checkpoint, true
	case n < 16 && cuts && last > first+30:
		return doingCut, func() error {
			w.tell("cutting", cutting{Front: last - 25})
			return w.log.TruncateFront(last - 25)
		}, false
	case n < 20 && cuts && last > first+5:
		return doingCut, func() error {
			w.tell("cutting", cutting{Back: last - 3})
			err := w.log.TruncateBack(last - 3)
			w.gen++
			return err
		}, false
	case n < 26 && last >= first:
		return doingRead, func() error { return w.get(first + wal.LSN(w.rng.Uint64N(uint64(last-first+1)))) }, false
	case n < 34:
		return doingAppend, func() error {
			_, err := w.log.AppendBatch([][]byte{recordOf(last+1, w.gen), recordOf(last+2, w.gen), recordOf(last+3, w.gen)})
			return err
		}, false
	}
	return doingAppend, func() error {
		_, err := w.log.Append(recordOf(last+1, w.gen))
		return err
	}, false
}

// get reads a record. That it cannot be read any more is told as a reader's error, and
// is not the end of the writer.
func (w *writer) get(lsn wal.LSN) error {
	p, err := w.log.Get(lsn)
	if err != nil {
		w.tell("reader failed", failed{Doing: "Get", When: clock(), Text: oneLine(err)})
		return nil
	}
	if _, ok := genOf(lsn, p); !ok {
		w.tell("other bytes", other{Who: "Get in the writer's process", LSN: lsn, When: clock()})
	}
	return nil
}

// tellSegments tells of the log's segments where they have changed.
func (w *writer) tellSegments() {
	list := w.log.Segments()
	if len(list) == 0 || len(list) == w.told && list[len(list)-1].Name == w.newest {
		return
	}
	w.told, w.newest = len(list), list[len(list)-1].Name
	w.tell("segments", segments(list))
}
