//go:build !race

package wal_test

// raceDetector says whether the tests run under it.
const raceDetector = false
