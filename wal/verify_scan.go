package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

const (
	// maxScans bounds how often a log that changes concurrently is scanned again
	// without getting any farther.
	maxScans = 50
	// scanPause is the pause before the second scan; later ones are longer.
	scanPause = time.Millisecond
)

var (
	// errFiltered says that a record was not asked for.
	errFiltered = errors.New("wal: not asked for")
	// errRetry asks for another scan.
	errRetry = errors.New("wal: the log changed while it was read")
)

// scan recovers a log without writing to it, with or without a concurrent writer. Verify and
// Dump are scans, and a Repair begins with one. The files and the lock come from a
// logdir.Snapshot, which is opened again for each attempt (once); what has to outlive an
// attempt is in the fields below.
//
// A writer changes files while they are read: it cuts the front off, and removes or
// recycles those segments, or it cuts the end off. What then looks torn or damaged is
// neither. The writer announces each cut in the control block before it changes what
// readers may be reading, and renames a file before it recycles it. So a verdict that
// is not clean counts only if block, names and files are the same after the scan as
// before, or if the next scan finds the very same damage: real damage stays, while a
// writer leaves other traces each time. A clean verdict counts if the log that was
// found begins at the front that the block names, or behind it, and ends no sooner than
// the block says, or if nothing has changed: bytes that are wiped while they are read
// hide where the log begins, and what was in it.
type scan struct {
	o      VerifyOptions
	all    bool
	from   LSN
	visit  func(*logdir.Snapshot, recovery.Record) error
	behind func(*logdir.Snapshot, recovery.Record) error
	plan   bool // the report says what a forced repair would give up

	path     string
	dir      *durability.Dir
	warnings []string

	// last is the record up to which visit has been called, epoch its frame's:
	// a further scan goes on behind it, if it is still the same record.
	last  LSN
	epoch uint32
	met   bool // the current scan has come past it
	// limit is the last record that the current scan may hand out: behind what
	// was published when it began, half a frame may look like a whole one.
	limit LSN
	// seen and complaint are what the scan before found.
	seen      *frame.Control
	complaint string
}

// run scans the log until no writer disturbed the scan. An attempt that has handed out
// further records counts as progress, so that a long dump of a busy log is not given up.
func (k *scan) run(path string) (rep *Report, err error) {
	d, err := openLogDir(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	k.path, k.dir = path, d
	err = retryScan(k.o.Context, path, "read", func() (further bool, err error) {
		last := k.last
		rep, err = k.once()
		return k.last > last, err
	})
	return rep, err
}

// retryScan calls once until it returns anything but errRetry, with pauses in between.
// It gives up after maxScans calls in a row that got no further, with an error in which
// done says what could not be done with the log, and where ctx, which may be nil, ends.
func retryScan(ctx context.Context, path, done string, once func() (further bool, err error)) error {
	for n := 1; ; n++ {
		further, err := once()
		if !errors.Is(err, errRetry) {
			return err
		}
		if further {
			n = 1
		}
		if n >= maxScans {
			return fmt.Errorf("wal: %s is cut faster than it can be %s: try again when its writer has less to do", path, done)
		}
		time.Sleep(min(scanPause<<min(n, 8), 20*scanPause))
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// openLogDir opens a log's directory for reading.
func openLogDir(path string) (*durability.Dir, error) {
	d, err := durability.OpenDir(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return d, err
}

// once scans the log once. It returns errRetry where the log does not look clean and
// changes that a writer made during the scan may be the cause.
//
//  1. The snapshot is opened, and the control block read (before).
//  2. The log is recovered, and records are handed out on the way, up to limit.
//  3. Lock and block are read again. Complaints that an append in progress explains are
//     dropped (ignoreLiveTail).
//  4. What is left is believed if nothing has changed between, or if it was found twice.
func (k *scan) once() (rep *Report, err error) {
	s, err := logdir.OpenSnapshot(k.dir, k.o.Device)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return nil, err
	}
	if s.Gone { // a listed file was removed, perhaps the one with the control block
		return nil, errRetry
	}
	if err = checkHasLog(s, k.path); err != nil {
		return nil, err
	}
	before := s.Control()
	if k.limit = math.MaxUint64; s.Live && before.Epoch != 0 {
		k.limit = before.Appended
	}
	settled := s.Live || s.Unsure != nil // s.Recover then reads the heads until two readings agree
	res, err := k.recover(s)
	var handed *handError
	switch {
	case errors.As(err, &handed):
		return nil, handed.err
	case k.o.Context != nil && k.o.Context.Err() != nil:
		return nil, k.o.Context.Err()
	}
	s.RefreshLive()
	now := s.Control()
	// Where the lock cannot be read, or a writer came and went, the block shows
	// that there was one.
	live := s.Live || now != before || s.Unsure != nil && k.seen != nil && *k.seen != before
	if err == nil && live {
		ignoreLiveTail(res, published(&before, k.o.Device))
	}
	if err != nil || res.Verdict != recovery.Clean || live && exceeds(&before, res, k.o.Device) ||
		!settled && now.CutSince(before) { // a writer came between two heads
		var fault *durability.FaultError
		if serr := s.CheckSizes(); serr != nil && !errors.As(err, &fault) {
			return nil, serr
		}
		changed := now.CutSince(before) || s.Changed() || now != before && !s.Live
		unknown := s.Unsure != nil && k.seen == nil
		if (changed || unknown) && !k.sameAsBefore(res, err) {
			k.seen = &now
			return nil, errRetry
		}
	}
	if err != nil {
		return nil, refusal(k.path, err)
	}
	return k.report(s, res, live)
}

// sameAsBefore notes what was found, and reports whether the previous scan found the
// same. Clean results never count as the same: what they read is of several moments. An
// error counts by its text, but for ErrChanged, which says itself that it may not last.
func (k *scan) sameAsBefore(res *recovery.Result, err error) bool {
	words := ""
	if err != nil {
		words = err.Error()
	} else {
		words = fmt.Sprintln(res.Verdict, res.Epoch, res.Tail.LSN, res.Tail.Offset)
		for _, d := range res.Damage {
			words += fmt.Sprintln(d.File, d.Offset, d.First, d.Reason)
		}
	}
	clean := err == nil && res.Verdict == recovery.Clean
	same := words == k.complaint && !errors.Is(err, logdir.ErrChanged) && !clean
	k.complaint = words
	return same
}

// recover recovers the log from a snapshot. A further scan begins at the last record
// that was handed out, which pass then has to meet again; records before it are not
// read twice. A Verify has no visit, so that it never gets a last record, and reads
// everything each time.
func (k *scan) recover(s *logdir.Snapshot) (*recovery.Result, error) {
	ro := recovery.Options{All: k.all, From: k.from}
	if k.last > 0 {
		ro.All, ro.From = false, k.last
	}
	k.met = k.last == 0
	if k.visit != nil {
		ro.Visit = func(r recovery.Record) error { return k.pass(s, r) }
	}
	if k.o.Context != nil {
		ro.Stop = k.o.Context.Err
	}
	ro.Progress = k.o.progress(s.TotalBytes())
	return s.Recover(ro)
}

// pass calls visit with a record that no earlier scan has come to. An error of visit ends
// the scan for good where it is the caller's (handError); ErrChanged, from a copy that a
// cut has overwritten, leads to a further scan.
func (k *scan) pass(s *logdir.Snapshot, r recovery.Record) error {
	switch {
	case r.LSN > k.limit:
		return nil
	// Each cut at the end begins an epoch, so that a record with the same LSN
	// and epoch is the same record, and so are all before it. Behind a cut
	// before it there may be others in place of what was handed out.
	case !k.met && r.Epoch > k.epoch:
		return &handError{fmt.Errorf("%w: the log was cut at its end while it was read, and LSN %d is another record than the one before the cut, or follows one; try again",
			ErrTruncated, r.LSN)}
	case r.LSN < k.last:
		return nil
	case !k.met:
		k.met = true
		if next := max(k.last+1, k.from); r.LSN > next {
			k.warn("%s cut off at the front before they were read", lsnRange(next, r.LSN-1))
		}
	}
	if r.LSN == k.last {
		return nil
	}
	if err := k.visit(s, r); err != nil {
		return err
	}
	k.last, k.epoch = r.LSN, r.Epoch
	return nil
}

// lsnRange returns the subject of a sentence about some records.
func lsnRange(first, last LSN) string {
	return fmt.Sprintf("LSN %d to %d were", first, last)
}

// report makes the report of what was recovered, and reads what lies behind the tail
// if that was asked for. Earlier scans may have handed out records that were cut off
// since; of these it warns.
func (k *scan) report(s *logdir.Snapshot, res *recovery.Result, live bool) (*Report, error) {
	if k.last > res.Tail.LSN {
		k.warn("%s cut off at the end after they were read", lsnRange(res.Tail.LSN+1, k.last))
	}
	rep := newReport(k.path, res)
	rep.Live = live
	if k.plan {
		rep.giveUp(res)
	}
	if k.behind != nil && res.Verdict != recovery.Clean {
		if err := k.extract(s, res, rep); err != nil {
			return nil, err
		}
	}
	rep.Warnings = append(append(rep.Warnings, k.warnings...), rep.count(s)...)
	return rep, nil
}

// extract calls behind with the intact records behind the tail. They are read
// in a pass of their own: before the log is recovered it is not known whether they
// lie behind damage or were only just appended. Only dumps that ask for it come here: for
// a report alone, Behind names the ranges.
func (k *scan) extract(s *logdir.Snapshot, res *recovery.Result, rep *Report) error {
	ro := recovery.Options{From: max(res.Tail.LSN, 1)}
	if k.o.Context != nil {
		ro.Stop = k.o.Context.Err
	}
	ro.Behind = func(r recovery.Record) error {
		err := k.behind(s, r)
		if errors.Is(err, errFiltered) || errors.Is(err, logdir.ErrChanged) {
			return nil // not asked for; or cut off by now
		}
		if err == nil {
			rep.addExtracted(r.LSN, sureOf(r))
		}
		return err
	}
	_, err := s.Recover(ro)
	var handed *handError
	if errors.As(err, &handed) {
		return handed.err
	}
	return err
}

// sureOf says how sure it is that a record behind the tail is the log's.
func sureOf(r recovery.Record) Sure {
	if r.Guessed {
		return SureChecksums
	}
	return SureChain
}

// addExtracted notes a record that was handed out. Records that follow each other, and
// of which one is as sure as the other, make one entry.
func (rep *Report) addExtracted(lsn LSN, sure Sure) {
	if n := len(rep.Extracted); n > 0 {
		if e := &rep.Extracted[n-1]; e.Last+1 == lsn && e.Sure == sure {
			e.Last = lsn
			return
		}
	}
	rep.Extracted = append(rep.Extracted, Extract{First: lsn, Last: lsn, Sure: sure})
}

// warn adds a warning to the report.
func (k *scan) warn(format string, args ...any) {
	k.warnings = append(k.warnings, fmt.Sprintf(format, args...))
}

// progress adapts the callback.
func (o *VerifyOptions) progress(total int64) func(int64) {
	if o.Progress == nil {
		return nil
	}
	done := int64(0)
	return func(n int64) {
		done = min(done+n, total)
		o.Progress(done, total)
	}
}

// ignoreLiveTail drops the complaints that are explained by a record in progress
// behind the tail. published is the last record that readers could read before the
// files were read.
func ignoreLiveTail(r *recovery.Result, published LSN) {
	if r.Verdict == recovery.Clean || r.Tail.LSN < published {
		return
	}
	for _, d := range r.Damage {
		// What is missing or unreadable no writer explains. A break in the chain
		// may cost no record.
		if d.Gap || d.First != 0 && d.Last <= published {
			return
		}
	}
	r.Verdict, r.Damage, r.TornBytes, r.Behind = recovery.Clean, nil, 0, nil
	r.Watermark = min(r.Watermark, r.Tail.LSN)
}

// exceeds reports whether the control block that was read before the scan says that
// the log begins, or ends, behind where the scan found that. A clean result that does is
// one of bytes that were wiped while they were read.
func exceeds(c *frame.Control, r *recovery.Result, device bool) bool {
	return r.Front < c.Front || r.Tail.LSN < published(c, device)
}

// published returns the last record that must be found: the device need not
// have more than what was synced.
func published(c *frame.Control, device bool) LSN {
	if device {
		return c.Durable
	}
	return c.Appended
}
