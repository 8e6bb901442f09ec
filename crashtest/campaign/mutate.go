//go:build linux

package campaign

import (
	"fmt"
	"strings"
	"sync"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// Mutations are the names of ways in which package durability is weakened under a
// subject, so that people can ask whether a test of theirs would notice: the calls are
// not made, and succeed.
type Mutations []string

// mutations are all of them. Nth counts the calls of a life that are syncs.
var mutations = []struct {
	name, what string
	skips      func(op durability.Op, nth int) bool
}{
	{"no-msync", "msync of a mapping does nothing", func(op durability.Op, _ int) bool { return op == durability.OpMsync }},
	{"no-fsync", "fsync and fdatasync of a file do nothing, nor sync and syncfs", func(op durability.Op, _ int) bool { return op == durability.OpSync || op == durability.OpDatasync }},
	{"no-dirsync", "fsync of a directory does nothing", func(op durability.Op, _ int) bool { return op == durability.OpSyncDir }},
	{"some-syncs", "each third sync of any kind does nothing", func(_ durability.Op, nth int) bool { return nth%3 == 0 }},
}

// AllMutations returns the names and what each does, in words.
func AllMutations() (names, what []string) {
	for _, m := range mutations {
		names, what = append(names, m.name), append(what, m.what)
	}
	return names, what
}

// Check returns an error for a name that is none.
func (m Mutations) Check() error {
	names, _ := AllMutations()
	for _, name := range m {
		if m.skipper(name) == nil {
			return fmt.Errorf("there is no mutation %q: it is one of %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// Skips reports whether an operation is left out that is the nth of a life which makes something
// durable.
func (m Mutations) Skips(op durability.Op, nth int) bool {
	for _, name := range m {
		if skips := m.skipper(name); skips != nil && skips(op, nth) {
			return true
		}
	}
	return false
}

func (m Mutations) skipper(name string) func(durability.Op, int) bool {
	for i := range mutations {
		if mutations[i].name == name {
			return mutations[i].skips
		}
	}
	return nil
}

// In weakens what is done in a directory and below it, until end is called. A Tracer is
// told that the calls were not made, so that the model does not count them as syncs.
func (m Mutations) In(dir string) (end func()) {
	if len(m) == 0 {
		return func() {}
	}
	var mu sync.Mutex
	nth := 0
	return durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
		if c.Phase != durability.Before || !isSync(c.Op) {
			return nil
		}
		mu.Lock()
		nth++
		n := nth
		mu.Unlock()
		if m.Skips(c.Op, n) {
			return durabilitytest.ErrDrop
		}
		return nil
	})
}

// isSync reports whether an operation makes something durable.
func isSync(op durability.Op) bool {
	switch op {
	case durability.OpMsync, durability.OpSync, durability.OpDatasync, durability.OpSyncDir:
		return true
	default:
		return false
	}
}
