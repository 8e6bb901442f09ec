//go:build linux

package model

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/internal/goroutine"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// director records a life, and can make a second life take the same turns: the
// subject's goroutines do by chance what they do at once, and a token has to
// lead to the same trace again.
//
// Each event and each note is a turn of the goroutine that makes it. On a replay
// a goroutine waits until it is its turn.
type director struct {
	rec *durabilitytest.Recorder

	mu      sync.Mutex
	turned  *sync.Cond
	root    string         // the goroutine of the workload
	actors  map[string]int // by goroutine
	calls   map[uint64]int // who makes an operation that is not over, by Event.ID
	sites   []string       // what each actor is called: where it was started
	turns   []uint16       // who made each turn
	stopped bool           // what comes now is not recorded

	order   *order  // in which turns are made; nil for none
	script  *script // to follow; nil for none
	lost    bool    // it could not be followed
	guarded bool    // a goroutine checks whether it can be
}

// script is who made each turn up to a crash.
type script struct {
	Sites []string `json:"g"`
	Runs  []int    `json:"r"` // actor, turns, actor, turns, ...
}

// A replay waits for the next turn of the script. Where a goroutine of the life is
// still running, it waits for patience. Where all of them wait, it checks them looks
// times, lookTime apart, and then takes it that the goroutine whose turn it is waits for
// one that waits for its own turn. A subject may have timers; they are shorter.
const (
	patience = 2 * time.Second
	looks    = 3
	lookTime = 10 * time.Millisecond
)

// newDirector returns a director whose first actor is the calling goroutine. In an
// exact life the seed has all turns made in one order; there is no script then.
func newDirector(s *script, exact bool, seed uint64) *director {
	d := &director{rec: durabilitytest.NewRecorder(), actors: map[string]int{}, calls: map[uint64]int{}, script: s}
	d.turned = sync.NewCond(&d.mu)
	d.root = goroutine.Number()
	d.actors[d.root] = 0
	d.sites = []string{"workload"}
	if exact {
		d.order = newOrder(d, seed)
	}
	return d
}

// site returns where the calling goroutine was started, as FILE:LINE.
func site() string {
	buf := make([]byte, 64<<10)
	stack := string(buf[:runtime.Stack(buf, false)])
	_, created, ok := strings.Cut(stack, "\ncreated by ")
	if !ok {
		return "?"
	}
	_, place, _ := strings.Cut(created, "\n\t")
	place, _, _ = strings.Cut(place, " ")
	return filepath.Base(place)
}

// Trace implements durability.Tracer.
func (d *director) Trace(e durability.Event) {
	record := func() { d.rec.Trace(e) }
	if e.Phase == durability.After {
		d.mu.Lock()
		defer d.mu.Unlock()
		actor, known := d.calls[e.ID]
		delete(d.calls, e.ID)
		if !known {
			actor = d.actor(goroutine.Number())
		}
		d.turnOf(actor, record)
		return
	}
	id := goroutine.Number()
	d.mu.Lock()
	defer d.mu.Unlock()
	actor := d.actor(id)
	if e.ID != 0 {
		d.calls[e.ID] = actor
	}
	d.turnOf(actor, record)
}

// turn makes a turn of the calling goroutine.
func (d *director) turn(record func()) {
	id := goroutine.Number()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turnOf(d.actor(id), record)
}

// actor returns the number of the goroutine with that number. The caller holds mu, and is
// that goroutine.
func (d *director) actor(id string) int {
	actor, known := d.actors[id]
	if !known && !d.stopped {
		actor = d.enter(site())
		d.actors[id] = actor
	}
	return actor
}

// turnOf makes a turn of the calling goroutine. The caller holds mu.
func (d *director) turnOf(actor int, record func()) {
	if d.stopped {
		return
	}
	if d.order != nil {
		d.order.await(actor)
	} else {
		d.await(actor)
	}
	if d.stopped {
		return
	}
	d.turns = append(d.turns, uint16(actor))
	record()
	d.turned.Broadcast()
}

// enter gives a new goroutine its number, on a replay the one that it had. The
// caller holds mu.
func (d *director) enter(site string) int {
	n := 1
	name := site
	for d.has(name) {
		n++
		name = site + "#" + strconv.Itoa(n)
	}
	d.sites = append(d.sites, name)
	return len(d.sites) - 1
}

func (d *director) has(name string) bool {
	for _, s := range d.sites {
		if s == name {
			return true
		}
	}
	return false
}

// await waits until it is the actor's turn, if there is a script. The caller
// holds mu.
func (d *director) await(actor int) {
	if d.script == nil || d.lost {
		return
	}
	for name := d.sites[actor]; !d.lost; {
		next, over := d.script.at(len(d.turns))
		if over || next == name {
			return
		}
		seen := len(d.turns)
		if !d.guarded {
			d.guarded = true
			go d.guard()
		}
		for len(d.turns) == seen && !d.lost && !d.stopped {
			d.turned.Wait()
		}
		if d.stopped {
			return
		}
	}
}

// guard ends a replay in which no turn is made any more.
func (d *director) guard() {
	seen, since, idle := -1, time.Now(), 0
	for {
		time.Sleep(lookTime)
		waiting := d.othersWait()
		d.mu.Lock()
		switch {
		case d.stopped || d.lost:
			d.mu.Unlock()
			return
		case len(d.turns) != seen:
			seen, since, idle = len(d.turns), time.Now(), 0
		case waiting:
			idle++
		default:
			idle = 0
		}
		if idle >= looks || time.Since(since) > patience {
			d.lost = true
			d.turned.Broadcast()
		}
		d.mu.Unlock()
	}
}

// pause implements campaign.Life.Pause. It is for the goroutine of the workload.
func (d *director) pause() {
	if d.order != nil {
		d.order.rest(pausing)
	}
}

// LabRandom chooses what is random in the log, in lives that are lived by order.
func (d *director) LabRandom(b []byte) bool {
	if d.order == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range b {
		b[i] = byte(d.order.salts.Uint32())
	}
	return true
}

// settle implements campaign.Life.Settle. It is for the goroutine of the workload.
func (d *director) settle() {
	if d.order != nil {
		d.order.rest(settling)
		return
	}
	const enough = 200 // checks; a goroutine sleeps, or has much to do
	for range enough {
		if d.othersWait() {
			return
		}
		time.Sleep(lookTime / 100)
	}
}

// at returns who makes the turn with that number, and whether the script is
// over.
func (s *script) at(turn int) (name string, over bool) {
	for i := 0; i+1 < len(s.Runs); i += 2 {
		if turn < s.Runs[i+1] {
			return s.Sites[s.Runs[i]], false
		}
		turn -= s.Runs[i+1]
	}
	return "", true
}

// until returns the script of the first turns. Its actors are numbered as they
// come on: the same turns give the same script.
func (d *director) until(turns int) *script {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &script{}
	numbers := map[uint16]int{}
	last := -1
	for _, actor := range d.turns[:turns] {
		n, known := numbers[actor]
		if !known {
			n = len(s.Sites)
			numbers[actor] = n
			s.Sites = append(s.Sites, d.sites[actor])
		}
		if n == last {
			s.Runs[len(s.Runs)-1]++
			continue
		}
		s.Runs = append(s.Runs, n, 1)
		last = n
	}
	return s
}

// stop ends the recording.
func (d *director) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.turned.Broadcast()
	if d.order != nil {
		d.order.wanted.Broadcast()
	}
}

// shape is a checksum of what the first events did, without their data: that
// holds random numbers.
func shape(events []durability.Event) string {
	h := newSum()
	for i := range events {
		e := &events[i]
		_, _ = fmt.Fprintf(h, "%d %d %s %s %d %d %v\n", e.Op, e.Phase, e.Name, e.NewName, e.Offset, e.Length, e.Err != nil)
	}
	return h.text()
}
