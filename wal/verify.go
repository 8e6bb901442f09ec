package wal

import (
	"context"
	"errors"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// VerifyOptions say how a log is verified.
type VerifyOptions struct {
	// Context ends the work early, with its error. Nil never does.
	Context context.Context
	// Progress, if set, is told how many bytes of how many have been read. It
	// begins again where a log that is written to has to be read again.
	Progress func(done, total int64)
	// Device reads what the device holds, around the page cache: after a failed
	// writeback the cache may hold, as clean pages, what the device never got.
	// Where the filesystem has no such reads, the report warns, and counts the
	// bytes in BufferedBytes.
	//
	// It writes and syncs nothing itself. What was appended and not synced may
	// not be on the device yet: behind the durable LSN the log may then look
	// torn, which is no damage, and with a writer at work is not reported.
	// Before it serves a direct read the kernel writes dirty pages of the same
	// range back, so with a concurrent writer this costs the writer some of its speed.
	Device bool
}

// Verify reads all of a log, every checksum, link and checkpoint record, and
// reports what it found. It needs read permission only, and writes nothing. It
// reads through the page cache, what readers are served.
//
// The log may be written to at the same time. A record in progress is not torn, and
// a segment that is cut off, removed or recycled concurrently is not missing:
// what looks wrong is read again, until no change of the log disturbs that.
//
// The error says that the log could not be read: ErrMissing, ErrForeign,
// ErrVersion, a *durability.FaultError where a file was truncated under the
// reader, or an error of the filesystem. What is wrong with the log is in the
// report.
func Verify(dir string) (*Report, error) { return VerifyWith(dir, VerifyOptions{}) }

// VerifyWith is Verify with options.
func VerifyWith(dir string, o VerifyOptions) (*Report, error) {
	k := scan{o: o, all: true}
	return k.run(dir)
}

// DumpOptions say which records Dump hands out.
type DumpOptions struct {
	VerifyOptions
	// From and To are the first and the last record, inclusive; 0 is the log's
	// first and last.
	From, To LSN
	// Match, if set, is asked about each of these records, and only those for
	// which it returns true are handed out; its error ends the dump. It is given
	// the bytes where they are mapped, so that a search copies nothing. It must
	// not keep them, and where the log is cut concurrently it may be shown bytes
	// that are no record's; such a record is not handed out.
	Match func(lsn LSN, payload []byte) (bool, error)
	// Behind, if set, is called like Dump's function, and after it, with the
	// intact records behind the damage or the torn tail at which the log ends:
	// whole batches only, in the order of their LSNs, each once. Those behind a
	// torn tail were never acknowledged. Match is not asked about them.
	// Report.Extracted has their LSNs.
	Behind func(LSN, []byte) error
	// Sure, if set, is called before Behind with how sure it is that the record is
	// the log's.
	Sure func(Sure)
}

// Dump calls fn with each record of the log, in order, a batch only when it is
// whole. The payload is valid during the call. It ends at the log's tail or at
// damage, which the report tells apart, or with fn's error. It needs what
// Verify needs, and returns what Verify returns.
//
// Of a log that is written to concurrently it is a prefix as of some moment: all
// records that had been published when Dump began, none that was cut before
// Dump was called, each once. With a concurrent writer fn never gets anything but
// records of the log: each is copied, and the copy checked. Where no process has
// the log open for writing it gets the mapped bytes themselves. A cut at the front
// may take records before they were handed out: they are left out, with a warning
// in the report. Where the log was cut at its end and goes on with other records
// in place of ones that were handed out, Dump returns ErrTruncated.
func Dump(dir string, o DumpOptions, fn func(LSN, []byte) error) (*Report, error) {
	k := scan{o: o.VerifyOptions, all: o.From <= 1, from: o.From}
	p := &picker{from: o.From, to: o.To}
	k.visit = func(s *logdir.Snapshot, r recovery.Record) error {
		if err := p.hand(s, r, o.Match, fn); !errors.Is(err, errFiltered) {
			return err
		}
		return nil
	}
	if o.Behind != nil {
		k.behind = func(s *logdir.Snapshot, r recovery.Record) error {
			if !p.follows(r) {
				return errFiltered
			}
			return p.hand(s, r, nil, func(lsn LSN, payload []byte) error {
				if o.Sure != nil {
					o.Sure(sureOf(r))
				}
				return o.Behind(lsn, payload)
			})
		}
	}
	return k.run(dir)
}

// picker hands out the records that were asked for.
type picker struct {
	from, to LSN
	last     LSN  // the highest LSN that was accepted of those behind the tail
	skip     bool // the batch at hand repeats LSNs
	copied   []byte
}

// hand hands a record out if it was asked for. It returns errFiltered where its
// LSN was not. Where a writer may be changing the log, the record is copied first and
// the copy checked, so that fn never sees bytes that a cut has overwritten.
func (p *picker) hand(
	s *logdir.Snapshot, r recovery.Record, match func(LSN, []byte) (bool, error), fn func(LSN, []byte) error,
) error {
	if r.LSN < p.from || p.to != 0 && r.LSN > p.to {
		return errFiltered
	}
	if match != nil {
		hit, err := match(r.LSN, r.Payload)
		if err != nil {
			return &handError{s.FaultOf(r, err)}
		}
		if !hit {
			return nil
		}
	}
	// The copy is checked, since a cut may overwrite the mapped bytes at any moment.
	payload := r.Payload
	if s.Shared() {
		p.copied = append(p.copied[:0], payload...)
		if payload = p.copied; frame.Checksum(payload) != r.Checksum {
			return logdir.ErrChanged
		}
	}
	if err := fn(r.LSN, payload); err != nil {
		return &handError{s.FaultOf(r, err)}
	}
	return nil
}

// follows reports whether a record behind the tail belongs to a batch whose
// LSNs are all above those before it: each LSN is handed out once.
func (p *picker) follows(r recovery.Record) bool {
	if r.First {
		p.skip = r.LSN <= p.last
	}
	if !p.skip {
		p.last = r.LSN
	}
	return !p.skip
}

// handError is an error of the function that records are handed to. It ends
// the scan in any case.
type handError struct{ err error }

// Error implements error.
func (e *handError) Error() string { return e.err.Error() }
