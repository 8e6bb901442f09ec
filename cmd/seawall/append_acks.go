//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// ackPatience is how long a reader of the acks that takes none is waited for,
// once a signal has asked for the end.
const ackPatience = 2 * time.Second

// errAcksBlocked reports acks that were not taken before the end.
var errAcksBlocked = errors.New("the acks are not read")

// ackError reports that the acks behind one could not be written.
type ackError struct {
	last wal.LSN
	err  error
}

// Error implements error.
func (e *ackError) Error() string {
	if isClosedPipe(e.err) {
		return fmt.Sprintf("nobody reads the acks any more; the last one was for LSN %d", e.last)
	}
	return fmt.Sprintf("cannot write the acks behind LSN %d: %v", e.last, e.err)
}

// Unwrap returns the error of the write.
func (e *ackError) Unwrap() error { return e.err }

// acks writes a line `acked LSN` once all records up to that one are durable.
//
// The log tells it from within a sync, which must not wait for the process that reads
// the lines: note only notes, and a goroutine writes. Two numbers are all that
// lies between, so that a reader who stops reading holds up nothing and costs
// no memory.
type acks struct {
	w io.Writer
	// every says that each record has its line. Otherwise a line that would be
	// late already stands for those before it.
	every bool
	// late returns a channel that says when ackPatience is over.
	late func() <-chan time.Time

	mu      sync.Mutex
	durable wal.LSN // the newest one noted
	said    wal.LSN // the last one written
	err     error   // of the first write that failed
	closed  bool

	wake chan struct{} // holds one token when there is something to do
	done chan struct{} // closed when the goroutine has ended
	dead chan struct{} // closed when a write has failed
}

// newAcks returns acks that write to w.
func newAcks(w io.Writer, every bool) *acks {
	return &acks{
		w: w, every: every, late: func() <-chan time.Time { return time.After(ackPatience) },
		wake: make(chan struct{}, 1), done: make(chan struct{}), dead: make(chan struct{}),
	}
}

// start begins to write acks for the records behind last.
func (a *acks) start(last wal.LSN) {
	a.mu.Lock()
	a.said = last
	a.mu.Unlock()
	go a.run()
}

// note notes that all records up to lsn are durable. It never waits. The log
// calls it in order.
func (a *acks) note(lsn wal.LSN) {
	a.mu.Lock()
	a.durable = lsn
	a.mu.Unlock()
	a.rouse()
}

// close waits until all that was noted is written, and returns the error of
// the writes. When hurry is closed it waits on only as long as lines are taken.
func (a *acks) close(hurry <-chan struct{}) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.rouse()
	select {
	case <-a.done:
		return a.failure()
	case <-hurry:
	}
	for {
		before := a.last()
		select {
		case <-a.done:
			return a.failure()
		case <-a.late():
			if a.last() == before {
				return errAcksBlocked
			}
		}
	}
}

// last returns the LSN of the last line that was written.
func (a *acks) last() wal.LSN {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said
}

// failure returns the error of the first write that failed.
func (a *acks) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// rouse wakes the goroutine.
func (a *acks) rouse() {
	select {
	case a.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run writes the lines, each by a write of its own.
func (a *acks) run() {
	defer close(a.done)
	line := make([]byte, 0, 32)
	for {
		lsn, more := a.next()
		switch {
		case lsn == 0 && !more:
			return
		case lsn == 0:
			<-a.wake
			continue
		}
		line = strconv.AppendUint(append(line[:0], "acked "...), uint64(lsn), 10)
		_, err := a.w.Write(append(line, '\n'))
		a.mu.Lock()
		if err != nil {
			a.err = &ackError{last: a.said, err: err}
			a.mu.Unlock()
			close(a.dead)
			return
		}
		a.said = lsn
		a.mu.Unlock()
	}
}

// next returns the LSN of the next line, 0 if there is nothing to write now,
// and whether there may be more later.
func (a *acks) next() (wal.LSN, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.durable <= a.said:
		return 0, !a.closed
	case a.every:
		return a.said + 1, true
	}
	return a.durable, true
}
