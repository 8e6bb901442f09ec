package wal

import (
	"sync"
	"sync/atomic"
)

// notifier wakes the goroutines that wait for an event. Where none waits, an event
// costs its sender one atomic load, and it never allocates: the waiter makes the
// channel.
//
// segments has one for appends and one for syncs; Log.await waits on the one that its
// Reader goes by. No wakeup is lost, since both sides do two things in opposite order. The
// sender stores the new LSN, and then loads waiting; the waiter raises waiting (join), and
// then loads the LSN. All four are atomic, so that they have one order for both: the sender
// sees the waiter, or the waiter sees the LSN.
//
// One channel serves all that wait for the same event. It is closed once, and the next
// waiter makes another.
type notifier struct {
	waiting atomic.Int32  // goroutines between join and leave
	mu      sync.Mutex    // guards next
	next    chan struct{} // closed at the next event; nil until a goroutine waits for it
}

// join returns a channel that is closed at the next event. The caller checks its
// condition after join: either the check sees the change, or the event that tells of
// it is still to come. In the end the caller calls leave.
func (n *notifier) join() <-chan struct{} {
	n.waiting.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == nil {
		n.next = make(chan struct{})
	}
	return n.next
}

// leave ends what join began.
func (n *notifier) leave() { n.waiting.Add(-1) }

// broadcast wakes all waiters. The caller has published the change before.
func (n *notifier) broadcast() {
	if n.waiting.Load() != 0 {
		n.wake()
	}
}

// wake is the part of broadcast that runs only where a goroutine waits.
func (n *notifier) wake() {
	n.mu.Lock()
	if n.next != nil {
		close(n.next)
		n.next = nil
	}
	n.mu.Unlock()
}

// notifyAll wakes all readers that follow the log: it was cut, closed or poisoned. Those
// who wait for syncs are woken as well as those who wait for appends: either kind of
// Reader may have nothing more to wait for.
func (t *segments) notifyAll() {
	t.appends.broadcast()
	t.syncs.broadcast()
}
