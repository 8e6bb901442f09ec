// Package logdir is a log's directory: the names in it, what its lock file says, its
// files opened within a bound and read in each of the ways that the log needs, and the
// one place that asks recovery what they hold.
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
