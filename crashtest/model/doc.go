//go:build linux

// Package model checks the states that a crash could leave, in memory: it lives
// a life of a subject once, with every store, sync and directory operation
// recorded, and then makes what a power loss or a kill at each moment could have
// left of it, by the rule that package durabilitytest states. Nothing but those
// is ever checked: what it finds is a fault of the subject, or of that rule.
//
// # Which states
//
// A moment lies behind each event of the trace. Where its choices are few, all
// states of a moment are checked; otherwise these:
//
//   - everything that was done, as a kill or a power loss leaves it;
//   - nothing that was not synced;
//   - each sector by itself held back, in each of its contents;
//   - each store by itself dropped, with all sectors that it touched;
//   - pages, and sectors, held back in seeded subsets;
//   - the store in flight torn at bytes, at sectors, and in its 8-byte words;
//   - each directory operation by itself missing, and subsets of them;
//   - each size that a file had.
//
// Some of the states are recovered for good: the subject goes on, is recorded
// again, and crashes again while it recovers and behind that, three levels deep.
//
// # What it cannot see
//
// What reaches the files by other ways than package durability; that is why the
// whole trace is replayed and compared with the real files. A fault of the
// filesystem, and of the device: those are the campaigns on block devices'. A
// moment between two instructions that are one event.
package model
