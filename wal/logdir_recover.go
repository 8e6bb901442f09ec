package wal

import (
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// options adds what the lock file says to what a judgement is asked for.
func (n lockNote) options(o recovery.Options) recovery.Options {
	o.UUID, o.Newest = n.uuid, n.newest
	return o
}

// judgeFiles judges the segments of a directory whose lock file says that, or
// nothing. Whoever judges one asks here.
func judgeFiles(known lockNote, files []recovery.File, o recovery.Options) (*recovery.Result, error) {
	res, err := recovery.Recover(files, known.options(o))
	if err == nil {
		noteAllMissing(known, res)
	}
	return res, err
}

// neverWas reports whether a directory holds no log: it is empty, or a crash
// ended the birth of one. Open makes one there.
func neverWas(known lockNote, r *recovery.Result) bool {
	return known.uuid == (frame.UUID{}) && allTemporary(r)
}

// holdsNone returns the error for a directory without a log. An empty lock file is
// what is left of the birth of one that failed, for want of space perhaps.
func holdsNone(path string, locked bool) error {
	if locked {
		return fmt.Errorf("%w: %s holds no segment, and its %s names no log, as a creation that failed leaves it", ErrMissing, path, lockName)
	}
	return fmt.Errorf("%w: %s holds no segment", ErrMissing, path)
}

// noteAllMissing adds the damage that no segment can show: the lock file says
// that there was one.
func noteAllMissing(known lockNote, r *recovery.Result) {
	if known.uuid == (frame.UUID{}) || !allTemporary(r) {
		return
	}
	r.Verdict = recovery.Damaged
	d := recovery.Damage{
		File: finalName(max(1, known.newest.Ordinal)), Gap: true,
		Reason: "missing: the directory held a log, and all of its segments are gone",
	}
	if c := known.newest; c == (frame.Checkpoint{}) {
		d.Unknown = true
	} else {
		if c.Watermark >= c.Front {
			d.First, d.Last = c.Front, c.Watermark
		}
		// The same range, of no file.
		r.Damage = slices.DeleteFunc(r.Damage, func(other recovery.Damage) bool { return other.First != 0 })
	}
	r.Damage = append(r.Damage, d)
}

// allTemporary reports whether no segment ever got its final name: the
// directory is empty, or a crash ended the birth of its log.
func allTemporary(r *recovery.Result) bool {
	for _, s := range r.Segments {
		if s.State != recovery.StateTemporary {
			return false
		}
	}
	return true
}
