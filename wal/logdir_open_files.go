package wal

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

const (
	// maxOpen is how many segments' files are open at once while a log is judged.
	maxOpen = 64
	// lastUsed is how many of them stay open because they were used last. Of the
	// others the one that was used last is closed: a pass over all files then finds
	// the first ones open, which a cut at the front would take first.
	lastUsed = 8
)

// openFiles are the files of a log that are open while it is judged, in the order
// of their last use. There are never more than maxOpen.
type openFiles []*openFile

// openFile is one of a log's files, open or closed for now. It is opened again when
// it is used, and has to be the one that it was: the same inode, with the same
// header. An inode number may be given to another file while nobody holds it open,
// but a header has a salt of its own.
type openFile struct {
	set      *openFiles
	dir      *durability.Dir
	entry    *entry
	writable bool
	direct   bool // the header is read from the device
	headless bool // the header is not read: that would bring pages in

	file   *durability.File // nil while it is closed
	was    durability.Stat
	header []byte // its first bytes, when it was closed
}

// open opens the file for the first time. The error of a missing one is
// fs.ErrNotExist.
func (o *openFile) open() error {
	f, err := o.dir.Open(o.entry.name, o.writable)
	if err != nil {
		return err
	}
	o.file = f
	if o.was, err = f.Stat(); err != nil {
		return err
	}
	return o.used()
}

// use returns the file, open. It stays so until others have been used.
func (o *openFile) use() (*durability.File, error) {
	if o.file == nil {
		f, err := o.dir.Open(o.entry.name, o.writable)
		if err != nil {
			return nil, err
		}
		o.file = f
		if err = o.same(); err != nil {
			o.file = nil
			_ = f.Close() // nothing was written through it
			return nil, err
		}
	}
	return o.file, o.used()
}

// same returns errMoved where the file is another one than before.
func (o *openFile) same() error {
	now, err := o.file.Stat()
	if err != nil {
		return err
	}
	var header []byte
	if !o.headless {
		if header, err = o.readHeader(); err != nil {
			return err
		}
	}
	if now.Dev != o.was.Dev || now.Ino != o.was.Ino || now.Size < o.was.Size || !bytes.Equal(header, o.header) {
		return fmt.Errorf("wal: %s is another file than before: %w", o.file.Path(), errMoved)
	}
	return nil
}

// readHeader returns the file's header block, as far as it has one that can be read.
func (o *openFile) readHeader() ([]byte, error) {
	header := make([]byte, frame.SegmentHeaderBytes)
	read := o.file.ReadAt
	if o.direct {
		read = func(p []byte, off int64) (int, error) {
			n, _, err := o.file.ReadDirect(p, off)
			return n, err
		}
	}
	n, err := read(header, frame.HeaderOffset)
	if isEOF(err) || isUnreadable(err) {
		err = nil
	}
	return header[:n], err
}

// used notes that the file was used, and closes another where too many are open.
func (o *openFile) used() error {
	list := *o.set
	if i := slices.Index(list, o); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	*o.set = append(list, o)
	if len(*o.set) <= maxOpen {
		return nil
	}
	return (*o.set)[len(*o.set)-1-lastUsed].suspend()
}

// suspend closes the file for now.
func (o *openFile) suspend() (err error) {
	if o.header == nil && !o.headless {
		if o.header, err = o.readHeader(); err != nil {
			return err
		}
	}
	return o.close()
}

// forget takes the file out of those that are open.
func (o *openFile) forget() {
	o.file = nil
	if i := slices.Index(*o.set, o); i >= 0 {
		*o.set = slices.Delete(*o.set, i, i+1)
	}
}

// close closes the file, if it is open.
func (o *openFile) close() error {
	f := o.file
	if f == nil {
		return nil
	}
	o.forget()
	return f.Close()
}
