package goroutine

import (
	"sync"
	"testing"
)

// TestNumber compares the number with that of the stack, in many goroutines at once. Where
// this version of Go keeps it elsewhere, all goes on, but slower: then a newer goid is needed.
func TestNumber(t *testing.T) {
	t.Parallel()
	if !direct {
		t.Error("package goid does not know this version of Go")
	}
	var all sync.WaitGroup
	var seen sync.Map
	for range 1000 {
		all.Go(func() {
			n := Number()
			if n != byStack() {
				t.Errorf("%s, the stack says %s", n, byStack())
			}
			if _, again := seen.LoadOrStore(n, true); again {
				t.Errorf("two goroutines have the number %s", n)
			}
		})
	}
	all.Wait()
}

func BenchmarkNumber(b *testing.B) {
	for b.Loop() {
		if Number() == "" {
			b.Fatal("none")
		}
	}
}
