//go:build linux

package seawall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// The situations of busy lives, as a campaign counts them. Zero is none.
const (
	besideFront = iota + 1
	besideAll
	besideReset
	besideSync
	besideCheckpoint
	besideClose
	besideBack
	namesLate
)

// situations are what reports call them.
var situations = []string{
	besideFront - 1:      "appends beside a front cut",
	besideAll - 1:        "appends beside a cut of all",
	besideReset - 1:      "appends beside a reset",
	besideSync - 1:       "appends beside a sync",
	besideCheckpoint - 1: "appends beside a checkpoint",
	besideClose - 1:      "appends refused by a close",
	besideBack - 1:       "appends that wait for a back cut",
	namesLate - 1:        "appends ahead of the names",
}

// busySteps are what busy lives do beside the steps of all: appends, some of which
// rotate, come between the syncs of other calls and run ahead of the names that
// segments get. A call of a quiet life ends before the next one begins.
var busySteps = []step{
	{name: "append beside a front cut", weight: 10, do: func(w *work) error { return w.frontBeside(false) }},
	{name: "append beside a cut of all", weight: 6, do: func(w *work) error { return w.frontBeside(true) }},
	{name: "append beside a reset", weight: 3, do: (*work).resetBeside},
	{name: "append beside a calm sync", weight: 5, do: (*work).syncBeside},
	{name: "append beside a checkpoint", weight: 6, do: (*work).checkpointBeside},
	{name: "append beside a close", weight: 4, do: (*work).closeBeside},
	{name: "append beside a back cut", weight: 4, do: (*work).backBeside},
	{name: "append ahead of the names", weight: 10, do: (*work).runAhead},
	{name: "truncate the front", weight: 3, cuts: true, do: (*work).truncateFront},
	{name: "truncate the back", weight: 3, cuts: true, do: (*work).truncateBack},
}

// busyOptions changes options for busy lives: an append that is synced waits for
// the call that it comes beside.
func busyOptions(o *wal.Options, n int) {
	if o.Sync == wal.SyncEach {
		o.Sync = wal.SyncManual
	}
	o.SegmentsAhead = 1 + n
}

// Sizes of records: so many of the large ones fit into an empty segment.
const (
	large   = 9000
	inEmpty = 4
)

// fill appends a few large records and, mostly, lets the segments that are to be
// ready get ready: appends beside a call may enter them.
func (w *work) fill() error {
	for n := w.rng.IntN(7); n > 0; n-- {
		if err := w.appendOne(large); err != nil {
			return err
		}
	}
	if w.rng.IntN(4) > 0 && w.life.Settle != nil {
		w.life.Settle()
	}
	if w.rng.IntN(2) == 0 {
		return w.sync(w.log.Sync(), "sync")
	}
	return nil
}

// burst is how appends come beside a call.
type burst struct {
	situation int
	sizes     []int
	err       error
}

// plan chooses the appends that come beside a call: so many as surely find room in
// the segments that are ready, since they must not wait for the call.
func (w *work) plan(situation int) *burst {
	b := &burst{situation: situation}
	n := min(inEmpty*w.log.Stats().Ready, 1+w.rng.IntN(8))
	for range n {
		size := large
		if w.rng.IntN(4) == 0 {
			size = w.rng.IntN(1000)
		}
		b.sizes = append(b.sizes, size)
	}
	return b
}

// beside does call, and has the burst come at one of the first syncs in it.
func (w *work) besideCall(b *burst, within int, call func() error) error {
	if len(b.sizes) > 0 {
		w.watch.arm(1+w.rng.IntN(within), func() { b.err = w.burst(b) })
	}
	err := call()
	w.watch.disarm()
	return errors.Join(err, b.err)
}

// burst appends what a burst has.
func (w *work) burst(b *burst) error {
	w.situate(b.situation)
	for _, size := range b.sizes {
		if err := w.appendOne(size); err != nil {
			return err
		}
	}
	return nil
}

// appendOne appends a record, and lets what that has woken come to its next
// operation: whatever the calling goroutine does then is the same each time.
func (w *work) appendOne(size int) error {
	err := w.append(size)
	w.pause()
	return err
}

// situate notes the situation from now on.
func (w *work) situate(situation int) {
	w.set(func(m *Mark) { m.situation = situation })
}

// frontBeside cuts the front away, or all, while appends come.
func (w *work) frontBeside(all bool) error {
	if err := w.fill(); err != nil {
		return err
	}
	first, last := w.log.FirstLSN(), w.log.LastLSN()
	situation, lsn := besideFront, first+wal.LSN(w.rng.Uint64N(uint64(last-first+2)))
	if all {
		situation, lsn = besideAll, last+1
	}
	if lsn <= first {
		return nil
	}
	err := w.besideCall(w.plan(situation), 8, func() error {
		return w.cut(fmt.Sprintf("truncate the front to %d", lsn), func() error { return w.log.TruncateFront(lsn) },
			func(m *Mark) {
				m.front, m.beside = lsn, true
				m.durable = max(m.durable, lsn-1)
			})
	})
	if err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, last) })
	}
	return err
}

// resetBeside empties the log while appends come, which it takes too. It lets none
// enter a segment, so that these must find room in the newest one.
func (w *work) resetBeside() error {
	b := &burst{situation: besideReset}
	if err := w.sync(w.log.Sync(), "sync"); err != nil {
		return err
	}
	if err := w.appendOne(w.rng.IntN(1000)); err != nil {
		return err
	}
	// The first sync of Reset has work to do, where no clock has it done before: in
	// the second one nothing can be appended. And it may fill a segment up to the
	// end of a folio.
	still := w.opts.Align != wal.AlignFolio && (w.life.Exact || w.opts.Sync == wal.SyncManual)
	const n, size, frames = 2, 100, 2048 // with their headers, and a mark
	if m := w.mark(); still && m.appended > m.durable && w.watch.room(w.opts.SegmentBytes) > frames {
		b.sizes = slices.Repeat([]int{size}, n)
	}
	return w.besideCall(b, 1, w.reset)
}

// syncBeside syncs while appends come, which the sync does not cover.
func (w *work) syncBeside() error { return w.ackBeside(besideSync, "sync", w.log.Sync) }

// checkpointBeside does the same with a checkpoint.
func (w *work) checkpointBeside() error {
	return w.ackBeside(besideCheckpoint, "checkpoint", w.log.Checkpoint)
}

// ackBeside calls what acknowledges all that was appended before.
func (w *work) ackBeside(situation int, what string, call func() error) error {
	if err := w.fill(); err != nil {
		return err
	}
	if err := w.appendOne(w.size()); err != nil {
		return err
	}
	before := w.log.LastLSN()
	if err := w.besideCall(w.plan(situation), 6, call); err != nil {
		return broken(what, err)
	}
	w.set(func(m *Mark) { m.durable, m.situation = max(m.durable, before), 0 })
	return nil
}

// closeBeside closes the log while somebody tries to append, and opens it again.
func (w *work) closeBeside() error {
	if err := w.appendOne(w.size()); err != nil {
		return err
	}
	var refused error
	w.watch.arm(1+w.rng.IntN(6), func() {
		w.situate(besideClose)
		if _, refused = w.log.Append(make([]byte, large)); errors.Is(refused, wal.ErrClosed) {
			refused = nil
		} else {
			refused = broken("append while the log is closed", fmt.Errorf("%w, want %w", refused, wal.ErrClosed))
		}
	})
	err := w.log.Close()
	w.watch.disarm()
	if err = w.sync(errors.Join(err, refused), "close"); err != nil {
		return err
	}
	return w.reopen()
}

// backBeside cuts a few records away at the back. Nothing that is appended comes
// between the syncs of that: an append waits for its end, and comes at once then.
func (w *work) backBeside() error {
	if err := w.fill(); err != nil {
		return err
	}
	if err := w.truncateBack(); err != nil {
		return err
	}
	w.situate(besideBack)
	b := w.plan(besideBack)
	b.sizes = append(b.sizes, w.size())
	err := w.burst(b)
	w.situate(0)
	return err
}

// runAhead appends over several segments, whose names come late, and lets them
// come. An append waits for a segment, never for its name; so many are far fewer
// than may lack one.
func (w *work) runAhead() error {
	before := []durability.Op{durability.OpRename, durability.OpSync}[w.rng.IntN(2)]
	open := w.watch.shut(before)
	defer open()
	ready := inEmpty * w.log.Stats().Ready // these have their names, or most of them
	for n := range ready + inEmpty + w.rng.IntN(3*inEmpty) {
		if n == ready {
			w.situate(namesLate)
		}
		if err := w.appendOne(large); err != nil {
			return err
		}
	}
	w.watch.onNamed(func() {
		w.watch.onNamed(nil)
		w.situate(0)
	})
	open()
	return nil
}
