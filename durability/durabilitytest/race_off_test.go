//go:build !race

package durabilitytest_test

// raceDetector says whether the tests run under it.
const raceDetector = false
