//go:build linux

package main

import (
	"errors"

	"github.com/seawall-wal/seawall/wal"
)

// keeper truncates the front of a log behind an append, so that the newest
// segments of some size stay. A truncation waits for syncs: it runs in a
// goroutine of its own, concurrently with the appends. A nil keeper keeps everything.
type keeper struct {
	log     *wal.Log
	size    int64 // of what stays, at least
	segment int64 // bytes of a segment
	since   int64 // appended since the last look
	look    chan struct{}
	done    chan error // the first failure, or nil, at the end
	failed  chan struct{}
}

// newKeeper starts a keeper, or returns nil where size is 0.
func newKeeper(l *wal.Log, size, segment int64) *keeper {
	if size == 0 {
		return nil
	}
	k := &keeper{
		log: l, size: size, segment: segment,
		look: make(chan struct{}, 1), done: make(chan error, 1), failed: make(chan struct{}),
	}
	go k.run(k.look)
	return k
}

// appended notes records that were appended. Now and then, at least once a
// segment, it has the front looked at. It returns why a truncation failed.
func (k *keeper) appended(n, bytes int) error {
	if k == nil {
		return nil
	}
	if k.since += int64(bytes) + int64(n)*batchOverhead; k.since < k.segment/4 {
		return nil
	}
	k.since = 0
	select {
	case <-k.failed:
		return k.end()
	case k.look <- struct{}{}:
	default: // it is at work, or about to be
	}
	return nil
}

// end truncates a last time, and returns the first failure.
func (k *keeper) end() error {
	if k == nil || k.look == nil {
		return nil
	}
	close(k.look)
	k.look = nil
	return <-k.done
}

// run truncates whenever it is asked to, and at the end.
func (k *keeper) run(look <-chan struct{}) {
	var err error
	for range look {
		if err = k.truncate(); err != nil {
			close(k.failed)
			break
		}
	}
	if err == nil {
		err = k.truncate()
	}
	k.done <- err
}

// truncate makes the first record of the oldest segment that is to stay the
// log's first one. The segment at the end counts for nothing: how full it is
// changes all the time.
func (k *keeper) truncate() error {
	segments := k.log.Segments()
	i, full := len(segments)-1, int64(0)
	for i > 0 && full < k.size {
		i--
		full += segments[i].Bytes
	}
	if i == 0 {
		return nil
	}
	err := k.log.TruncateFront(segments[i].FirstLSN)
	if errors.Is(err, wal.ErrClosed) {
		return nil
	}
	return err
}
