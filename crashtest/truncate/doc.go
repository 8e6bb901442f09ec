//go:build linux

// Package truncate changes the files of a log under its writer and its readers: it
// truncates, extends, replaces, renames, deletes or overwrites one of them, or takes
// its permissions away, while records are appended and followed. A load or store past
// the end of a file is SIGBUS, a file of another size under the same name is not the
// one that is mapped, and a sync succeeds for pages that no file holds any more.
//
// Each life has a writer in a process of its own and a follower in another one. One
// change is made, at a moment that the campaign's seed chooses: at a store, a sync or
// another call of the writer or of the follower, between two calls, or at an instant.
// Then five promises are checked:
//
//   - no process dies of it (C7);
//   - nothing is acknowledged as durable that is gone: what a call acknowledged that
//     began after the change is there afterwards, and so is what was acknowledged
//     before it and lay in other files (C7). A sync fails where the file in which the log
//     ends, the lock file or the directory is gone, also when there is nothing to sync;
//   - a log that a failed sync has poisoned lets no later call succeed (C6);
//   - whoever returns an error names the file, and no reader is given other bytes than
//     were appended, or records out of order (C7, C9);
//   - afterwards verify tells the truth: it calls the log damaged where acknowledged
//     records are missing and anything is left that proves it, and never where nothing
//     was taken away; what it finds is one run of records, without any that were cut away
//     (C3, C5).
//
// In one of nine lives nothing is changed, and nobody may report anything.
//
// # What is the same each time
//
// With a seed, the lives of a campaign, their changes and the moments at which these
// are aimed are the same each time. Background work of the log, the follower and the
// instants are the scheduler's: which of the log's files is the one changed, and what
// it holds then, may differ. No verdict depends on it.
package truncate

// Where things are:
//
//	plan      what is chosen for a life, by the seed: what a token holds
//	change    the ways to change a file, and which file
//	moment    when: the calls of a process at which the change is made
//	child     the processes of a life, and how they tell what they do
//	writer    what appends; follower, what reads; check, who comes afterwards
//	record    what is in a record
//	life      the lab's side of one life
//	verdict   what is checked, from what the processes told
//	run       the campaign, its findings and result
