package logdir

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// ErrChanged says that what was read is no longer what it was.
var ErrChanged = errors.New("wal: the log changed while it was read")

const (
	// MaxOpenFiles is how many segments' files are open at once while a log is
	// recovered.
	MaxOpenFiles = 64
	// lastUsed is how many of them stay open because they were used last. Of the
	// others the one that was used last is closed: a pass over all files then finds
	// the first ones open, which a cut at the front would take first.
	lastUsed = 8
)

// OpenFiles are the files of a log that are open while it is recovered, in the order
// of their last use. After each use there are no more than MaxOpenFiles: a log may have
// more segments than a process may have descriptors. One goroutine uses it.
//
// In a pass over 100 files, the first 56 stay open from their first use on, and 8 of the
// others at a time. If the one whose last use is the longest ago were closed instead, each
// file would be closed by the time that the next pass comes to it.
type OpenFiles []*OpenFile

// OpenFile is one of a log's files, open or closed for now. It is opened again when
// it is used, and has to be the one that it was: the same inode, with the same
// header. An inode number may be given to another file while nobody holds it open,
// but a header has a salt of its own. A recycled file keeps its inode and gets another
// header. A file that has grown since is still the same.
type OpenFile struct {
	Set      *OpenFiles
	Dir      *durability.Dir
	Of       *Entry
	Writable bool
	Direct   bool // the header is read from the device
	Headless bool // the header is not read: that would bring pages in

	File   *durability.File // nil while it is closed
	Was    durability.Stat
	Header []byte // its first bytes, when it was first closed; nil before that, and where Headless
}

// Open opens the file for the first time. The error of a missing one is
// fs.ErrNotExist.
func (o *OpenFile) Open() error {
	f, err := o.Dir.Open(o.Of.Name, o.Writable)
	if err != nil {
		return err
	}
	o.File = f
	if o.Was, err = f.Stat(); err != nil {
		return err
	}
	return o.used()
}

// Use returns the file, open. It stays so until lastUsed others have been used: a caller
// that keeps it for longer asks again. The error is ErrChanged, or fs.ErrNotExist, where the
// file had to be opened again and is not there any more; to a reader beside a writer that is
// a reason to begin again.
func (o *OpenFile) Use() (*durability.File, error) {
	if o.File == nil {
		f, err := o.Dir.Open(o.Of.Name, o.Writable)
		if err != nil {
			return nil, err
		}
		o.File = f
		if err = o.Same(); err != nil {
			o.File = nil
			_ = f.Close() // nothing was written through it
			return nil, err
		}
	}
	return o.File, o.used()
}

// Same returns ErrChanged where the file is another one than before.
func (o *OpenFile) Same() error {
	now, err := o.File.Stat()
	if err != nil {
		return err
	}
	var header []byte
	if !o.Headless {
		if header, err = o.readHeader(); err != nil {
			return err
		}
	}
	if now.Dev != o.Was.Dev || now.Ino != o.Was.Ino || now.Size < o.Was.Size || !bytes.Equal(header, o.Header) {
		return fmt.Errorf("wal: %s is another file than before: %w", o.File.Path(), ErrChanged)
	}
	return nil
}

// readHeader returns the file's header block, as far as it has one that can be read.
func (o *OpenFile) readHeader() ([]byte, error) {
	header := make([]byte, frame.SegmentHeaderBytes)
	read := o.File.ReadAt
	if o.Direct {
		read = func(p []byte, off int64) (int, error) {
			n, _, err := o.File.ReadDirect(p, off)
			return n, err
		}
	}
	n, err := read(header, frame.HeaderOffset)
	if isEOF(err) || IsUnreadable(err) {
		err = nil
	}
	return header[:n], err
}

// used notes that the file was used, and closes another where too many are open.
func (o *OpenFile) used() error {
	list := *o.Set
	if i := slices.Index(list, o); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	*o.Set = append(list, o)
	if len(*o.Set) <= MaxOpenFiles {
		return nil
	}
	return (*o.Set)[len(*o.Set)-1-lastUsed].suspend()
}

// suspend closes the file for now. Its header is read only here: where the log has few
// files, none is ever closed, and none has to be recognized.
func (o *OpenFile) suspend() (err error) {
	if o.Header == nil && !o.Headless {
		if o.Header, err = o.readHeader(); err != nil {
			return err
		}
	}
	return o.Close()
}

// Forget takes the file out of those that are open, without closing it: the caller has
// another owner for the descriptor, as Open has for a segment that it maps for writing.
func (o *OpenFile) Forget() {
	o.File = nil
	if i := slices.Index(*o.Set, o); i >= 0 {
		*o.Set = slices.Delete(*o.Set, i, i+1)
	}
}

// Close closes the file, if it is open.
func (o *OpenFile) Close() error {
	f := o.File
	if f == nil {
		return nil
	}
	o.Forget()
	return f.Close()
}
