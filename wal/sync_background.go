package wal

import (
	"context"
	"errors"
	"time"
)

// runInterval syncs what was appended, some time after its append: an append
// to a log without unsynced records starts the clock, so that an idle log
// costs nothing. Its syncs are rounds of the group commit, which a Commit that is
// called at the same time shares.
//
// afterAppend asks for a sync (wantSync) unless it was asked for and not begun. That flag
// is cleared here alone, and before the last LSN is looked at: an append that found it
// set is covered, and one that comes later asks again. A sync of somebody else must not
// clear it, nor is it left set where that sync has covered everything by now: an append
// that asks right after its record was covered would be the last one to ask.
// Where a sync fails for want of space it is asked for again here: no further append may come
// to do that.
func (l *Log) runInterval(ctx context.Context) {
	defer l.work.Done()
	timer := time.NewTimer(l.opts.Sync.every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		}
		timer.Reset(l.opts.Sync.every)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		l.wanted.Store(false)
		cuts := l.cutCount.Load()
		err := l.commit(ctx, l.LastLSN(), cuts)
		switch {
		case errors.Is(err, ErrPoisoned): // the next append says so
			return
		case err != nil && ctx.Err() == nil:
			l.opts.Logger.Warn("cannot sync now; will try again", "dir", l.dirPath, "err", err)
			l.wantSync()
		}
	}
}

// maxUnsynced bounds the segments that hold records no sync has covered: each
// has a descriptor and a mapping, since only the descriptor that a segment was
// written by is sure to be told that its writeback failed.
const maxUnsynced = 64

// syncBehind starts a sync in the background where half of maxUnsynced is reached,
// for a log whose user calls neither Sync nor Commit: at the bound no segment is
// prepared any more, and appenders would wait. The caller holds mu, and has entered
// a segment. With SyncEach or SyncEvery there is mostly nothing left for it to do; its
// syncs are rounds of the group commit as theirs are.
func (l *Log) syncBehind() {
	if l.behind || len(l.dirty) <= maxUnsynced/2 {
		return
	}
	l.behind = true
	l.work.Add(1) // Close, which waits for it, has not begun
	go l.runBehind(l.stopped)
}

// runBehind is syncBehind's work. It goes on until it has caught up. behind is cleared
// under mu, in the same moment in which the number is looked at: a rotation that comes
// later starts another.
func (l *Log) runBehind(ctx context.Context) {
	defer l.work.Done()
	for {
		cuts := l.cutCount.Load()
		err := l.commit(ctx, l.LastLSN(), cuts)
		l.mu.Lock()
		l.behind = len(l.dirty) > maxUnsynced/2 && l.checkWritable() == nil
		again := l.behind
		l.mu.Unlock()
		if !again {
			return
		}
		if err != nil { // the directory has no space for a segment's name
			select {
			case <-time.After(renameRetry):
			case <-ctx.Done():
			}
		}
	}
}

// wantSync tells the interval syncer that there is something to sync. wanted keeps
// later appends from asking again until it looks; kick holds one request, so
// that this never waits.
func (l *Log) wantSync() {
	l.wanted.Store(true)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
