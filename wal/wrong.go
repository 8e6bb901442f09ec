package wal

// What a log does that the crash lab has made wrong (package seam), where that is more
// than to leave a step or a check out. No other log comes here.

// forgetFailure is what PoisonForgotten does: what a sync could not make durable is
// taken for durable by the next one, and the log goes on in the next segment.
func (l *Log) forgetFailure() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.dirty {
		if r := &l.dirty[i]; r.seg == l.tail {
			r.from, r.begin = l.at.Off, l.at
		} else {
			r.from = r.to
		}
	}
	l.limit = l.at.Off
}

// recordEarly is what WatermarkEarly does. The record names what no sync has covered yet:
// a crash before that sync looks like damage.
func (l *Log) recordEarly() error {
	l.mu.Lock()
	tail, at := l.tail, l.at
	l.mu.Unlock()
	return l.writeSlot(tail, l.newCheckpointRecord(at, at.LSN))
}
