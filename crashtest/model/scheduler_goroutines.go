//go:build linux

package model

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/internal/goroutine"
)

// stacks are buffers for the stacks of all goroutines.
var stacks = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// eachOf calls fn with the number and the state of each goroutine that the one
// with the number root has started, itself or by others, and of that one. It keeps
// their numbers in members: one that has ended is still who has started others.
// The stack is told of those alone that wait for a mutex.
func eachOf(root string, members map[string]bool, fn func(id, state, stack string)) {
	buf := stacks.Get().(*[1 << 20]byte)
	defer stacks.Put(buf)
	text := buf[:runtime.Stack(buf[:], true)]
	parents := map[string]string{}
	states, stuck := map[string]string{}, map[string]string{}
	for one := range bytes.SplitSeq(text, []byte("\n\n")) {
		head, _, _ := strings.Cut(string(one[:min(len(one), 128)]), "\n")
		number, state, ok := strings.Cut(strings.TrimPrefix(head, "goroutine "), " [")
		if !ok {
			continue
		}
		states[number], _, _ = strings.Cut(strings.TrimSuffix(state, ":"), "]")
		if strings.Contains(states[number], "Mutex") {
			stuck[number] = string(one)
		}
		const by = " in goroutine "
		if i := bytes.LastIndex(one, []byte(by)); i >= 0 {
			parent, _, _ := bytes.Cut(one[i+len(by):], []byte("\n"))
			parents[number] = string(parent)
		}
	}
	for id, state := range states {
		for up, ok := id, true; ok; up, ok = parents[up] {
			if up == root || members[up] {
				members[id] = true
				fn(id, state, stuck[id])
				break
			}
		}
	}
}

// waits reports whether a goroutine in that state goes on only when another one
// has done something. One that waits by select may have a timer, too. One that waits
// for the runtime counts as running: "semacquire", for instance, is the state of a
// goroutine that begins a garbage collection while stacks are being read.
func waits(state string) bool {
	state, _, _ = strings.Cut(state, ",")
	switch state {
	case "chan receive", "chan send", "select":
		return true
	}
	return strings.HasPrefix(state, "sync.")
}

// othersWait reports whether every goroutine of the life but the calling one
// waits.
func (d *director) othersWait() bool {
	own, all := goroutine.Number(), true
	eachOf(d.root, map[string]bool{}, func(id, state, _ string) { all = all && (id == own || waits(state)) })
	return all
}

// deadlock is how long each goroutine of a life has to wait for another one, with none
// at a turn that it may make, until the life counts as deadlocked. They are checked
// deadlockLooks times in it. Only a timer of the subject's could still wake one, and
// those are shorter.
var deadlock = time.Minute

const deadlockLooks = 60

// awaitDeadlock waits until the life is over, or each of its goroutines waits for
// another one. It returns where then, or nothing.
func (d *director) awaitDeadlock(done <-chan struct{}) string {
	tick := time.NewTicker(deadlock / deadlockLooks)
	defer tick.Stop()
	for seen, quiet := -1, 0; ; {
		select {
		case <-done:
			return ""
		case <-tick.C:
		}
		d.mu.Lock()
		turns, free := len(d.turns), d.order == nil || d.order.root == working && len(d.order.held) == 0
		d.mu.Unlock()
		switch where, all := d.waiting(); {
		case turns != seen || !free || !all:
			seen, quiet = turns, 0
		default:
			if quiet++; quiet >= deadlockLooks {
				return where
			}
		}
	}
}

// waiting reports whether every goroutine of the life waits for another one, and for
// what those wait that have come to a mutex or to the subject's own conditions.
func (d *director) waiting() (where string, all bool) {
	all = true
	states := map[string]int{}
	eachOf(d.root, map[string]bool{}, func(_, state, _ string) {
		state, _, _ = strings.Cut(state, ",")
		states[state]++
		all = all && waits(state)
	})
	var words []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		words = append(words, fmt.Sprintf("%d in %s", states[state], state))
	}
	return strings.Join(words, ", "), all
}

// shared are the functions of package durability that lock what all lives of the
// process share.
var shared = []string{"durability.identify(", "durability.(*identity).", "durability.(*registry)."}

// foreign reports whether the mutex that the goroutine with this stack waits for
// may be held by any goroutine of the process, since it is one of those that lives share,
// or is a package's of the standard library or of golang.org/x: such as that of all
// mappings, which unix.Munmap holds during the system call.
func foreign(stack string) bool {
	for line := range strings.Lines(stack) {
		if strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "\t") ||
			strings.HasPrefix(line, "sync.(*Mutex)") || strings.HasPrefix(line, "sync.(*RWMutex)") ||
			strings.HasPrefix(line, "sync.(*Cond)") || strings.HasPrefix(line, "internal/sync.") || strings.HasPrefix(line, "sync.runtime_") {
			continue
		}
		for _, fn := range shared {
			if strings.Contains(line, fn) {
				return true
			}
		}
		dir, name := "", line
		if i := strings.LastIndex(line[:strings.IndexAny(line+"(", "(")], "/"); i >= 0 {
			dir, name = line[:i+1], line[i+1:]
		}
		name, _, _ = strings.Cut(name, ".")
		root, _, _ := strings.Cut(dir+name, "/")
		return root != "main" && !strings.Contains(root, ".") || strings.HasPrefix(dir, "golang.org/x/")
	}
	return false
}
