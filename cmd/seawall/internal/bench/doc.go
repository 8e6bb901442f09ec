//go:build linux

// Package bench measures a log beside the bare physical work that bounds it, in one
// directory and in turn: a machine's speed changes from minute to minute, the ratio of
// two loops that take turns does so less.
//
// A measurement consists of runs. In each run the log, a fresh one, and each of the
// limits warm up and are then driven by the same loop, for the same time and up to the
// same number of bytes; who begins changes from run to run. What is compared is the time
// a record takes: the wall time of a run, divided by its records. The filling of files,
// the preparation of the log's first segments and its close are not in it.
//
// The limits are, for appends that are not synced, the same bytes checksummed and copied
// into a ready mapping under a mutex; for synced appends of one writer, pwrite and
// fdatasync into a written file, and a store and msync into a ready mapping; for those of
// several writers, a group commit around the same pwrite and fdatasync.
package bench
