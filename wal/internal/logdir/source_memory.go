package logdir

import (
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// memoryFile is a segment's file that is in memory: page cache and device are the same, and
// every byte can be read. The crash lab makes the files of each crash state in memory, and
// has them recovered by way of package waltest.
type memoryFile []byte

var _ recovery.Bytes = memoryFile(nil)

// Head implements recovery.Bytes.
func (m memoryFile) Head() ([]byte, error) { return m[:min(len(m), frame.DataOffset)], nil }

// Load implements recovery.Bytes.
func (m memoryFile) Load() ([]byte, error) { return m, nil }

// Touch implements recovery.Bytes.
func (m memoryFile) Touch(int64, int64) error { return nil }

// Release implements recovery.Bytes.
func (m memoryFile) Release(int64, int64) {}

// Unload implements recovery.Bytes.
func (m memoryFile) Unload() {}

// memoryBuffers is what one recovery of files in memory needs, to be used again, as there
// are thousands of them a second. Until then it refers to the files of the last recovery,
// but nothing reads these.
type memoryBuffers struct {
	names   []string
	entries []Entry
	files   []recovery.File
}

var memoryPool = sync.Pool{New: func() any { return new(memoryBuffers) }}

// RecoverMemory recovers the log whose directory has these files, which are neither
// changed nor kept. none says that there is no log.
func RecoverMemory(files map[string][]byte, o recovery.Options) (res *recovery.Result, none bool, err error) {
	m := memoryPool.Get().(*memoryBuffers) //nolint:forcetypeassert // the pool's own
	defer memoryPool.Put(m)
	m.names = m.names[:0]
	for name := range files {
		m.names = append(m.names, name)
	}
	slices.Sort(m.names)
	m.entries = appendEntries(m.entries[:0], m.names)
	m.files = m.files[:0]
	for _, e := range m.entries {
		b := files[e.Name]
		m.files = append(m.files, recovery.File{
			Name: e.Name, Ordinal: e.Ordinal, Temp: e.Temp, Size: int64(len(b)), Bytes: memoryFile(b),
		})
	}
	known := ParseIdentity(files[LockName])
	if res, err = Recover(known, m.files, o); err != nil {
		return nil, false, err
	}
	return res, NoLog(known, res), nil
}
