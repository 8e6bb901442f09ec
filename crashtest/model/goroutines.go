//go:build linux

package model

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
)

// stacks are buffers for the stacks of all goroutines.
var stacks = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// eachOf calls fn with the number and the state of each goroutine that the one
// with the number root has started, itself or by others, and of that one.
func eachOf(root string, fn func(id, state string)) {
	buf := stacks.Get().(*[1 << 20]byte)
	defer stacks.Put(buf)
	text := buf[:runtime.Stack(buf[:], true)]
	parents := map[string]string{}
	states := map[string]string{}
	for one := range bytes.SplitSeq(text, []byte("\n\n")) {
		head, _, _ := strings.Cut(string(one[:min(len(one), 128)]), "\n")
		number, state, ok := strings.Cut(strings.TrimPrefix(head, "goroutine "), " [")
		if !ok {
			continue
		}
		states[number], _, _ = strings.Cut(strings.TrimSuffix(state, ":"), "]")
		const by = " in goroutine "
		if i := bytes.LastIndex(one, []byte(by)); i >= 0 {
			parent, _, _ := bytes.Cut(one[i+len(by):], []byte("\n"))
			parents[number] = string(parent)
		}
	}
	for id, state := range states {
		for up, ok := id, true; ok; up, ok = parents[up] {
			if up == root {
				fn(id, state)
				break
			}
		}
	}
}

// waits reports whether a goroutine in that state goes on only when another one
// has done something. One that waits by select may have a timer.
func waits(state string) bool {
	state, _, _ = strings.Cut(state, ",")
	switch state {
	case "chan receive", "chan send", "select", "semacquire":
		return true
	}
	return strings.HasPrefix(state, "sync.")
}

// othersWait reports whether every goroutine of the life but the calling one
// waits.
func (d *director) othersWait() bool {
	own, all := goroutine(), true
	eachOf(d.root, func(id, state string) { all = all && (id == own || waits(state)) })
	return all
}
