package wal

import (
	"sync"
	"sync/atomic"
)

// notifier wakes those who wait for an event. An event costs one load where nobody
// waits, and never allocates: those who wait make the channel.
type notifier struct {
	waiting atomic.Int32
	mu      sync.Mutex
	next    chan struct{} // closed at the next event; nil until somebody waits for it
}

// join returns what is closed at the next event. What is looked at after it is up to
// date, or there is an event to come. The caller calls leave.
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

// broadcast wakes all who wait.
func (n *notifier) broadcast() {
	if n.waiting.Load() != 0 {
		n.wake()
	}
}

// wake is the part of broadcast for which somebody waits.
func (n *notifier) wake() {
	n.mu.Lock()
	if n.next != nil {
		close(n.next)
		n.next = nil
	}
	n.mu.Unlock()
}

// notifyAll wakes all readers that follow the log: it was cut, closed or poisoned.
func (t *segments) notifyAll() {
	t.appends.broadcast()
	t.syncs.broadcast()
}
