package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
)

var (
	// ErrClosed reports a call on a closed log. Open it again.
	ErrClosed = errors.New("wal: log is closed")
	// ErrPoisoned reports that an msync, an fsync or a directory fsync failed,
	// or that a file changed under the log. Nothing is acknowledged any more:
	// after a failed sync the kernel reports success for data that the device
	// never got. It wraps the first cause. Fix that, close the log and open it
	// again; what Open then returns is what the device holds.
	ErrPoisoned = errors.New("wal: log is poisoned by an earlier failure; close it, fix the cause and open it again")
	// ErrLocked reports that another process or another Log of this process
	// writes to the directory. A log has one writer.
	ErrLocked = errors.New("wal: log is locked by another writer")
	// ErrNoSpace reports that there is no space for the next segment, or that
	// the filesystem needed space for a page. Nothing of the record was
	// written. Free some space and append again. From Commit and Sync it says
	// that records which are in the log cannot be made durable for want of
	// space: free some, and ask again.
	ErrNoSpace = durability.ErrNoSpace
	// ErrTooLarge reports a record or a batch that does not fit into an empty
	// segment. Nothing of it was written. Split it, or make the segments larger.
	ErrTooLarge = errors.New("wal: record or batch does not fit into a segment")
	// ErrExhausted reports that the log has no LSN left, MaxLSN being the last, or
	// no epoch, of which each cut at the back, each reset, and each Open that trims
	// takes one of 2^32-1, or no number for a segment, of which there are 2^63-1.
	// Nothing was changed, and what needs none goes on. Copy the records into a new
	// log.
	ErrExhausted = errors.New("wal: the log has none left")
	// ErrNotFound reports an LSN that no record has yet.
	ErrNotFound = errors.New("wal: no record has that LSN yet")
	// ErrTruncated reports an LSN below the log's first one, and a Reader whose
	// last record was cut away at the back. Begin a new one where the log, or
	// what it is read for, goes on.
	ErrTruncated = errors.New("wal: the record was truncated away")
	// ErrMissing reports a directory that is not there, or that holds no log.
	ErrMissing = errors.New("wal: no log here")
	// ErrForeign reports a directory that holds a valid segment of another
	// log. Move the file that the error names elsewhere.
	ErrForeign = errors.New("wal: segment of another log")
	// ErrVersion reports a log of a newer format. Use a newer Seawall.
	ErrVersion = errors.New("wal: log has a newer format")
	// ErrOptions reports an option out of its range.
	ErrOptions = errors.New("wal: invalid option")
	// ErrCorrupt is what every *CorruptError matches.
	ErrCorrupt = errors.New("wal: acknowledged data is lost or altered")
)

// CorruptError reports that acknowledged records are lost or altered. Nothing
// was changed. Restore the log from a copy, or let Repair with Force cut it at
// the damage. A copy that was made while the log was written, file by file, may
// say so too: make it again with the writer closed.
type CorruptError struct {
	// Dir is the log's directory.
	Dir string
	// File and Offset, in bytes, say where the first damage lies.
	File   string
	Offset int64
	// FirstLSN and LastLSN are the lost records there, both inclusive; both
	// zero where none is known to be lost.
	FirstLSN, LastLSN LSN
	// Unknown says that more records may be lost there, and that nothing tells
	// how many they were.
	Unknown bool
	Reason  string
	// Damage lists all damage, this first one included.
	Damage []Damage
}

// Error implements error.
func (e *CorruptError) Error() string {
	lost := "no record is known to be lost by it"
	switch {
	case e.FirstLSN != 0 && e.Unknown:
		lost = fmt.Sprintf("acknowledged records %d to %d are lost, and perhaps an unknown number behind them", e.FirstLSN, e.LastLSN)
	case e.FirstLSN != 0:
		lost = fmt.Sprintf("acknowledged records %d to %d are lost", e.FirstLSN, e.LastLSN)
	case e.Unknown:
		lost = "an unknown number of acknowledged records is lost by it"
	}
	more := ""
	if n := len(e.Damage) - 1; n > 0 {
		more = fmt.Sprintf("; %d more places are damaged", n)
	}
	return fmt.Sprintf("wal: %s/%s: damaged at offset %d: %s: %s%s; "+
		"see `seawall verify`; restore the log from a copy, or cut it there by `seawall repair --force`; "+
		"a copy that was made while the log was written is to be made again, with the writer closed",
		e.Dir, e.File, e.Offset, e.Reason, lost, more)
}

// Is reports that the error is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// newCorruptError returns the error for a report's damage.
func newCorruptError(dir string, damage []Damage) *CorruptError {
	d := damage[0]
	return &CorruptError{
		Dir: dir, File: d.File, Offset: d.Offset, FirstLSN: d.FirstLSN, LastLSN: d.LastLSN,
		Unknown: d.Unknown, Reason: d.Reason, Damage: damage,
	}
}

// poisonError is ErrPoisoned with its cause.
type poisonError struct{ cause error }

// Error implements error.
func (e *poisonError) Error() string { return ErrPoisoned.Error() + ": " + e.cause.Error() }

// Unwrap returns the sentinel and the cause.
func (e *poisonError) Unwrap() []error { return []error{ErrPoisoned, e.cause} }

// checkHasLog returns ErrMissing where a directory holds no log.
func checkHasLog(s *logdir.Snapshot, path string) error {
	if len(s.Files) > 0 || s.Known.UUID != (frame.UUID{}) || s.Unsure != nil {
		return nil
	}
	return holdsNone(path, s.Locked)
}

// holdsNone returns the error for a directory without a log. An empty lock file there
// is left from a creation that failed, for want of space perhaps.
func holdsNone(path string, locked bool) error {
	if locked {
		return fmt.Errorf("%w: %s holds no segment, and its %s names no log, as a creation that failed leaves it", ErrMissing, path, logdir.LockName)
	}
	return fmt.Errorf("%w: %s holds no segment", ErrMissing, path)
}
