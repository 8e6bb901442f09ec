package frame_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain gives the property tests one seed, so that they are the same in every
// run: SEAWALL_SEED, a number or the word random, and -rapid.seed replace it. No
// file is left in the tree where one fails: it prints its seed.
func TestMain(m *testing.M) {
	seed := "1"
	switch s := os.Getenv("SEAWALL_SEED"); s {
	case "":
	case "random":
		seed = "0" // rapid takes the clock's
	default:
		seed = s
	}
	for name, value := range map[string]string{"rapid.seed": seed, "rapid.nofailfile": "true"} {
		f := flag.Lookup(name)
		if name == "rapid.seed" && f.Value.String() != "0" { // RAPID_SEED is set
			continue
		}
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
