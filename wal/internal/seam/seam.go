// Package seam is where the crash lab comes into the log: what package waltest
// hands on, and nothing else can reach. It knows no other package of the log.
package seam

// Random is a tracer that chooses what is random in a log: of its own, so that
// the lab can live a life again byte by byte. LabRandom fills b, or returns false
// where chance is to choose.
type Random interface{ LabRandom(b []byte) bool }
