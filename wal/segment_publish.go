package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/seawall-wal/seawall/wal/internal/logdir"
)

// runNamer makes filled segments durable and gives them their names, in order,
// while the preparer fills the next and the appender may be at work in them.
//
// Making a segment durable takes a sync of its data and one of the directory. Appends
// need neither, since the page cache survives the process; so they may go on in a segment
// that has its temporary name still, and only syncs wait for the name (awaitName).
// Recovery adopts such a segment where its stamp shows that the log had reached it.
//
// A segment goes through these steps here, and a crash behind each leaves:
//
//  1. Its file is written, a piece after the other, and synced: a whole segment under its temporary name. Open removes it, or adopts
//     it where its stamp shows that the log had reached it.
//  2. It is renamed: either name. Both lead to the same bytes, which are durable.
//  3. The directory is synced: the final name. named is closed, and syncs may acknowledge what
//     the segment holds.
func (l *Log) runNamer() {
	defer l.work.Done()
	for s := range l.naming {
		l.nameSegment(s)
		l.mu.Lock()
		l.prepare.unnamed--
		l.spaceAvailable.Broadcast()
		l.mu.Unlock()
	}
}

// nameSegment makes a filled segment durable and gives it its final name. A
// segment whose sync fails before it holds records is discarded; one that
// holds records poisons the log, and so does a directory whose sync fails.
//
// A directory that has no space for the name (C8), or whose permissions were taken
// away, is no such failure: nothing was changed, and what the segment holds is
// synced. The rename is tried again until it succeeds, and until then nothing in the
// segment is acknowledged.
func (l *Log) nameSegment(s *writableSegment) {
	defer close(s.named)
	l.mu.Lock()
	discarded := s.nameErr != nil // with one before it
	l.mu.Unlock()
	if discarded {
		return
	}
	// The name before it may not be durable: after a crash this one could be
	// there without it, and a gap in the names is a missing segment.
	if p := l.poison.Load(); p != nil {
		s.nameErr = p
		return
	}
	// The header is durable before the name is: under its final name a segment
	// without a valid header is damage, and so is another file that was put in the
	// segment's place.
	err := l.writeOut(s)
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		err = s.file.Check(s.expect)
	}
	if err != nil {
		if !l.discard(s, err) {
			s.nameErr = err
			_ = l.fail(err)
		}
		return
	}
	for {
		last := l.stopped.Err() != nil // the attempt is the one that Close asks for
		err := l.dir.Rename(logdir.TempName(s.ordinal), logdir.FinalName(s.ordinal), s.file)
		if err == nil {
			break
		}
		if l.discard(s, err) {
			return
		}
		if !errors.Is(err, ErrNoSpace) && !errors.Is(err, fs.ErrPermission) {
			s.nameErr = err
			_ = l.fail(err)
			return
		}
		if last || !l.awaitSpace(s, err) {
			s.nameErr = &notDurableError{err} // which Close says: it is no poison either
			return
		}
	}
	if err := l.dir.Sync(); err != nil {
		s.nameErr = err
		_ = l.fail(err)
	}
}

// writeOutBytes is how much of a prepared segment is on its way to the device at once.
const writeOutBytes = 2 << 20

// writeOut writes a segment's zeros piece by piece, so that the fsync behind it finds nothing to
// write. An fsync of 64 MiB in one piece held up each commit that waited for the same device as
// long as it took. Where there are few commits, that does no harm, and pieces take longer (a stream
// without syncs came down from 0.6 of the rate of write(2) to 0.4); and where the log has entered
// the segment, commits wait for the segment itself: then the rest is written at once.
func (l *Log) writeOut(s *writableSegment) error {
	for off := int64(0); off < s.size(); off += writeOutBytes {
		l.mu.Lock()
		hurry := s.taken || l.stats.acks.Load() == 0 || l.stats.bytesPerSync() >= writeOutBytes
		l.mu.Unlock()
		if hurry || l.stopped.Err() != nil {
			return nil
		}
		if err := s.file.WriteOut(off, min(writeOutBytes, s.size()-off)); err != nil {
			return err
		}
	}
	return nil
}

// discard removes a prepared segment that could not be made durable, and those
// behind it, and reports whether it did: not if the log has entered it. Those behind it
// go too, since a gap in the names is a missing segment. The failure counts as one of
// preparation, which waiting appenders are told, and not as poison: nothing in these
// segments was acknowledged. mu decides between this and an appender that enters.
// prepare.next goes back to its ordinal, from where the preparer begins again.
func (l *Log) discard(s *writableSegment, cause error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.taken {
		return false
	}
	s.nameErr = cause
	p := &l.prepare
	p.next, p.err, p.tried = s.ordinal, cause, p.asked
	l.opts.Logger.Warn("discarded a prepared segment", "segment", s.file.Name(), "err", cause)
	for n := len(l.ready); n > 0 && l.ready[n-1].ordinal >= s.ordinal; n-- {
		r := l.ready[n-1]
		l.ready = l.ready[:n-1]
		r.nameErr = cause
		if err := errors.Join(r.close(), l.dir.Remove(logdir.TempName(r.ordinal))); err != nil {
			l.opts.Logger.Warn("cannot remove a discarded segment", "err", err)
		}
	}
	l.spaceAvailable.Broadcast()
	return true
}

// renameRetry is how long the namer waits for space when no sync asks for an attempt.
const renameRetry = 250 * time.Millisecond

// naming is how a sync and the namer talk about a segment that holds records and
// whose directory did not take its name. Both channels hold one message, so neither
// side waits for the other.
type naming struct {
	again chan struct{}    // a sync wants another attempt
	full  chan nameFailure // the last attempt's failure
}

// newNaming returns a naming without messages.
func newNaming() naming {
	return naming{again: make(chan struct{}, 1), full: make(chan nameFailure, 1)}
}

// ask asks for another attempt.
func (n naming) ask() {
	select {
	case n.again <- struct{}{}:
	default:
	}
}

// nameFailure is why an attempt failed.
type nameFailure struct{ cause error }

// notDurableError says that a sync has to wait for space, or for a permission. It is
// no poison.
type notDurableError struct{ cause error }

// Error implements error.
func (e *notDurableError) Error() string {
	return fmt.Sprintf("wal: not durable yet, the directory does not take the segment's name: %v", e.cause)
}

// Unwrap returns the cause, which matches ErrNoSpace or fs.ErrPermission.
func (e *notDurableError) Unwrap() error { return e.cause }

// awaitSpace tells syncs why the segment has no name, and waits until another
// attempt makes sense: at once where the log ends, since space may have been freed
// between this attempt and Close. It reports false where the log is poisoned, and
// there is to be none. Between an attempt and the next, stuck says to cuts and appenders
// that the namer waits.
func (l *Log) awaitSpace(s *writableSegment, cause error) bool {
	l.mu.Lock()
	l.prepare.stuck, l.prepare.full = s, cause
	l.prepare.refused++
	l.spaceAvailable.Broadcast() // a cut does not wait for the name, nor appenders for ever
	l.mu.Unlock()
	select {
	case <-s.naming.full: // an older one that nobody read
	default:
	}
	s.naming.full <- nameFailure{cause}
	select {
	case <-s.naming.again:
	case <-time.After(renameRetry):
	case <-l.stopped.Done():
	}
	l.mu.Lock()
	l.prepare.stuck = nil
	l.mu.Unlock()
	return l.poison.Load() == nil
}

// awaitName waits until the segment has its name, durably, or says why it has
// none. Where the directory has no space for it, an attempt that began after the
// call decides: space may have been freed since the one before. A sync calls it for each
// segment that it covers, with syncMu held: one at a time waits here.
func (s *writableSegment) awaitName() error {
	asked := false
	for {
		select {
		case <-s.named:
			return s.nameErr
		default:
		}
		select {
		case <-s.named:
		case last := <-s.naming.full:
			if asked {
				return &notDurableError{last.cause}
			}
			asked = true
			s.naming.ask()
		}
	}
}
