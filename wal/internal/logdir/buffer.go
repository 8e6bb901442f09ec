package logdir

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// NewBuffer returns a buffer for n bytes of the file with that path. Open and DeviceFile
// take one for all of a segment, so that an offset in it is the offset in the file. They
// read a part of the segment at a time, and give the memory of the part before back by
// EmptyBuffer: what stays is addresses.
//
// Memory is taken page by page, for what is stored to, and not from the heap: where the
// address space has no room, the Go runtime would end the process, while this returns an
// error. Give the buffer to FreeBuffer as it is.
func NewBuffer(path string, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, &fs.PathError{Op: "load", Path: path, Err: fmt.Errorf("no memory for its %d bytes (see ulimit -v): %w", n, err)}
	}
	return p, nil
}

// FreeBuffer gives the memory back. Nil is none.
func FreeBuffer(p []byte) {
	if p != nil {
		_ = unix.Munmap(p)
	}
}

// EmptyBuffer gives the memory of the bytes [from, to) of a buffer back, as far as it
// is whole pages. What they hold is lost: they are zeros until they are read again.
func EmptyBuffer(p []byte, from, to int64) {
	page := int64(pageSize)
	from = (from + page - 1) / page * page
	if to < int64(len(p)) {
		to = to / page * page
	}
	if from < to {
		_ = unix.Madvise(p[from:to], unix.MADV_DONTNEED) // of memory that is there it never fails
	}
}

// ReleaseMapped takes the bytes [from, to) of a mapping that is only read out of the
// process's memory. They stay in the page cache.
func ReleaseMapped(mem *durability.Mapping, from, to int64) {
	if mem != nil && from < to {
		_ = mem.Advise(durability.AdviceDontNeed, from, to-from) // a hint
	}
}
