package wal

// MaxMapped is how many segments stay mapped for reading.
const MaxMapped = maxMapped

// Unmap gives up all mappings of a log that are for reading only.
func Unmap(l *Log) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	for _, st := range l.store.list {
		_ = st.unmap()
	}
}
