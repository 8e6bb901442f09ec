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
// # Tokens
//
// A token holds the seed of each life on the way to a state, and which goroutine
// made each turn: a replay has them take the same turns. What a goroutine chooses
// by the clock, or by what it happens to see, between two turns is in no token;
// a replay begins anew until it turns out the same. A subject whose workload calls
// Life.Settle before it takes something away from its goroutines leaves less to
// chance: of the log's tokens those of calm lives without a clock were replayed
// at once, 17 of 17, of the others 10 of 18 within 3 s. Options.Keep leaves the
// files of a finding in any case.
//
// # What it cannot see
//
// What reaches the files by other ways than package durability; that is why the
// whole trace is replayed and compared with the real files. A fault of the
// filesystem, and of the device: those are the campaigns on block devices'. A
// moment between two instructions that are one event.
package model
