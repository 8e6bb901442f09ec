package wal

import (
	"context"
	"errors"
	"time"
)

// runInterval syncs what was appended, some time after its append: an append
// to a log without unsynced records starts the clock, so that an idle log
// costs nothing.
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

// wantSync tells the interval syncer that there is something to sync.
func (l *Log) wantSync() {
	l.unsynced.Store(true)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
