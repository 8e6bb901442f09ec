//go:build linux

package powerloss

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// recordAhead is how many states of a life have been handed out when the next one is recorded,
// beside the checks, on a disk of its own. A life may wait a second for the filesystem's own commit,
// and its last states may be those of a second cut: without that, all disks but one stood still a
// third of the time (ext4, 6 disks). Campaigns of few states record no life in vain.
const recordAhead = 64

// schedule hands the states of one life after the other out to the disks. It is safe for concurrent
// use.
type schedule struct {
	lab  *lab
	disk *blockdev.Disk // records the lives
	ctx  context.Context
	stop func()

	mu       sync.Mutex
	lives    uint64          // that were begun
	coming   <-chan recorded // the next one, or nil
	now      *feed           // the life of which states are handed out
	handed   int             // states of it
	unwanted bool            // nothing more is handed out
}

// recorded is a life, or why there is none.
type recorded struct {
	life     *life
	err      error
	panicked any
}

// newSchedule returns a schedule that has not begun.
func newSchedule(l *lab) *schedule {
	c := &schedule{lab: l, disk: l.disks.Disks[l.checkers]}
	ctx, cancel := context.WithCancel(l.run.Context())
	c.ctx = ctx
	c.stop = func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unwanted = true
	}
	return c
}

// record begins to record the next life, unless that was begun. The caller holds mu.
func (c *schedule) record() {
	if c.coming != nil {
		return
	}
	seed := rand.New(rand.NewPCG(c.lab.o.Seed, c.lives)).Uint64() >> 1
	c.lives++
	done := make(chan recorded, 1)
	c.coming = done
	go func() {
		var r recorded
		defer func() {
			r.panicked = recover()
			done <- r
		}()
		r.life, r.err = c.lab.record(c.ctx, c.disk, seed, c.lab.begin())
	}()
}

// next returns the next state and the feed that it is of, which done is told of. It returns nil
// where there is none any more.
func (c *schedule) next() (*state, *feed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.unwanted && !c.lab.run.Over() {
		if c.now == nil {
			if err := c.begin(); err != nil {
				return nil, nil, err
			}
			continue
		}
		if s := c.now.next(); s != nil {
			if c.handed++; c.handed == recordAhead {
				c.record()
			}
			c.now.users++
			return s, c.now, nil
		}
		f := c.now
		c.now = nil
		if err := c.leave(f); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// begin goes on with the next life. The caller holds mu, so that all disks wait.
func (c *schedule) begin() error {
	c.record()
	r := c.wait()
	if r.err != nil {
		if c.ctx.Err() != nil {
			c.unwanted = true
			return nil
		}
		return r.err
	}
	c.lab.lived(r.life)
	if r.life.broken != nil {
		return errors.Join(c.lab.foundLife(c.disk, r.life), c.lab.disks.Drop(r.life.rec.ID))
	}
	c.now = &feed{lab: c.lab, life: r.life, maker: newMaker(r.life, rand.New(rand.NewPCG(r.life.seed, 0x9c))), users: 1}
	c.handed = 0
	return nil
}

// done says that a state of a feed was checked.
func (c *schedule) done(f *feed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leave(f)
}

// leave drops a life that nobody uses any more. The caller holds mu.
func (c *schedule) leave(f *feed) error {
	if f.users--; f.users > 0 {
		return nil
	}
	return c.lab.disks.Drop(f.life.rec.ID)
}

// end ends the recording that is under way, of a life that nobody wants any more: what it has run
// into is not told. What was left when the campaign ended, the server forgets with its lab.
func (c *schedule) end() {
	c.stop()
	if c.coming != nil {
		c.wait()
	}
}

// wait returns the life that is being recorded. Where its workload has panicked, so does wait.
func (c *schedule) wait() recorded {
	r := <-c.coming
	c.coming = nil
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r
}

// feed hands the states of a life out.
type feed struct {
	lab   *lab
	life  *life
	users int // states that are being checked, and 1 while there may be more; the schedule's mu guards it

	mu    sync.Mutex
	maker *maker
	steps int // states that were checked
	ended bool
}

// next returns the next state, or nil.
func (f *feed) next() *state {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil
	}
	return f.maker.next()
}

// end ends the life: something was found in it, and more of the same would only be another shape
// of it. A filesystem that does not mount says nothing of the program, and a mark that was missed
// nothing of the other: the life goes on.
func (f *feed) end(b *campaign.Broken) {
	if b.Kind != Refused && !f.lab.hasBothMarks() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended = true
	}
}
