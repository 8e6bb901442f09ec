package wal

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// newRoom returns addresses at which n bytes of the file with that path are to be read. Memory is
// taken for those that are stored to, page by page, and is none of the heap's:
// where there are not so many addresses, the Go runtime ends the process, while this
// returns an error. Give it to freeRoom as it is.
func newRoom(path string, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, &fs.PathError{Op: "load", Path: path, Err: fmt.Errorf("no memory for its %d bytes (see ulimit -v): %w", n, err)}
	}
	return p, nil
}

// freeRoom gives the memory back. Nil is none.
func freeRoom(p []byte) {
	if p != nil {
		_ = unix.Munmap(p)
	}
}

// emptyRoom gives the memory behind the bytes [from, to) of a room back, as far as
// it is whole pages. What they hold is lost.
func emptyRoom(p []byte, from, to int64) {
	page := int64(pageSize)
	from = (from + page - 1) / page * page
	if to < int64(len(p)) {
		to = to / page * page
	}
	if from < to {
		_ = unix.Madvise(p[from:to], unix.MADV_DONTNEED) // of memory that is there it never fails
	}
}

// releaseMapped takes the bytes [from, to) of a mapping that is only read out of the
// process's memory. They stay in the page cache.
func releaseMapped(mem *durability.Mapping, from, to int64) {
	if mem != nil && from < to {
		_ = mem.Advise(durability.AdviceDontNeed, from, to-from) // a hint
	}
}
