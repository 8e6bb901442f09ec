package logdir

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// ErrTruncatedFile reports a file that was truncated under a reader.
var ErrTruncatedFile = errors.New("the file was truncated meanwhile")

// MappedFile is a segment's file that is read through a mapping of the page cache,
// as readers are served, with read permission only. Snapshot makes them, and LogReader does
// for a recovery of its own; both read what a writer has stored, synced or not.
//
// Heads are read by system calls, and a file is mapped from Load to Unload only. Pages are
// brought in by Touch before they are loaded, so that a load neither waits nor faults as
// long as nobody truncates the file and the pages are not evicted.
type MappedFile struct {
	Entry
	Dir      *durability.Dir
	OnTouch  func() // called with each Touch; not nil where that is called
	Headless bool   // when it is opened again it is known by its inode alone

	Held OpenFile
	Size int64     // in bytes, when it was opened
	Kept *KeptHead // its head, once it was read
	Read int64     // offset behind the last byte that was read

	keptErr error               // what of the head cannot be read
	mem     *durability.Mapping // of the whole file; nil while it is not loaded, or empty
}

var _ recovery.Bytes = (*MappedFile)(nil)

// Open opens the file for reading. A segment that got its final name since it
// was listed is found under that. The other way round, a final name that turned into a
// temporary one, is a file that is recycled: what it held is not the log's any more.
func (m *MappedFile) Open(set *OpenFiles) error {
	err := m.OpenListed(set)
	if m.Temp && errors.Is(err, fs.ErrNotExist) {
		was := m.Entry
		m.Name, m.Temp = FinalName(m.Ordinal), false
		if err = m.Held.Open(); err != nil && m.Held.File == nil {
			m.Entry = was
		}
	}
	m.Size = m.Held.Was.Size
	return err
}

// OpenListed opens the file by the name that it was listed by, and by no other: LogReader
// takes each change of a name for a reason to begin again.
func (m *MappedFile) OpenListed(set *OpenFiles) error {
	m.Held = OpenFile{Set: set, Dir: m.Dir, Of: &m.Entry, Headless: m.Headless}
	err := m.Held.Open()
	m.Size = m.Held.Was.Size
	return err
}

// Head implements recovery.Bytes.
func (m *MappedFile) Head() ([]byte, error) { return m.headBy(m.readHead) }

// headBy returns the head, which read reads where it was not read yet. It is kept from then
// on: recovery asks for it several times, and has to get the same bytes each time, also
// beside a writer. Where there may be one, Snapshot.settleHeads has read it before.
func (m *MappedFile) headBy(read func() ([]byte, error)) ([]byte, error) {
	if m.Kept != nil {
		return m.Kept.Bytes(), m.keptErr
	}
	head, err := read()
	if Readable(err) == nil {
		m.Kept, m.keptErr = KeepHead(head), err
	}
	return head, err
}

// readHead reads the head as it is now. Where a read of all of it fails, it is read page by
// page, so that the blocks on the other pages count.
func (m *MappedFile) readHead() ([]byte, error) {
	head := make([]byte, frame.DataOffset)
	f, err := m.Held.Use()
	if err != nil {
		return nil, err
	}
	n, err := f.ReadAt(head, 0)
	if IsUnreadable(err) {
		head = head[:min(m.Size, frame.DataOffset)]
		return head, ReadPages(head, 0, func(p []byte, off int64) error {
			_, rerr := f.ReadAt(p, off)
			return rerr
		})
	}
	if err != nil && !isEOF(err) {
		return nil, err
	}
	return head[:n], nil
}

// Load implements recovery.Bytes. It maps as much as the file had when it was opened. That
// fails where the file is shorter by now; where it becomes shorter later, Touch does.
func (m *MappedFile) Load() ([]byte, error) {
	if m.Size == 0 {
		return nil, nil
	}
	m.Unload() // what a fault left mapped in an earlier pass
	f, err := m.Held.Use()
	if err != nil {
		return nil, err
	}
	if m.mem, err = f.Map(m.Size, false); err != nil {
		return nil, err
	}
	return m.mem.Bytes(), nil
}

// Touch implements recovery.Bytes.
func (m *MappedFile) Touch(from, to int64) error {
	m.OnTouch()
	if m.mem == nil {
		return nil
	}
	m.Read = max(m.Read, to)
	return Populate(m.mem, m.Size, from, to)
}

// Release implements recovery.Bytes. The pages stay in the page cache.
func (m *MappedFile) Release(from, to int64) { ReleaseMapped(m.mem, from, to) }

// Unload implements recovery.Bytes.
func (m *MappedFile) Unload() {
	if m.mem != nil {
		_ = m.mem.Unmap() // read-only
		m.mem = nil
	}
}

// Close closes the file.
func (m *MappedFile) Close() error {
	m.Unload()
	return m.Held.Close()
}

// EndDirect closes the descriptor for direct reads.
func (m *MappedFile) EndDirect() error {
	if m.Held.File == nil {
		return nil
	}
	return m.Held.File.EndDirect()
}

// StillNamed reports whether the file's name still leads to it. The name is opened, and
// what that finds is compared with what was opened first, by inode and, where the file was
// closed in between, by header.
func (m *MappedFile) StillNamed() bool {
	f, err := m.Dir.Open(m.Name, false)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read-only
	again := OpenFile{File: f, Was: m.Held.Was, Header: m.Held.Header}
	if m.Held.Header == nil { // it was never closed, and its inode is no other file's
		now, err := f.Stat()
		return err == nil && now.Dev == m.Held.Was.Dev && now.Ino == m.Held.Was.Ino
	}
	return again.Same() == nil
}

// Control returns the file's control block, or zeros where it has none. That of a
// segment without a stamp is what a crash left: the log never entered it. A writer stores
// the block before the stamp. A power loss may keep the stamp without the block, which is
// then zeros, too.
func (m *MappedFile) Control() frame.Control {
	var stamp [8]byte
	var b [frame.ControlBytes]byte
	f, err := m.Held.Use()
	if err != nil {
		return frame.Control{} // it was removed or replaced: the next read finds that
	}
	if n, _ := f.ReadAt(stamp[:], frame.StampOffset); n < len(stamp) || stamp == [8]byte{} {
		return frame.Control{}
	}
	if n, _ := f.ReadAt(b[:], frame.ControlOffset); n < len(b) {
		return frame.Control{}
	}
	return frame.DecodeControl(b[:])
}

// FaultOf returns the error of a function that was given a record's mapped bytes. A
// system call answers EFAULT for bytes of a file that was truncated, as a write of the record
// to a pipe does. The bytes are asked for once more, to tell this from a fault of the
// function's own: the error then names file and offset.
func (m *MappedFile) FaultOf(r recovery.Record, err error) error {
	if m.mem == nil || !errors.Is(err, unix.EFAULT) {
		return err
	}
	if fault := m.mem.PopulateRead(r.Offset, frame.HeaderBytes+int64(len(r.Payload))); fault != nil {
		return fault
	}
	return err
}
