// Package recovery decides from the bytes of a log's segments which records the
// log holds. It is pure: the same bytes give the same result, and it opens no
// file. Open, Verify, Dump, Repair, readers in other processes and the crash lab all
// call it through package logdir, so that they cannot disagree; only this package's own
// tests and fuzzers call it directly.
//
//	res, err := recovery.Recover(files, recovery.Options{All: true})
//	if err == nil && res.Verdict == recovery.Damaged {
//		// res.Damage says which acknowledged records are lost, and where
//	}
//
// Calls share nothing and may run concurrently, each on Bytes of its own.
//
// Recovery has four steps.
//
//  1. Heads: every file's header, stamp and slots are decoded. The highest
//     epoch among valid stamps and slots is the current one; its cut says from
//     where on segments and frames of smaller epochs are remains. Names tell
//     whether a segment is missing.
//  2. Chain: from a segment before which everything is known to be durable,
//     frames are followed link by link, over segments, until one is not valid.
//     The last complete batch before that is the tail.
//  3. Tail scan: everything behind the tail is searched. Frames that are
//     chained to the tail by their headers, to a valid stamp, or to a
//     neighbour are genuine, and so is the watermark that they name.
//  4. Verdict: the highest watermark found is the log's; slots of an older epoch
//     do not count. A tail before the watermark is damage, since what is missing
//     was acknowledged; anything else behind the tail is torn.
//
// Where each of them is:
//
//   - heads.go and survey.go have step 1. salvage.go finds out, before the epoch is
//     chosen, how to read a segment that has lost both its header and its stamp.
//   - chain.go has step 2. cursor.go reads and checks one frame, and window.go bounds
//     how much of a segment can be read at once.
//   - tailscan.go has step 3, and search.go what finds two frames that prove each other.
//   - verdict.go has step 4, and chooses the segment that steps 2 to 4 begin at. gaps.go
//     and unreadable.go say what the loss of a file, or of a part of one, means.
//   - pass_cache.go keeps what steps 2 and 3 found, since they may begin several times.
//
// Nothing is changed here, on disk or in the files' bytes. What follows from a result is
// for package wal: Open refuses, trims or repairs (open.go, open_trim.go), Verify and
// Dump report (verify_scan.go). Whether the bytes come from the page cache or from the
// device is up to the implementation of Bytes.
package recovery

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// File is one file of a log's directory that has a segment's name.
type File struct {
	Name    string // base name
	Ordinal uint64 // as the name says
	Temp    bool   // it has its temporary name still
	Size    int64  // of the file, in bytes
	Bytes   Bytes
}

// Bytes gives access to a file's bytes. Recovery may call Head several times for
// a file, which must return the same bytes each time, and calls Load only for
// files whose frames it reads. No more than one file is loaded at a time, so that
// several may share a buffer.
//
// Open implements it by diskFile of package wal, which syncs a file before it reads frames
// of it from the device. Verify, Dump and readers in other processes read the page cache by
// logdir.MappedFile or, where that is asked for, the device by logdir.DeviceFile. The
// crash lab's files are in memory. Inspect reads heads only, and fails in Load.
//
// Head and Touch return an *UnreadableError where blocks cannot be read: they are
// zeros then, and the rest is as it should be, what Head returns included.
type Bytes interface {
	// Head returns the first bytes of the file, up to frame.DataOffset.
	Head() ([]byte, error)
	// Load returns all bytes of the file, of which none are touched before a
	// Touch that covers them.
	Load() ([]byte, error)
	// Touch makes bytes [from, to) of what Load returned readable.
	Touch(from, to int64) error
	// Release says that bytes [from, to) are not read any more, until the next Touch
	// that covers them: what is readable at once is bounded, whatever the file's size.
	Release(from, to int64)
	// Unload says that the bytes are not read any more, until the next Load.
	Unload()
}

// Options say how much of the log is read, and who is told of it.
type Options struct {
	// All reads from the log's first segment on. Otherwise recovery begins at the
	// newest segment whose predecessors are proved to have been durable.
	All bool
	// From has recovery begin, where All is not set, no later than at the segment
	// that holds this LSN. Zero sets no such bound.
	From frame.LSN
	// UUID is the log's identity if it is known from elsewhere, or zero. This and Newest
	// are what the lock file says: package logdir sets both.
	UUID frame.UUID
	// Newest is a checkpoint of that log that is known from elsewhere, or zero. In
	// the current epoch it says up to where records were durable, and in which
	// segment; one of an older epoch is ignored.
	Newest frame.Checkpoint
	// Visit, if set, is called with each record of the legal prefix from where
	// recovery begins, in order, a batch only when it is complete. Its error ends
	// recovery and is returned.
	Visit func(Record) error
	// Behind, if set, is called with each intact record behind the tail.
	Behind func(Record) error
	// Passed, if set, is called with each place of a chain that was followed: the
	// start of a segment, and what lies behind each of its frames. The tail may turn
	// out to lie before some of them.
	Passed func(Place)
	// Progress, if set, is called with the number of bytes read since the last call.
	Progress func(bytes int64)
	// Stop, if set, is called now and then; its error ends recovery.
	Stop func() error
	// Wrong is 0 but in the crash lab.
	Wrong seam.Wrong
}

// Record is one record, and where it lies.
type Record struct {
	LSN     frame.LSN
	Payload []byte // valid during the call
	Segment int    // index into the files as they were given
	Offset  int64  // of its frame in the segment

	Epoch    uint32 // of its frame: within one epoch no LSN is given twice
	Checksum uint32 // of the payload, as the frame says
	First    bool   // it begins its batch
	// Guessed says that the record's segment has lost its header and its stamp, so
	// that only the frames themselves show that they form a chain.
	Guessed bool
}

// Place is a place in the chain, in one of the files.
type Place struct {
	File   int // index into the files as they were given
	Offset int64
	LSN    frame.LSN // of the last record before it
	Link   frame.Link
	Epoch  uint32
}

// Verdict is the outcome of recovery.
type Verdict int

// The verdicts.
const (
	// Clean says that nothing lies behind the last record.
	Clean Verdict = iota
	// Torn says that something lies behind the last record, which a crash
	// explains: nothing that was acknowledged is lost.
	Torn
	// Damaged says that acknowledged records are lost or altered, or that a
	// file is missing or unreadable.
	Damaged
)

// String returns the verdict's word, as scripts read it.
func (v Verdict) String() string {
	switch v {
	case Clean:
		return "clean"
	case Torn:
		return "torn"
	default:
		return "damaged"
	}
}

// Damage is one place where acknowledged data is lost or altered.
type Damage struct {
	File   string // base name
	Offset int64  // in bytes
	// First and Last are the LSNs that are lost, both inclusive; both zero
	// where no record is known to be lost.
	First, Last frame.LSN
	// Unknown says that more records may be lost there than First to Last, and
	// that nothing tells how many.
	Unknown bool
	// Gap says that a file, or a part of one, is missing or cannot be read. A
	// concurrent writer never causes that.
	Gap    bool
	Reason string
}

// Tail is where the log ends.
type Tail struct {
	File   int // index into the files as they were given, or -1: there is none
	Offset int64
	LSN    frame.LSN // the last record's
	Link   frame.Link
	Epoch  uint32
	// Frame is the offset of the last frame before it, which has the link; 0 where
	// the segment's stamp begins it.
	Frame int64
}

// Segment is what recovery found out about one file.
type Segment struct {
	Name    string
	Ordinal uint64
	First   frame.LSN // of its stamp; 0 where it has none
	Last    frame.LSN // the last of its records in the log; 0 where it was not read
	Records uint64
	Used    int64 // bytes up to the end of its last frame in the log
	Torn    int64 // bytes behind that up to the last one that is not zero
	State   State
}

// State says what a file is to its log.
type State string

// The states of a segment.
const (
	StateUnread    State = "unread"    // not read: its records are proved to have been durable
	StateFull      State = "full"      // records, and the log goes on in the next one
	StateActive    State = "active"    // the log ends in it
	StatePrepared  State = "prepared"  // zeros, ready for records
	StateTemporary State = "temporary" // being prepared: it has no final name yet
	StateTorn      State = "torn"      // behind the tail, and not zero
	StateRemains   State = "remains"   // behind a cut that a crash interrupted
	StateLeftover  State = "leftover"  // wholly before the log's first record
	StateDamaged   State = "damaged"   // its header does not validate, or it is not what its name says
)

// Result is what recovery found.
type Result struct {
	UUID    frame.UUID // zero if no segment has a valid header
	Verdict Verdict
	Damage  []Damage
	// Warnings are findings that cost no record and stop nothing.
	Warnings []string

	Front     frame.LSN // the log's first LSN
	First     frame.LSN // the first that a segment holds: above Front where the first segments are missing
	Watermark frame.LSN // proved to have been durable
	Epoch     uint32    // the current one
	Cut       frame.Cut // with which it began
	Tail      Tail
	Records   uint64 // valid ones, from where recovery began
	TornBytes int64
	// Behind are the intact records behind the tail, as LSN ranges: what a
	// trim would remove.
	Behind   []Range
	Segments []Segment // as the files were given

	// UsedTemp says that a file with its temporary name was a segment of the log before.
	UsedTemp bool
}

// Range is a run of LSNs, both inclusive.
type Range struct{ First, Last frame.LSN }

// ErrForeign reports a valid segment of another log.
var ErrForeign = errors.New("recovery: segment of another log")

// ErrVersion reports a segment of a newer format.
var ErrVersion = errors.New("recovery: newer format")

// NameError says which file a refusal is about.
type NameError struct {
	Name   string
	Err    error
	Detail string
}

// Error implements error.
func (e *NameError) Error() string { return fmt.Sprintf("%s: %v: %s", e.Name, e.Err, e.Detail) }

// Unwrap returns the sentinel.
func (e *NameError) Unwrap() error { return e.Err }

// Recover finds out which records a log holds. The files must be sorted by
// ordinal. It returns an error only where that cannot be found out: a file could not be
// read (the error of Bytes), belongs to another log (ErrForeign) or to a newer
// format (ErrVersion). What is wrong with the log's bytes is in the result.
func Recover(files []File, o Options) (*Result, error) {
	a, err := readHeads(files, o)
	if err != nil {
		return nil, err
	}
	// A slot of a segment without header and stamp can be checked only with a seed. It may
	// be the one that names the newest cut, so the seeds come before the epoch; and only
	// the epoch tells which files are the log's.
	if err = a.findSeeds(); err != nil {
		return nil, err
	}
	a.chooseEpoch()
	a.classify()
	start := 0
	if !o.All {
		if start, err = a.findStart(); err != nil {
			return nil, err
		}
		start = a.beforeDamage(start)
	}
	// findStart has followed frames without these: it may follow the same ones several
	// times, and a record is handed out once.
	a.o.Visit, a.o.Behind, a.o.Progress = o.Visit, o.Behind, o.Progress
	if err := a.analyzeFrom(start); err != nil {
		return nil, err
	}
	return a.finish(), nil
}
