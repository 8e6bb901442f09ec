package wal

import (
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// judgeFiles judges the segments of a directory whose lock file names that log,
// or none. Whoever judges one asks here.
func judgeFiles(known frame.UUID, files []recovery.File, o recovery.Options) (*recovery.Result, error) {
	o.UUID = known
	res, err := recovery.Recover(files, o)
	if err == nil && known != (frame.UUID{}) {
		noteAllMissing(res)
	}
	return res, err
}

// neverWas reports whether a directory holds no log: it is empty, or a crash
// ended the birth of one. Open makes one there.
func neverWas(known frame.UUID, r *recovery.Result) bool {
	return known == (frame.UUID{}) && allTemporary(r)
}

// noteAllMissing adds the damage that no segment can show: the lock file says
// that there was one.
func noteAllMissing(r *recovery.Result) {
	if !allTemporary(r) {
		return
	}
	r.Verdict = recovery.Damaged
	r.Damage = append(r.Damage, recovery.Damage{
		File: finalName(1), Gap: true, Unknown: true, Reason: "missing: the directory held a log, and all of its segments are gone",
	})
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
