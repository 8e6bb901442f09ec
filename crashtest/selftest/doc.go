//go:build linux

// Package selftest is what the crash lab must pass to be believed: logs that are
// wrong in one known way each, which its campaigns have to find, and the same logs
// with the fault mended, in which they must find nothing.
//
// A fault comes in by one of three ways, never as a copy of the log: a call of
// package durability is skipped, and taken for done; the tracer is told of calls in
// another order, or of less than was done; or the log is opened by package waltest,
// which takes one check, or one step, away. Its twin has the same in place, and does
// not use it. The campaign that searches is the ordinary one of package model, or of
// package truncate where files are changed, and is not told which log it has.
package selftest
