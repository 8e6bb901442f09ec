//go:build race

package experiment_test

// raceDetector says whether the tests run under it.
const raceDetector = true
