package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/seawall-wal/seawall/durability"
)

// RepairOptions say how a log is repaired.
type RepairOptions struct {
	// Force cuts the log at damage: acknowledged records behind it are given
	// up. Without it, damage is a *CorruptError and nothing is changed.
	Force bool
	// DryRun changes nothing: the report says what a repair would find, where it
	// would cut the log (LastLSN), and which acknowledged records it would give up
	// (Lost). The error is the one that the repair would return because of that.
	DryRun bool
	// SaveTo is a directory in which what is removed is saved, in a new numbered
	// directory below it, in place of the log's own: another filesystem may have space
	// where that of the log has none. It is made if need be.
	SaveTo string
	// NoSave saves nothing: what is removed is gone for good.
	NoSave bool
	// Logger and Tracer are those of Options.
	Logger *slog.Logger
	Tracer durability.Tracer
}

// Repair trims a torn tail, as Open does, and with Force cuts the log at its
// first damage. What it removes it saves first, durably, in the log's directory lost;
// where that fails, nothing is changed. The report says what was found, what was
// removed, and where it was saved.
//
// A clean log is left alone. Repair needs the log for itself: ErrLocked
// otherwise. It returns what Open returns.
func Repair(dir string, o RepairOptions) (*Report, error) {
	opts, err := Options{Logger: o.Logger, Tracer: o.Tracer}.withDefaults()
	if err != nil {
		return nil, err
	}
	// A scan comes first, since Open does not read the whole log: damage in an old segment is
	// found only here. It takes no lock and changes nothing, so that a dry run ends with it.
	k := scan{all: true, plan: o.DryRun && o.Force}
	rep, err := k.run(dir)
	if err != nil {
		return nil, err
	}
	if rep.Verdict == Damaged && !o.Force {
		return rep, newCorruptError(dir, rep.Damage)
	}
	if o.DryRun && rep.Live {
		return rep, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if o.DryRun {
		return rep, nil
	}
	// Open reads no farther back than it has to; what Verify found may lie before.
	from := max(1, rep.LastLSN)
	for _, s := range rep.Segments {
		if s.FirstLSN != 0 && slices.ContainsFunc(rep.Damage, func(d Damage) bool { return d.File == s.Name }) {
			from = min(from, s.FirstLSN)
		}
	}
	// What openDir finds counts, since it has locked the log: a writer that was at work during
	// the scan may have changed it, or have been the cause of what looked wrong.
	l, err := openDir(dir, opts, repairMode{
		force: o.Force, save: true, saveTo: o.SaveTo, noSave: o.NoSave, idle: true, from: from,
	})
	if errors.Is(err, errClean) {
		rep.Live = false
		return rep, nil
	}
	var damaged *CorruptError
	if errors.As(err, &damaged) {
		return rep, err
	}
	if err != nil {
		return nil, err
	}
	// The log is ended as Close ends it, but that no goroutine has to be waited for: the
	// checkpoint makes durable what resume has stored last, the stamp of a new log included.
	found := l.Recovery()
	l.stop()
	l.closing.Store(true)
	if err := errors.Join(l.checkpoint(true), l.release()); err != nil {
		return &found, err
	}
	return &found, nil
}
