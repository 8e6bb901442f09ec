package logdir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// Snapshot is a log's directory opened for reading: the files that it holds at one
// moment, as far as a writer lets that be had. Verify and Dump (scan.once) and Inspect make
// one for each attempt; one goroutine uses it, and it writes nothing and takes no lock.
// LogReader lists and opens files of its own, since it compares them with control blocks.
//
// A writer goes on while the snapshot is made and used. It is the caller who finds out
// whether that matters: it reads Control before and after, and asks Changed; what differs
// makes a bad verdict doubtful, and the caller begins again with another snapshot. Here two
// things are done against it: files are listed again until none is missing (openAll), and
// heads are read until they agree (settleHeads).
type Snapshot struct {
	Files  []*MappedFile
	Device []*DeviceFile // the same files, in the same order, where the device is to be read; or nil
	Known  Identity      // what the lock file says
	Locked bool          // there is a lock file
	Live   bool          // a writer holds it, or did while this was open
	Unsure error         // why it is not known whether there is a writer
	Gone   bool          // a file was removed between listing and opening

	dir      *durability.Dir
	lock     *durability.File // nil where it is missing or may not be read
	open     OpenFiles
	buffer   []byte // for the device files, of which one is loaded at a time
	headless bool   // a file that is opened again is known by its inode alone
}

// OpenSnapshot opens all files, and checks whether the log has a writer. The caller
// closes what it returns, also with an error.
func OpenSnapshot(dir *durability.Dir, device bool) (*Snapshot, error) {
	s := &Snapshot{dir: dir}
	return s, s.openAll(device)
}

// OpenSnapshotHeadless is OpenSnapshot that brings no byte of a segment into memory.
func OpenSnapshotHeadless(dir *durability.Dir) (*Snapshot, error) {
	s := &Snapshot{dir: dir, headless: true}
	return s, s.openAll(false)
}

// openAll opens all files. A file that is gone when it is opened was cut off, or got
// another name: then the directory is listed again, since what is open would show a log with
// a segment missing. The lock comes first. A writer that locks it after that is noticed
// later (RefreshLive), with each piece that is read.
func (s *Snapshot) openAll(device bool) error {
	if err := s.openLock(); err != nil {
		return err
	}
	for range maxHeadReads {
		gone, err := s.openListed(device)
		if err != nil {
			return err
		}
		if s.Gone = gone; !gone {
			break
		}
	}
	return nil
}

// openListed opens the files that are listed and not open yet, and closes those
// that are not listed any more. It reports whether one was removed or recycled
// since it was listed: what is open then is what no listing shows. Files that are listed
// again are not opened again: whether their names lead to other files by now is for Changed
// to find.
func (s *Snapshot) openListed(device bool) (gone bool, err error) {
	entries, err := List(s.dir)
	if err != nil {
		return false, err
	}
	old := make(map[Entry]*MappedFile)
	for _, m := range s.Files {
		old[m.Entry] = m
	}
	s.Files, s.Device = nil, nil
	for _, e := range entries {
		m := old[e]
		if delete(old, e); m == nil {
			m = &MappedFile{Entry: e, Dir: s.dir, OnTouch: s.RefreshLive, Headless: s.headless}
			oerr := m.Open(&s.open)
			if errors.Is(oerr, fs.ErrNotExist) {
				gone = true
				continue
			}
			err = errors.Join(err, oerr)
		}
		s.Files = append(s.Files, m) // also one that failed, to be closed
		if device {
			s.Device = append(s.Device, &DeviceFile{MappedFile: m, Buffer: &s.buffer})
		}
	}
	for _, m := range old {
		err = errors.Join(err, m.Close())
	}
	return gone, err
}

// openLock opens the lock file. A user who may not read it can read the log all the
// same, where the segments can be read. Then nothing is known of the log's identity and of
// its writer, and Unsure has the caller be careful as with a writer.
func (s *Snapshot) openLock() error {
	f, err := s.dir.Open(LockName, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		s.Locked, s.Unsure = true, err
		return nil
	case err != nil:
		return err
	}
	s.Locked, s.lock = true, f
	if s.Live, err = f.Locked(); err != nil {
		return err
	}
	s.Known, err = ReadIdentity(f.ReadAt)
	return err
}

// RefreshLive checks again whether the log has a writer: one may have started. Live is
// never taken back: what was read while a writer was there stays doubtful when it has gone.
func (s *Snapshot) RefreshLive() {
	if s.Live || s.lock == nil {
		return
	}
	if live, err := s.lock.Locked(); err == nil {
		s.Live = live
	}
}

// Shared reports whether another process may write to what is mapped. Without a lock file
// that can be asked, it may. What was read from the device lies in a buffer of this process.
func (s *Snapshot) Shared() bool { return s.Device == nil && (s.Live || s.lock == nil) }

// TotalBytes returns the size of all files.
func (s *Snapshot) TotalBytes() int64 {
	n := int64(0)
	for _, m := range s.Files {
		n += m.Size
	}
	return n
}

// maxHeadReads bounds how often the heads are read until they stay the same.
const maxHeadReads = 20

// settleHeads reads the heads of all files until two readings are the same, so
// that between the two they were all so at once. What a cut leaves in several
// heads, read half before it and half after, would show records that were cut
// long ago: the front of a log that was reset, and in an older segment records
// that lie before the front that it had. The control block is left out of the comparison:
// it changes with each append, and recovery does not read it.
func (s *Snapshot) settleHeads() error {
	for range maxHeadReads {
		same := true
		for i, m := range s.Files {
			read := m.readHead
			if s.Device != nil {
				read = s.Device[i].readHead
			}
			head, err := read()
			unreadable := err
			if err = Readable(err); err != nil {
				return err
			}
			was := m.Kept.Bytes()
			n := min(len(head), len(was), frame.ControlOffset)
			same = same && len(head) == len(was) && bytes.Equal(head[:n], was[:n])
			m.Kept, m.keptErr = KeepHead(head), unreadable
		}
		if same {
			return nil
		}
	}
	return ErrChanged
}

// Recover recovers the log from what was opened. Where no writer is known of, each head is
// read once, when recovery asks for it. Mapped bytes are read under
// Guard: a file that is truncated now, or a page that cannot be read, is an error.
func (s *Snapshot) Recover(ro recovery.Options) (res *recovery.Result, err error) {
	if s.Live || s.Unsure != nil {
		if err = s.settleHeads(); err != nil {
			return nil, err
		}
	}
	err = durability.Guard(func() (err error) {
		res, err = Recover(s.Known, s.RecoveryFiles(), ro)
		return err
	})
	return res, err
}

// RecoveryFiles returns the files as recovery takes them. Inspect puts Bytes of its own in,
// which bring no page into memory.
func (s *Snapshot) RecoveryFiles() []recovery.File {
	files := make([]recovery.File, 0, len(s.Files))
	for i, m := range s.Files {
		f := recovery.File{Name: m.Name, Ordinal: m.Ordinal, Temp: m.Temp, Size: m.Size, Bytes: m}
		if s.Device != nil {
			f.Bytes = s.Device[i]
		}
		files = append(files, f)
	}
	return files
}

// FaultOf returns the error of a function that was given a record's mapped bytes, which
// may be about these: see MappedFile.FaultOf.
func (s *Snapshot) FaultOf(r recovery.Record, err error) error {
	return s.Files[r.Segment].FaultOf(r, err)
}

// Changed reports whether any file is no longer what it was opened as: it was
// removed, renamed or replaced, or others were added. Appends change no name, and do not
// count. Callers ask only where what they found is in doubt, since it opens each file again.
func (s *Snapshot) Changed() bool {
	now := s.listing()
	if len(now) != len(s.Files) {
		return true
	}
	for i, m := range s.Files {
		if now[i].Name != m.Name || !m.StillNamed() {
			return true
		}
	}
	return false
}

// listing returns the segments' names as they are now, or nothing where they
// cannot be had.
func (s *Snapshot) listing() []Entry {
	now, err := List(s.dir)
	if err != nil {
		return nil
	}
	return now
}

// CheckSizes returns an error that names the first file that has become shorter
// since it was opened. What was read of its last page then, zeros, is not what
// the log holds: the kernel serves the rest of that page without a fault (kernel fact 5),
// so that the log would seem to end there.
func (s *Snapshot) CheckSizes() error {
	for _, m := range s.Files {
		f, err := m.Held.Use()
		if errors.Is(err, ErrChanged) || errors.Is(err, fs.ErrNotExist) {
			continue // Changed reports it
		}
		if err != nil {
			return err
		}
		now, err := f.Size()
		if err != nil {
			return err
		}
		if now < m.Size {
			return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), now, ErrTruncatedFile)
		}
	}
	return nil
}

// Control returns the control block of the segment that the log ends in. Within an
// epoch its fields only rise, so that it is the greatest of all segments'.
func (s *Snapshot) Control() frame.Control {
	var top frame.Control
	for _, m := range s.Files {
		top = top.Later(m.Control())
	}
	return top
}

// Close closes all files.
func (s *Snapshot) Close() error {
	var errs []error
	for _, m := range s.Files {
		errs = append(errs, m.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	FreeBuffer(s.buffer)
	s.buffer = nil
	return errors.Join(errs...)
}
