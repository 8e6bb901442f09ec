package wal_test

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutineHead is how the runtime begins a goroutine's stack.
var goroutineHead = regexp.MustCompile(`^(goroutine \d+) (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[([^],]+)`)

// thisGoroutine returns the name of the goroutine that calls it.
func thisGoroutine() string {
	buf := make([]byte, 64)
	return goroutineHead.FindStringSubmatch(string(buf[:runtime.Stack(buf, false)]))[1]
}

// isBlocked reports whether a goroutine waits for another one, somewhere below a
// function whose name contains fn: not for a CPU, and not for the kernel.
func isBlocked(goroutine, fn string) bool {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		head := goroutineHead.FindStringSubmatch(stack)
		if head == nil || head[1] != goroutine {
			continue
		}
		switch head[2] {
		case "select", "chan receive", "sync.Cond.Wait", "sync.Mutex.Lock", "sync.WaitGroup.Wait", "semacquire":
			return strings.Contains(stack, fn)
		}
		return false
	}
	return false
}

// startBlocked starts fn in a goroutine, and returns when that waits for another
// one below a function whose name contains in. A call that does not wait fails the
// test. What fn returns is in the channel.
func startBlocked[T any](t *testing.T, in string, fn func() T) <-chan T {
	t.Helper()
	name, done := make(chan string, 1), make(chan T, 1)
	go func() {
		name <- thisGoroutine()
		done <- fn()
	}()
	for goroutine := <-name; !isBlocked(goroutine, in); time.Sleep(100 * time.Microsecond) {
		select {
		case v := <-done:
			t.Fatalf("%s did not wait: %v", in, v)
		default:
		}
	}
	return done
}
