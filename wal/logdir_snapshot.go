package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// sight is a log's directory opened for reading.
type sight struct {
	dir    *durability.Dir
	lock   *durability.File // nil where it is missing or may not be read
	files  []*logdir.MappedFile
	open   logdir.OpenFiles
	device []*logdir.DeviceFile // the same files, where the device is to be read
	room   []byte               // into which those are read
	known  logdir.Identity      // what the lock file says
	locked bool                 // there is a lock file
	live   bool                 // a writer holds it, or did while this was open
	unsure error                // why it cannot be asked whether there is a writer
	gone   bool                 // a file went between listing and opening

	untouched bool // a file that is opened again is known by its inode alone
}

// openSight opens all files, and asks whether the log has a writer. The caller
// closes what it returns, also with an error.
func openSight(dir *durability.Dir, device bool) (*sight, error) {
	s := &sight{dir: dir}
	return s, s.openAll(device)
}

// openUntouched is openSight that brings no byte of a segment into memory.
func openUntouched(dir *durability.Dir) (*sight, error) {
	s := &sight{dir: dir, untouched: true}
	return s, s.openAll(false)
}

// openAll opens all files.
func (s *sight) openAll(device bool) error {
	if err := s.openLock(); err != nil {
		return err
	}
	for range maxHeadReads {
		gone, err := s.openListed(device)
		if err != nil {
			return err
		}
		if s.gone = gone; !gone {
			break
		}
	}
	return nil
}

// openListed opens the files that are listed and not open yet, and closes those
// that are not listed any more. It reports whether one was removed or recycled
// since it was listed: what is open then is what no listing shows.
func (s *sight) openListed(device bool) (gone bool, err error) {
	entries, err := logdir.List(s.dir)
	if err != nil {
		return false, err
	}
	old := make(map[logdir.Entry]*logdir.MappedFile)
	for _, c := range s.files {
		old[c.Entry] = c
	}
	s.files, s.device = nil, nil
	for _, e := range entries {
		c := old[e]
		if delete(old, e); c == nil {
			c = &logdir.MappedFile{Entry: e, Dir: s.dir, OnTouch: s.ask, Headless: s.untouched}
			if err = errors.Join(err, c.Open(&s.open)); errors.Is(err, fs.ErrNotExist) {
				gone, err = true, nil
				continue
			}
		}
		s.files = append(s.files, c) // also one that failed, to be closed
		if device {
			s.device = append(s.device, &logdir.DeviceFile{MappedFile: c, Buffer: &s.room})
		}
	}
	for _, c := range old {
		err = errors.Join(err, c.Close())
	}
	return gone, err
}

// openLock opens the lock file. A user who may not read it may look all the
// same, where the segments can be read.
func (s *sight) openLock() error {
	f, err := s.dir.Open(logdir.LockName, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		s.locked, s.unsure = true, err
		return nil
	case err != nil:
		return err
	}
	s.locked, s.lock = true, f
	if s.live, err = f.Locked(); err != nil {
		return err
	}
	s.known, err = logdir.ReadIdentity(f.ReadAt)
	return err
}

// holdsLog returns ErrMissing where the directory holds no log.
func (s *sight) holdsLog(path string) error {
	if len(s.files) > 0 || s.known.UUID != (frame.UUID{}) || s.unsure != nil {
		return nil
	}
	return holdsNone(path, s.locked)
}

// ask asks again whether the log has a writer: one may have come.
func (s *sight) ask() {
	if s.live || s.lock == nil {
		return
	}
	if live, err := s.lock.Locked(); err == nil {
		s.live = live
	}
}

// shared reports whether somebody may write to what is mapped.
func (s *sight) shared() bool { return s.device == nil && (s.live || s.lock == nil) }

// bytes returns the size of all files.
func (s *sight) bytes() int64 {
	n := int64(0)
	for _, c := range s.files {
		n += c.Size
	}
	return n
}

// maxHeadReads bounds how often the heads are read until they stand still.
const maxHeadReads = 20

// settleHeads reads the heads of all files until two readings are the same, so
// that between the two they were all so at once. What a cut leaves in several
// heads, read half before it and half after, would show records that were cut
// long ago: the front of a log that was reset, and in an older segment records
// that lie before the front that it had.
func (s *sight) settleHeads() error {
	for range maxHeadReads {
		same := true
		for i, c := range s.files {
			read := c.ReadHead
			if s.device != nil {
				read = s.device[i].ReadHead
			}
			head, err := read()
			if err = logdir.Readable(err); err != nil {
				return err
			}
			was := c.Kept.Bytes()
			n := min(len(head), len(was), frame.ControlOffset)
			same = same && len(head) == len(was) && bytes.Equal(head[:n], was[:n])
			c.Kept = logdir.KeepHead(head)
		}
		if same {
			return nil
		}
	}
	return logdir.ErrChanged
}

// recover judges what was opened.
func (s *sight) recover(ro recovery.Options) (res *recovery.Result, err error) {
	if s.live || s.unsure != nil {
		if err = s.settleHeads(); err != nil {
			return nil, err
		}
	}
	err = durability.Guard(func() (err error) {
		res, err = logdir.Recover(s.known, s.recoveryFiles(), ro)
		return err
	})
	return res, err
}

// recoveryFiles returns the files as recovery takes them.
func (s *sight) recoveryFiles() []recovery.File {
	files := make([]recovery.File, 0, len(s.files))
	for i, c := range s.files {
		f := recovery.File{Name: c.Name, Ordinal: c.Ordinal, Temp: c.Temp, Size: c.Size, Bytes: c}
		if s.device != nil {
			f.Bytes = s.device[i]
		}
		files = append(files, f)
	}
	return files
}

// faultOf returns the error of a function that a mapped record was handed to.
func (s *sight) faultOf(r recovery.Record, err error) error {
	return s.files[r.Segment].FaultOf(r, err)
}

// moved reports whether any file is no longer what it was opened as: it was
// removed, renamed or replaced, or others have come.
func (s *sight) moved() bool {
	now := s.listing()
	if len(now) != len(s.files) {
		return true
	}
	for i, c := range s.files {
		if now[i].Name != c.Name || !c.StillNamed() {
			return true
		}
	}
	return false
}

// listing returns the segments' names as they are now, or nothing where they
// cannot be had.
func (s *sight) listing() []logdir.Entry {
	now, err := logdir.List(s.dir)
	if err != nil {
		return nil
	}
	return now
}

// shrunk returns an error that names the first file that has become shorter
// since it was opened. What was read of its last page then, zeros, is not what
// the log holds.
func (s *sight) shrunk() error {
	for _, c := range s.files {
		f, err := c.Held.Use()
		if errors.Is(err, logdir.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
			continue // moved says so
		}
		if err != nil {
			return err
		}
		now, err := f.Size()
		if err != nil {
			return err
		}
		if now < c.Size {
			return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), now, logdir.ErrTruncatedFile)
		}
	}
	return nil
}

// control returns what the log's writer says in the segment that the log ends
// in. Within an epoch the words only rise, so that the greatest of all
// segments' are its.
func (s *sight) control() frame.Control {
	var top frame.Control
	for _, c := range s.files {
		top = top.Later(c.Control())
	}
	return top
}

// exceeds reports whether the block that was read before says that the log
// begins, or ends, behind where it was found to.
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

// count adds up what was read, and warns of what could not be asked or read.
func (s *sight) count(rep *Report) []string {
	var warnings []string
	if s.unsure != nil {
		warnings = append(warnings, fmt.Sprintf("cannot ask whether the log has a writer, whose work may look torn: %v", s.unsure))
	}
	reasons := make(map[string]int64)
	for _, c := range s.files {
		rep.Bytes += c.Read
	}
	for _, d := range s.device {
		rep.BufferedBytes += d.Buffered
		if d.Buffered > 0 {
			reasons[d.Reason] += d.Buffered
		}
	}
	for reason, n := range reasons {
		warnings = append(warnings, fmt.Sprintf("%d bytes were read from the page cache and not from the device: %s", n, reason))
	}
	slices.Sort(warnings)
	return warnings
}

// close closes all files.
func (s *sight) close() error {
	var errs []error
	for _, c := range s.files {
		errs = append(errs, c.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	logdir.FreeBuffer(s.room)
	s.room = nil
	return errors.Join(errs...)
}
