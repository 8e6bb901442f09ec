//go:build linux

// Package crashtest holds a write path against crashes: it kills processes, and
// makes the states that a power loss could leave, and asks whether all that was
// acknowledged is there, and nothing else.
//
// Tests call it with a subject of their own:
//
//	func TestCrashStates(t *testing.T) {
//		crashtest.Model(t, store{}, model.Options{})
//	}
//
//	func TestKills(t *testing.T) {
//		crashtest.Kill(t, store{}, kill.Options{})
//	}
//
//	func TestPowerCuts(t *testing.T) { // as root
//		crashtest.PowerLoss(t, store{}, powerloss.Options{})
//	}
//
// Package campaign says what a subject is, package model which states there are,
// package kill how processes are killed, and package powerloss how the power of a real
// filesystem is cut. Package truncate changes files of Seawall's own log under its
// processes.
// A finding fails the test, and prints a token; with that in the environment
// variable SEAWALL_REPLAY, the same test shows the finding again, and nothing
// else. The campaign's seed is that of its options, or new with each run, and is
// printed; SEAWALL_SEED chooses one, or a new one by the word random, and
// SEAWALL_BUDGET how long it may take, whatever number of states the options have.
// With a seed and a number of states, a test does the same each time.
package crashtest
