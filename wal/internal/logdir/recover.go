package logdir

import (
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// options adds what the lock file says to what recovery is asked for.
func (n Identity) options(o recovery.Options) recovery.Options {
	o.UUID, o.Newest = n.UUID, n.Newest
	return o
}

// Recover recovers the log that a directory's segments hold. known is what its lock
// file says. It is the only caller of recovery, with Survey, beside that package's tests:
// what the lock file says is missing is found here. Open, the scans of Verify and Dump,
// LogReader and the crash lab end up here, each with files of its own kind.
func Recover(known Identity, files []recovery.File, o recovery.Options) (*recovery.Result, error) {
	res, err := recovery.Recover(files, known.options(o))
	if err == nil {
		noteAllMissing(known, res)
	}
	return res, err
}

// Survey is Recover by the heads alone.
func Survey(known Identity, files []recovery.File) (*recovery.Result, error) {
	res, err := recovery.Survey(files, known.options(recovery.Options{}))
	if err == nil {
		noteAllMissing(known, res)
	}
	return res, err
}

// NoLog reports whether a directory holds no log: it is empty, or a crash
// ended the birth of one. Open makes one there.
func NoLog(known Identity, r *recovery.Result) bool {
	return known.UUID == (frame.UUID{}) && allTemporary(r) && !r.UsedTemp
}

// noteAllMissing adds the damage that no segment can show: the lock file says
// that there was one, or a temporary file that was a segment before. A new log is named there,
// and its segments are used again, only when its first segment is durable under
// its final name, so that a creation that a crash ended does not look like this. How many
// records are lost is known where the lock file has a checkpoint.
func noteAllMissing(known Identity, r *recovery.Result) {
	if NoLog(known, r) || !allTemporary(r) {
		return
	}
	r.Verdict = recovery.Damaged
	d := recovery.Damage{
		File: FinalName(max(1, known.Newest.Ordinal)), Gap: true,
		Reason: "missing: the directory held a log, and all of its segments are gone",
	}
	if c := known.Newest; c == (frame.Checkpoint{}) {
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
