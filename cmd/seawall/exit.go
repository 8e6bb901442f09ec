//go:build linux

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// The exit codes. Scripts rely on them: a code means the same for every
// subcommand.
const (
	exitOK         = 0
	exitTorn       = 1
	exitInternal   = 2 // what Go's runtime exits with, where it cannot begin
	exitFailed     = 3
	exitDamaged    = 4
	exitInterrupt  = 128 + int(syscall.SIGINT)
	exitTerminated = 128 + int(syscall.SIGTERM)
)

// exitMeanings is the table of the exit codes, for --help and the man page.
var exitMeanings = []struct {
	Code    int
	Meaning string
}{
	{exitOK, "done; the log is clean"},
	{exitTorn, "torn: a crash left a tail; nothing acknowledged is lost"},
	{exitTorn, "experiment: something differs from what the log relies on"},
	{exitTorn, "crash: something is found, with a token that shows it again"},
	{exitInternal, "internal error: a bug in seawall, or no memory to run in"},
	{exitFailed, "could not: usage, permission, no log, no space, I/O"},
	{exitFailed, "crash: nothing was verified, or nothing of a class of crashes"},
	{exitDamaged, "damaged: records are lost or altered, or a segment is not whole"},
	{exitInterrupt, "SIGINT; append has made durable what was read"},
	{exitTerminated, "SIGTERM; append has made durable what was read"},
}

// codeError is an error that brings its exit code. Without an error of its own
// everything has been said already.
type codeError struct {
	code int
	err  error
}

// Error implements error.
func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error that is to be said.
func (e *codeError) Unwrap() error { return e.err }

// interruption is the end that a signal asked for.
type interruption struct{ signal syscall.Signal }

// Error implements error.
func (e *interruption) Error() string {
	if e.signal == syscall.SIGINT {
		return "interrupted (SIGINT)"
	}
	return "terminated (SIGTERM)"
}

// internalError is a panic, told in one line.
type internalError struct {
	value any
	where string
}

// newInternalError returns the error for the value of a recovered panic. It is
// called in the deferred function that recovered it.
func newInternalError(value any) *internalError {
	return &internalError{value, panicPlace()}
}

// Error implements error.
func (e *internalError) Error() string {
	text := strings.ReplaceAll(fmt.Sprint(e.value), "\n", " ")
	return fmt.Sprintf("internal error: %s%s; this is a bug, please report it", text, e.where)
}

// panicPlace returns where the panic that is being recovered came from: the
// first frame below the runtime's.
func panicPlace() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	panicking := false
	for {
		f, more := frames.Next()
		ofRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !ofRuntime {
			return fmt.Sprintf(" (%s:%d)", filepath.Base(f.File), f.Line)
		}
		panicking = panicking || f.Function == "runtime.gopanic"
		if !more {
			return ""
		}
	}
}

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	var coded *codeError
	var stop *interruption
	var internal *internalError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &internal):
		return exitInternal
	case errors.As(err, &stop):
		return 128 + int(stop.signal)
	case errors.Is(err, wal.ErrCorrupt):
		return exitDamaged
	}
	return exitFailed
}

// explain returns the words for an error: one line that says what failed and
// what to do, or nothing where all has been said.
func explain(err error) string {
	var coded *codeError
	if errors.As(err, &coded) && coded.err == nil {
		return ""
	}
	words := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", "; "), "wal: ")
	if hint := hintFor(err); hint != "" {
		words += "; " + hint
	}
	return words
}

// hintFor returns what to do about an error, where its own words do not say it.
func hintFor(err error) string {
	switch {
	case errors.Is(err, wal.ErrMissing):
		return "`seawall append` creates a log"
	case errors.Is(err, wal.ErrLocked):
		return "end the process that appends to it, or use another directory"
	case errors.Is(err, wal.ErrForeign):
		return "move that file elsewhere"
	case errors.Is(err, campaign.ErrToken):
		return "a token is one word, as a campaign has printed it"
	case errors.Is(err, wal.ErrVersion):
		return "use a newer seawall"
	case errors.Is(err, syscall.EIO) && !errors.As(err, new(*elsewhereError)) && !errors.As(err, new(*ackError)):
		return "the device failed: `seawall verify` shows what of the log it cannot read"
	case errors.Is(err, syscall.EMFILE) && !strings.Contains(err.Error(), "ulimit -n"): // not the log's
		return "raise the limit of the process (ulimit -n)"
	}
	return ""
}

// elsewhereError is one that does not come from a log, or of a command that tells all
// that there is to tell of it.
type elsewhereError struct{ error }

// Unwrap returns the error.
func (e *elsewhereError) Unwrap() error { return e.error }
