package wal

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// newRoom returns zeroed memory into which n bytes of a file are to be read. It
// is none of the heap's: where there is not so much, the Go runtime ends the
// process, while this returns an error. Give it to freeRoom as it is.
func newRoom(f *durability.File, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, &fs.PathError{Op: "load", Path: f.Path(), Err: fmt.Errorf("no memory for its %d bytes (see ulimit -v): %w", n, err)}
	}
	return p, nil
}

// freeRoom gives the memory back. Nil is none.
func freeRoom(p []byte) {
	if p != nil {
		_ = unix.Munmap(p)
	}
}
