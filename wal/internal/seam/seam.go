// Package seam is where the crash lab comes into the log: what package waltest
// hands on, and nothing else can reach. It knows no other package of the log.
package seam

// Verdict is that of package wal.
type Verdict int

// Judgement is what recovery makes of files in memory.
type Judgement struct {
	// First and Last are the log's, Watermark is what is proved to have been
	// durable.
	First, Last, Watermark uint64
	Verdict                Verdict
	// Damage says in words what is lost, if the log is damaged.
	Damage string
	// Missing says that there is no log: Open would make one.
	Missing bool
}

// Judge judges the files of a log's directory, in memory. all judges from the
// first segment on, as Verify does; else as Open does. visit is called with the
// records from where the judgement begins. Package wal sets it.
var Judge func(files map[string][]byte, all bool, visit func(lsn uint64, payload []byte) error) (Judgement, error)

// Random is a tracer that chooses what is random in a log: of its own, so that
// the lab can live a life again byte by byte. LabRandom fills b, or returns false
// where chance is to choose.
type Random interface{ LabRandom(b []byte) bool }
