//go:build linux

package kill

// The seams for the tests of package kill_test.

// Quote makes a word of the shell of a path.
var Quote = quote
