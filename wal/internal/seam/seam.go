// Package seam is the interface through which the crash lab controls what is random in
// the log, and has it be wrong in known ways. A log comes by it through its tracer: one that
// implements Random or Wronged, besides what every tracer does. A log is made wrong by
// package waltest only. No other option, and no flag or environment variable of the log
// reaches this package. It imports no other package of the log.
package seam

// Random is a tracer that supplies the random bytes of a log, so that the lab can
// replay a run byte by byte. LabRandom fills b, or returns false where the log is to
// use its own random source.
type Random interface{ LabRandom(b []byte) bool }
