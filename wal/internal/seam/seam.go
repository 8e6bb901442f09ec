// Package seam is the interface through which the crash lab controls what is random in
// the log, and has it be wrong in known ways. A log comes by it through its tracer,
// which only package waltest can make: no option, flag or environment variable of the
// log reaches it. It imports no other package of the log.
package seam

// Random is a tracer that supplies the random bytes of a log, so that the lab can
// replay a run byte by byte. LabRandom fills b, or returns false where the log is to
// use its own random source.
type Random interface{ LabRandom(b []byte) bool }
