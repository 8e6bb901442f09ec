package wal

import (
	"sync"
	"sync/atomic"
)

// bell wakes those who wait for something. Ringing it costs one load where
// nobody waits, and never allocates: those who wait bring the channel.
type bell struct {
	waiting atomic.Int32
	mu      sync.Mutex
	rung    chan struct{} // closed when the bell rings; nil until somebody waits for the next time
}

// join returns what is closed at the next ring. What is looked at after it is
// seen, or rung for. The caller calls leave.
func (b *bell) join() <-chan struct{} {
	b.waiting.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

// leave ends what join began.
func (b *bell) leave() { b.waiting.Add(-1) }

// ring wakes all who wait.
func (b *bell) ring() {
	if b.waiting.Load() != 0 {
		b.wake()
	}
}

// wake is the part of ring for which somebody waits.
func (b *bell) wake() {
	b.mu.Lock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
	b.mu.Unlock()
}

// tell wakes all readers that follow the log: it was cut, closed or poisoned.
func (t *segments) tell() {
	t.appends.ring()
	t.syncs.ring()
}
