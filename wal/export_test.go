package wal

// Bounds of segments: mapped for reading, and waiting for a sync.
const (
	MaxMapped   = maxMapped
	MaxUnsynced = maxUnsynced
)

// Unmap gives up all mappings of a log that are for reading only.
func Unmap(l *Log) {
	l.store.mu.Lock()
	for _, st := range l.store.list {
		l.store.unmap(st)
	}
	_ = l.store.unlock()
}

// Enrolled returns how many readers of a log may hold records where they lie.
func Enrolled(l *Log) int {
	p := &l.store.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.readers)
}

// HoldAppends takes the lock of the appenders, until release.
func HoldAppends(l *Log) (release func()) {
	l.mu.Lock()
	return l.mu.Unlock
}
