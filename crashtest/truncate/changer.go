//go:build linux

package truncate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal/frame"
)

// changed is what was done to a file.
type changed struct {
	File   string `json:"file"` // its name; empty for the directory
	Size   int64  `json:"size"`
	At     int64  `json:"at"`
	Moment string `json:"moment"` // that it really was
	Call   string `json:"call"`   // and the call, in words

	// Began and Ended are readings of clock.
	Began int64 `json:"began"`
	Ended int64 `json:"ended"`
}

// clock returns nanoseconds of a clock that all processes of a machine share.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// hasStamp reports whether the log has ever entered a segment.
func hasStamp(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	b := make([]byte, 8)
	_, err = f.ReadAt(b, frame.StampOffset)
	return err == nil && [8]byte(b) != [8]byte{}
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
// names, once the change is made.
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

// makeChange makes the change of a plan now. Where the file is not there any more, as the
// writer has renamed or removed it, another one is chosen.
func makeChange(p *Plan, dir string) (*changed, error) {
	how := changeNamed(p.Change)
	for try := 0; ; try++ {
		done := &changed{Began: clock()}
		path := dir
		if !how.ofDir {
			var err error
			if done.File, err = pick(dir, p.Target, p.File+try); err != nil {
				return done, err
			}
			if done.File == "" { // there is no such file
				if done.File, err = pick(dir, targetAny, p.File+try); err != nil {
					return done, err
				}
			}
			path = filepath.Join(dir, done.File)
			if st, serr := os.Stat(path); serr == nil {
				done.Size = st.Size()
				done.At = done.Size * int64(p.At) >> 16
			}
		}
		err := how.do(path, done.At)
		if errors.Is(err, fs.ErrNotExist) && !how.ofDir && try < 100 {
			continue
		}
		done.Ended = clock()
		return done, err
	}
}

// teller writes what a child has to say to its standard output, a line for each thing:
// a word, and a value as JSON.
func teller() func(word string, v any) {
	var mu sync.Mutex
	return func(word string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // nothing that is told has such values
		}
		mu.Lock()
		defer mu.Unlock()
		// Where nobody listens any more, the lab has ended, and this child with it.
		_, _ = fmt.Fprintf(os.Stdout, "%s\t%s\n", word, text)
	}
}
