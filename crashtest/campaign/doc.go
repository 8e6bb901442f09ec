//go:build linux

// Package campaign is the vocabulary of every crash test: what is under test (a
// Subject or a Program), what it acknowledged, the two oracles that check what a
// crash left of it, and what a campaign reports.
//
// # Two oracles
//
// What a crash leaves is checked twice, and the two results are kept apart:
//
//   - Present: whatever was acknowledged before the crash is there;
//   - Legal: whatever is there is a state that the program may be in.
//
// A program may fail one and not the other. One that acknowledges before its
// sync loses what it acknowledged, and is in a legal state; one that forgets to
// zero what lay behind its tail brings back what nobody wrote, and has lost
// nothing. Only legal behaviour of the disk and the kernel can show a fault in a
// program; what a broken disk does is never a finding.
//
// # Campaigns
//
// Packages kill, model and powerloss run campaigns, each over lives: a life is one run of
// the workload, from an empty directory or from what a crash left. A campaign
// ends with its budget, its number of states, its first finding or its context,
// and always reports what it did. Whatever it found has a token, one line from
// which the finding can be reproduced.
//
// # Concurrency
//
// A Subject and a Run are used by several goroutines at once; a Found and a Life
// belong to one life.
package campaign
