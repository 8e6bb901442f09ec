package seam

// Wrong is a set of ways in which a log can be wrong, a bit each. The crash lab has
// to find every one of them, to be believed when it finds nothing. Zero is the log
// as it is.
//
// Mostly a step or a check is left out at its place, by a condition with Has. What a wrong
// log does instead, where that is more, is in wrong.go of package wal. Recovery learns of its
// ways by recovery.Options.Wrong, the rest of the log by WrongOf its tracer, when it is
// opened. A further way needs a name here and in package waltest, its condition, and a
// variant in crashtest/selftest that is found by it.
//
// The conditions of package wal are in open_resume.go and lock.go for those of opening, in
// cut.go, truncate_front.go and segment_recycle.go for those of cuts, in checkpoint.go,
// sync.go, commit.go and log.go for those of syncs, and in reader_inprocess.go.
type Wrong uint32

// The ways. Those of recovery come first, then those of opening, of cuts, of syncs
// and of readers.
const (
	LinkUnchecked      Wrong = 1 << iota // a frame need not be chained to the one before it
	PayloadUnchecked                     // only a frame's header is checked
	BatchHalf                            // a batch may end anywhere
	RemainsAccepted                      // what a cut left behind counts as records
	StaleAccepted                        // a frame of another LSN counts as the next record, and recycled segments are not wiped
	WatermarkUnchecked                   // what is missing below the watermark counts as torn
	EpochFalls                           // Open goes on in the first epoch
	Unlocked                             // Open does not ask whether a segment has a writer
	FrontUnnamed                         // Open removes files, and does not name the front in one that stays
	CutUnrecorded                        // a cut is recorded only when it is done
	EpochStays                           // a cut does not begin a new epoch
	TailNotZeroed                        // what lies behind a cut stays there
	FrontUnlinksFirst                    // files go before the new front is durable
	SlotInPlace                          // a checkpoint overwrites the newest slot, not the older one
	WatermarkEarly                       // a checkpoint is recorded before the sync
	FilesUnchecked                       // nobody looks after a sync whether the files are whole
	PoisonForgotten                      // a log goes on after a failed sync
	FollowersEarly                       // a Commit returns with the round that it found in progress
	CutUnseen                            // a Reader goes on with what was cut away
)

// Has reports whether the log is wrong in that way or, of several, in one of them.
func (w Wrong) Has(way Wrong) bool { return w&way != 0 }

// Wronged is a tracer that has the log be wrong. Package waltest makes it.
type Wronged interface{ LabWrong() Wrong }

// WrongOf returns how a log with that tracer is to be wrong: 0 but in the crash lab.
func WrongOf(tracer any) Wrong {
	if t, ok := tracer.(Wronged); ok {
		return t.LabWrong()
	}
	return 0
}
