// Package logdir is a log's directory: the names in it, what its lock file says, its
// files opened within a bound and read in each of the ways that the log needs, and the
// one place that asks recovery what they hold.
//
//   - name.go has the names, and identity.go reads the lock file.
//   - snapshot.go opens the whole directory for those who only look: Verify, Dump and
//     Inspect.
//   - source_mapped.go, source_device.go and source_memory.go are three of the ways in which
//     recovery reads a file. Two more are in package wal: diskFile, by which Open also syncs
//     and repairs a file, and Inspect's headFile.
//   - open_files.go bounds the descriptors, head.go what is kept of heads, buffer.go the
//     memory that is read into, and unreadable.go turns the errors of a device into stretches
//     that cannot be read.
//   - recover.go calls recovery, with what the lock file says.
//
// Nothing in this package writes to a log's directory.
package logdir

import (
	"errors"
	"io"
	"os"
)

// pageSize is the size of a VM page: 4, 16 or 64 KiB, by machine.
var pageSize = os.Getpagesize()

// isEOF reports whether a read ended at the file's end.
func isEOF(err error) bool { return errors.Is(err, io.EOF) }
