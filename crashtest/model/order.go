//go:build linux

package model

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/goroutine"
)

// order makes a life the same each time it is lived with a seed, whatever else
// the machine does: of the goroutines of a life one has the floor, and makes
// turns; the others wait at their next one. Who has the floor next, and for how
// many turns, is decided by the seed, and only when every goroutine of the life
// waits, for its turn or for another goroutine: which of them are at a turn then
// depends on nothing but the turns made before.
//
// Between two turns goroutines run at will, and a lock that two of them want is
// had by either. So the workload's goroutine keeps the floor until it waits for
// others or says, by Life.Pause and Life.Settle, that they may go on: it holds no
// lock then. (Taking the floor from it after some turns made three lives of four
// differ: one that was woken had come to its turn, or waited for the log's lock.)
type order struct {
	d      *director
	rng    *rand.Rand
	salts  *rand.Rand // supplies what is random in the subject
	wanted *sync.Cond // the floor, or what the workload waits for, may have changed

	floor   int   // the actor that has it; -1 for none
	left    int   // turns that it may make, if it is not the workload
	held    []int // actors that wait for the floor
	root    rest  // what the workload waits for, apart from the floor
	allowed int   // turns that the others may make while the workload pauses
	lost    bool  // the order could not be kept: the life is not exact
	members map[string]bool
}

// rest is what the goroutine of the workload waits for.
type rest int

const (
	working  rest = iota
	pausing       // until the others wait, or are at a turn that is not allowed
	settling      // until the others wait, and none is at a turn
)

// mostTurns is how many turns an actor makes at most until the floor goes on, and
// how many all make while the workload pauses.
const mostTurns = 64

// hopeless is how long the goroutines of a life may run, or be in a system call,
// without making a turn, before the life is continued without an order: such a subject
// never rests.
const hopeless = 20 * time.Second

// newOrder returns the order of a life. Its guard lives until the director is
// stopped.
func newOrder(d *director, seed uint64) *order {
	o := &order{
		d: d, rng: rand.New(rand.NewPCG(seed, 0x0f100f)), salts: rand.New(rand.NewPCG(seed, 0x5a175)),
		members: map[string]bool{},
	}
	o.wanted = sync.NewCond(&d.mu)
	go o.guard()
	return o
}

// await waits until the actor has the floor for a turn. The caller holds mu.
func (o *order) await(actor int) {
	if o.floor == actor && (actor == 0 || o.left > 0) {
		o.left--
		return
	}
	if o.floor == actor {
		o.floor = -1
	}
	o.held = append(o.held, actor)
	o.wanted.Signal()
	for slices.Contains(o.held, actor) && !o.lost && !o.d.stopped {
		o.d.turned.Wait()
	}
}

// rest has the workload's goroutine wait. While it pauses, the others make a few
// turns, or none, or all that they can.
func (o *order) rest(until rest) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	o.root, o.allowed = until, 0
	switch o.rng.IntN(4) {
	case 0:
		o.allowed = o.rng.IntN(mostTurns)
	case 1:
		o.allowed = 1 << 20
	}
	o.wanted.Signal()
	for o.root != working && !o.lost && !o.d.stopped {
		o.d.turned.Wait()
	}
}

// guard gives the floor to one actor after the other.
func (o *order) guard() {
	own := goroutine.Number()
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	for since, wait := time.Now(), time.Duration(0); !o.d.stopped && !o.lost; {
		if len(o.held) == 0 && o.root == working {
			o.wanted.Wait()
			since, wait = time.Now(), 0
			continue
		}
		o.d.mu.Unlock()
		nap(wait)
		still := o.allWait(own)
		o.d.mu.Lock()
		switch {
		case still && !o.d.stopped:
			o.pass()
			since, wait = time.Now(), 0
		case time.Since(since) > hopeless:
			o.lost = true
			o.d.turned.Broadcast()
		default:
			wait = min(wait+lookTime/500, lookTime/10)
		}
	}
}

// nap sleeps for that long by a system call. time.Sleep may take a millisecond at the
// least where no other goroutine has work.
func nap(d time.Duration) {
	if d == 0 {
		runtime.Gosched()
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}

// pass gives the floor to an actor. Every goroutine of the life waits, and the
// caller holds mu.
func (o *order) pass() {
	switch {
	case o.root != working && len(o.held) == 0, o.root == pausing && o.allowed <= 0:
		o.root, o.floor = working, 0
	case len(o.held) == 0:
		return
	default:
		// Not in the order in which they have come, which is chance.
		slices.SortFunc(o.held, func(a, b int) int { return cmp.Compare(o.d.sites[a], o.d.sites[b]) })
		n := o.rng.IntN(len(o.held))
		if o.root == working {
			// It was waiting for another one, and is here again: it comes first, or
			// would be before or behind the next turns of who has woken it.
			if i := slices.Index(o.held, 0); i >= 0 {
				n = i
			}
		}
		o.floor = o.held[n]
		o.held = slices.Delete(o.held, n, n+1)
		o.left = 0 // besides this one
		if o.root != working {
			o.left = o.rng.IntN(mostTurns)
		}
		if o.root == pausing {
			o.left = min(o.left, o.allowed-1)
			o.allowed -= 1 + o.left
		}
	}
	o.d.turned.Broadcast()
}

// allWait reports whether every goroutine of the life waits but the calling one,
// whose number is own. One that sleeps, or waits for a peer of a connection, goes
// by something that no order is in: it is not waited for.
func (o *order) allWait(own string) bool {
	all := true
	eachOf(o.d.root, o.members, func(id, state, stack string) {
		all = all && (id == own || waits(state) && !foreign(stack) || state == "sleep" || state == "IO wait")
	})
	return all
}
