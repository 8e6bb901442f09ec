//go:build linux

package bench

// What the tests of other packages may look at.
var (
	Noise  = noise
	Spread = spread
	Field  = field
)
