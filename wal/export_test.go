package wal

// Bounds of segments: mapped for reading, and waiting for a sync.
const (
	MaxMapped   = maxMapped
	MaxUnsynced = maxUnsynced
)

// Unmap gives up all mappings of a log that are for reading only.
func Unmap(l *Log) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	for _, st := range l.store.list {
		_ = st.unmap()
	}
}
