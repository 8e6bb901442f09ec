//go:build linux

package seawall

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

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

// setOptions chooses the options of the life.
func (w *work) setOptions() {
	w.opts = options(w.rng)
	if (w.life.Exact || w.subject.Paired) && w.opts.Sync != wal.SyncEach && w.opts.Sync != wal.SyncManual {
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
	}
	if w.busy || w.subject.Paired {
		w.watch = &watch{to: w.life.Tracer}
		w.opts.Tracer = w.watch
	}
	w.opts.OnDurable = w.acknowledge
	if w.subject.Refuse != nil {
		w.opts.Sync = wal.SyncManual
	}
	if w.stage != nil {
		w.killOptions()
	}
}
