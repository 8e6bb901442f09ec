//go:build linux

package seawall

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// The situations of busy lives, as a campaign counts them. Zero is none.
const (
	duringFront = iota + 1
	duringAll
	duringReset
	duringSync
	duringCheckpoint
	duringClose
	duringBack
	namesLate
	duringRound
)

// situations are what reports call them.
var situations = []string{
	duringFront - 1:      "appends during a front cut",
	duringAll - 1:        "appends during a cut of all",
	duringReset - 1:      "appends during a reset",
	duringSync - 1:       "appends during a sync",
	duringCheckpoint - 1: "appends during a checkpoint",
	duringClose - 1:      "appends refused by a close",
	duringBack - 1:       "appends that wait for a back cut",
	namesLate - 1:        "appends ahead of the names",
	duringRound - 1:      "commits that find a sync in progress",
}

// busySteps are what busy lives do besides the steps of all lives: appends, some of which
// rotate, come between the syncs of other calls and run ahead of the names that
// segments get. A call of a quiet life ends before the next one begins.
var busySteps = []step{
	{name: "append during a front cut", weight: 10, do: func(w *work) error { return w.appendDuringFront(false) }},
	{name: "append during a cut of all", weight: 6, do: func(w *work) error { return w.appendDuringFront(true) }},
	{name: "append during a reset", weight: 3, do: (*work).appendDuringReset},
	{name: "append during a calm sync", weight: 5, do: (*work).appendDuringSync},
	{name: "append during a checkpoint", weight: 6, do: (*work).appendDuringCheckpoint},
	{name: "append during a close", weight: 4, do: (*work).appendDuringClose},
	{name: "append during a back cut", weight: 4, do: (*work).appendDuringBack},
	{name: "commit during a sync", weight: 4, do: (*work).commitDuringSync},
	{name: "append ahead of the names", weight: 10, do: (*work).runAhead},
	{name: "truncate the front", weight: 3, cuts: true, do: (*work).truncateFront},
	{name: "truncate the back", weight: 3, cuts: true, do: (*work).truncateBack},
}

// busyOptions changes options for busy lives: an append that is synced waits for
// the call during which it comes.
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
// ready get ready: appends during a call may enter them.
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

// fillUp appends so much that the next large record goes on in the next segment.
func (w *work) fillUp() error {
	left := w.watch.spaceLeft(w.opts.SegmentBytes)
	if left <= large {
		return nil
	}
	size := left - large/2
	for size > 0 && left > large {
		n := min(size, large)
		if err := w.appendOne(int(n)); err != nil {
			return err
		}
		size, left = size-n, left-frame.Size(n)
	}
	return nil
}

// burst is the appends that come during a call.
type burst struct {
	situation int
	sizes     []int
	err       error
}

// plan chooses the appends that come during a call: so many as surely fit into
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

// duringCall does call, and has the burst come at one of the first syncs in it.
func (w *work) duringCall(b *burst, within int, call func() error) error {
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

// appendDuringFront cuts the front away, or all, while appends come.
func (w *work) appendDuringFront(all bool) error {
	if err := w.fill(); err != nil {
		return err
	}
	if w.rng.IntN(2) == 0 {
		if err := w.fillUp(); err != nil {
			return err
		}
	}
	first, last := w.log.FirstLSN(), w.log.LastLSN()
	situation, lsn := duringFront, first+wal.LSN(w.rng.Uint64N(uint64(last-first+2)))
	if all {
		situation, lsn = duringAll, last+1
	}
	if lsn <= first {
		return nil
	}
	err := w.duringCall(w.plan(situation), 8, func() error {
		return w.cut(fmt.Sprintf("truncate the front to %d", lsn), func() error { return w.log.TruncateFront(lsn) },
			func(m *Mark) {
				m.front, m.altGrows = lsn, true
				m.durable = max(m.durable, lsn-1)
			})
	})
	if err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, last) })
	}
	return err
}

// appendDuringReset empties the log while appends come, which it takes too. It lets none
// enter a segment, so that these must fit into the newest one.
func (w *work) appendDuringReset() error {
	b := &burst{situation: duringReset}
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
	if m := w.mark(); still && m.appended > m.durable && w.watch.spaceLeft(w.opts.SegmentBytes) > frames {
		b.sizes = slices.Repeat([]int{size}, n)
	}
	return w.duringCall(b, 1, w.reset)
}

// appendDuringSync syncs while appends come, which the sync does not cover.
func (w *work) appendDuringSync() error { return w.appendDuringAck(duringSync, "sync", w.log.Sync) }

// appendDuringCheckpoint does the same with a checkpoint.
func (w *work) appendDuringCheckpoint() error {
	return w.appendDuringAck(duringCheckpoint, "checkpoint", w.log.Checkpoint)
}

// appendDuringAck calls what acknowledges all that was appended before.
func (w *work) appendDuringAck(situation int, what string, call func() error) error {
	if err := w.fill(); err != nil {
		return err
	}
	if err := w.appendOne(w.size()); err != nil {
		return err
	}
	before := w.log.LastLSN()
	if err := w.duringCall(w.plan(situation), 6, call); err != nil {
		return broken(what, err)
	}
	w.set(func(m *Mark) { m.durable, m.situation = max(m.durable, before), 0 })
	return nil
}

// commitDuringSync syncs while another goroutine appends, and waits until that is
// durable: it finds the sync in progress, which does not cover its record.
func (w *work) commitDuringSync() error {
	if err := w.appendOne(w.size()); err != nil {
		return err
	}
	before, size := w.log.LastLSN(), w.rng.IntN(1000)
	committed := make(chan error, 1)
	begun := false
	w.watch.arm(1, func() {
		w.situate(duringRound)
		begun = true
		go func() { committed <- w.appendAndCommit(size) }()
		w.pause()
	})
	err := w.log.Sync()
	w.watch.disarm()
	if err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, before) })
	} else {
		err = broken("sync", err)
	}
	if begun {
		err = errors.Join(err, <-committed)
	}
	w.situate(0)
	return err
}

// appendAndCommit appends a record and waits until it is durable.
func (w *work) appendAndCommit(size int) error {
	if err := w.append(size); err != nil {
		return err
	}
	lsn := w.mark().appended
	if err := w.log.Commit(context.Background(), lsn); err != nil {
		return broken(fmt.Sprintf("commit of record %d", lsn), err)
	}
	w.set(func(m *Mark) { m.durable = max(m.durable, lsn) })
	return nil
}

// appendDuringClose closes the log while another goroutine tries to append, and opens it again.
func (w *work) appendDuringClose() error {
	if err := w.appendOne(w.size()); err != nil {
		return err
	}
	var refused error
	w.watch.arm(1+w.rng.IntN(6), func() {
		w.situate(duringClose)
		if _, refused = w.log.Append(make([]byte, large)); errors.Is(refused, wal.ErrClosed) {
			refused = nil
		} else {
			refused = broken("append while the log is closed", fmt.Errorf("%w, want %w", refused, wal.ErrClosed))
		}
	})
	w.doing("close")
	err := w.log.Close()
	w.watch.disarm()
	if err = w.sync(errors.Join(err, refused), "close"); err != nil {
		return err
	}
	return w.reopen()
}

// appendDuringBack cuts a few records away at the back. Nothing that is appended comes
// between the syncs of that: an append waits for its end, and comes at once then.
func (w *work) appendDuringBack() error {
	if err := w.fill(); err != nil {
		return err
	}
	if err := w.truncateBack(); err != nil {
		return err
	}
	w.situate(duringBack)
	b := w.plan(duringBack)
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
	_, open := w.watch.shut(before)
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
