//go:build linux

package truncate

import (
	"fmt"
	"sync"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// moment is a kind of moments at which a file is changed.
type moment struct {
	name string
	who  string // writer, follower or lab

	// doing is what the writer is at, or "" for anything.
	doing string
	// of reports whether a call is such a moment. A store is a call with an Op alone.
	of func(c *durabilitytest.Call) bool
	// many is how many of them there are in a life, about.
	many int
}

// Who makes the change.
const (
	byWriter   = "writer"
	byFollower = "follower"
	byLab      = "lab"
)

// What the writer is at.
const (
	doingAppend = "append"
	doingSync   = "sync"
	doingCut    = "cut"
	doingRead   = "read"
	doingClose  = "close"
	doingOpen   = "open"
)

// moments are all of them, in the order in which they have their turns. A life that
// does not come to its own changes the file between two calls, in the end.
var moments = []moment{
	{name: "before a store", who: byWriter, many: 70, of: at(durability.OpStore, durability.Before)},
	{name: "before a sync", who: byWriter, many: 20, of: at(durability.OpMsync, durability.Before)},
	{name: "after a sync", who: byWriter, many: 20, of: at(durability.OpMsync, durability.After)},
	{name: "as files are made or removed", who: byWriter, many: 30, of: func(c *durabilitytest.Call) bool {
		switch c.Op {
		case durability.OpCreate, durability.OpWrite, durability.OpAllocate, durability.OpRename, durability.OpRemove, durability.OpSyncDir:
			return true
		}
		return false
	}},
	{name: "during a cut", who: byWriter, doing: doingCut, many: 40, of: anyCall},
	{name: "during close", who: byWriter, doing: doingClose, many: 25, of: anyCall},
	{name: "during recovery", who: byWriter, doing: doingOpen, many: 60, of: anyCall},
	{name: "as a follower reads", who: byFollower, many: 30, of: anyCall},
	{name: "between two calls", who: byWriter, many: 60},
	{name: "at an instant", who: byLab},
}

func at(op durability.Op, phase durability.Phase) func(*durabilitytest.Call) bool {
	return func(c *durabilitytest.Call) bool { return c.Op == op && c.Phase == phase }
}

func anyCall(*durabilitytest.Call) bool { return true }

// momentNamed returns the moment of a name, or nil.
func momentNamed(name string) *moment {
	for i := range moments {
		if moments[i].name == name {
			return &moments[i]
		}
	}
	return nil
}

// changer makes the change of a plan when its moment has come. It is asked by all
// goroutines of a process at once.
type changer struct {
	plan *Plan
	dir  string
	me   string // who, of the moments
	tell func(word string, v any)

	mu     sync.Mutex
	on     bool // before, there are no moments
	doing  string
	passed int
	done   bool
}

// begin says that moments count from now on.
func (c *changer) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
}

// now says what the writer is at. Between two calls there is a moment, too.
func (c *changer) now(doing string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doing = doing
	if m := momentNamed(c.plan.Moment); m.who == c.me && m.of == nil {
		c.pass("")
	}
}

// hook is the hook of durabilitytest.InjectDir. It also tells of files that get other
// names.
func (c *changer) hook(call *durabilitytest.Call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Op == durability.OpRename && call.Phase == durability.After && call.Err == nil {
		c.tell("renamed", [2]string{call.Name, call.NewName})
	}
	m := momentNamed(c.plan.Moment)
	if m.who == c.me && m.of != nil && m.of(call) && (m.doing == "" || m.doing == c.doing) {
		c.pass(fmt.Sprintf("%v %s of %s", call.Phase, call.Op, call.Name))
	}
	return nil
}

// Trace implements durability.Tracer: stores are not among the calls of a hook.
func (c *changer) Trace(e durability.Event) {
	if e.Op == durability.OpStore {
		_ = c.hook(&durabilitytest.Call{Op: e.Op, Phase: e.Phase, Name: e.Name, Offset: e.Offset, Length: e.Length})
	}
}

// pass lets a moment pass, or makes the change.
func (c *changer) pass(call string) {
	if !c.on || c.done {
		return
	}
	if c.passed++; c.passed > c.plan.Nth {
		c.change(c.plan.Moment, call)
	}
}

// finally makes the change where its moment never came.
func (c *changer) finally() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on && !c.done && momentNamed(c.plan.Moment).who == c.me {
		c.change("between two calls", "")
	}
}

// change makes the change, and tells of it.
func (c *changer) change(moment, call string) {
	c.done = true
	done, err := makeChange(c.plan, c.dir)
	if err != nil {
		c.tell("cannot", fmt.Sprintf("%s %s: %v", c.plan.Change, done.File, err))
		return
	}
	done.Moment, done.Call = moment, call
	c.tell("changed", done)
}
