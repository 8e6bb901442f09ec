package waltest

import (
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// Wrong is a set of ways in which a log is wrong: what the crash lab must find, to be
// believed when it finds nothing. Zero is the log as it is. Package seam, where the ways are
// defined, is internal to the log, and this package is the only way to it for others.
type Wrong = seam.Wrong

// The ways. Those of recovery come first, then those of opening, of cuts, of syncs
// and of readers.
const (
	LinkUnchecked      = seam.LinkUnchecked      // a frame need not be chained to the one before it
	PayloadUnchecked   = seam.PayloadUnchecked   // only a frame's header is checked
	BatchHalf          = seam.BatchHalf          // a batch may end anywhere
	RemainsAccepted    = seam.RemainsAccepted    // what a cut left behind counts as records
	StaleAccepted      = seam.StaleAccepted      // a frame of another LSN counts as the next record, and recycled segments are not wiped
	WatermarkUnchecked = seam.WatermarkUnchecked // what is missing below the watermark counts as torn
	EpochFalls         = seam.EpochFalls         // Open goes on in the first epoch
	Unlocked           = seam.Unlocked           // Open does not ask whether a segment has a writer
	FrontUnnamed       = seam.FrontUnnamed       // Open removes files, and does not name the front in one that stays
	CutUnrecorded      = seam.CutUnrecorded      // a cut is recorded only when it is done
	EpochStays         = seam.EpochStays         // a cut does not begin a new epoch
	TailNotZeroed      = seam.TailNotZeroed      // what lies behind a cut stays there
	FrontUnlinksFirst  = seam.FrontUnlinksFirst  // files go before the new front is durable
	SlotInPlace        = seam.SlotInPlace        // a checkpoint overwrites the newest slot, not the older one
	WatermarkEarly     = seam.WatermarkEarly     // a checkpoint is recorded before the sync
	FilesUnchecked     = seam.FilesUnchecked     // nobody looks after a sync whether the files are whole
	PoisonForgotten    = seam.PoisonForgotten    // a log goes on after a failed sync
	FollowersEarly     = seam.FollowersEarly     // a Commit returns with the round that it found in progress
	CutUnseen          = seam.CutUnseen          // a Reader goes on with what was cut away
)

// OpenWrong is wal.Open of a log that is wrong, from its recovery on and as long as it is open.
func OpenWrong(dir string, o wal.Options, w Wrong) (*wal.Log, error) {
	o.Tracer = &wrongTracer{Tracer: o.Tracer, wrong: w}
	return wal.Open(dir, o)
}

// RecoverWrong is Recover by a log that is wrong. Only those ways count that are recovery's
// own; the others change nothing here.
func RecoverWrong(files map[string][]byte, w Wrong, visit func(lsn wal.LSN, payload []byte) error) (Recovered, error) {
	return recoverFiles(files, recovery.Options{Wrong: w}, visit)
}

// wrongTracer is another tracer that has the log be wrong, too. It may be none. It hands on
// what that other one can do, its random bytes included, so that a wrong log can be replayed
// like any other.
type wrongTracer struct {
	durability.Tracer
	wrong Wrong
}

// Trace implements durability.Tracer.
func (t *wrongTracer) Trace(e durability.Event) {
	if t.Tracer != nil {
		t.Tracer.Trace(e)
	}
}

// LabWrong implements seam.Wronged.
func (t *wrongTracer) LabWrong() Wrong { return t.wrong }

// LabRandom implements seam.Random.
func (t *wrongTracer) LabRandom(b []byte) bool {
	r, ok := t.Tracer.(seam.Random)
	return ok && r.LabRandom(b)
}
