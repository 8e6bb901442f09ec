//go:build linux

// Package model checks the states that a crash could leave, in memory: it lives
// a life of a subject once, with every store, sync and directory operation
// recorded, and then makes what a power loss or a kill at each moment could have
// left of it, by the rule that package durabilitytest states. Nothing but those
// is ever checked: what it finds is a fault of the subject, or of that rule.
//
// # Which states
//
// A moment lies behind each event of the trace. First comes a tour of a few
// moments, which gives each class of states its turn, then moments all over the
// life, up to a number of states: a campaign comes to many lives. Where a moment's
// choices are few, all its states are checked; otherwise these:
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
// # Deaths before a power loss
//
// After the death of a process its files hold all that it stored, and the next
// process goes on with that; but what the dead one never synced may be lost still,
// when the power fails during that recovery or behind it. So the life that goes on
// from a kill inherits the trace of the dead process, as long as no power loss comes
// between: up to three processes die in a row. The seed chooses at which events, and
// it may be any one.
//
// # Situations
//
// A subject may name situations that its lives come to (campaign.Situations): such
// as an append between the syncs of another call. Their moments have their turn in
// the tour, more processes die there than elsewhere, and the states of each are
// counted: one that a campaign of some lives did not come to is missing from it.
//
// # One seed, one campaign
//
// With a number of states and a seed a campaign is the same whenever it is run, on
// any number of cores, whatever else runs on it: down to the last state. Its lives are
// exact ones (campaign.Life.Exact): one goroutine of a life makes turns at a time,
// and the seed decides whose turn it is. With a budget alone every fourth life is
// left to clocks and to chance, also of a subject that has no exact ones
// (campaign.Unordered).
//
// # Tokens
//
// A token holds the seed of each life on the way to a state: exact lives are lived
// again by it. Of a life that was left to chance it holds, too, which goroutine
// made each turn: a replay has them take the same turns. What a goroutine chooses
// there by the clock, or by what it happens to see, between two turns is in no
// token; a replay begins again until it turns out the same. Options.Keep leaves the
// files of a finding in any case.
//
// # What it cannot see
//
// What reaches the files by other ways than package durability; that is why the
// whole trace is replayed and compared with the real files. A fault of the
// filesystem, and of the device: those are the campaigns on block devices'. A
// moment between two instructions that are one event.
package model
