package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// cachedFile is a segment's file as Verify and Dump read it: through a mapping
// of the page cache, as readers are served, with read permission only.
type cachedFile struct {
	logdir.Entry
	dir     *durability.Dir
	held    logdir.OpenFile
	size    int64
	head    *logdir.KeptHead
	headBad error // what of it cannot be read
	mem     *durability.Mapping
	read    int64
	touched func() // called with each Touch

	untouched bool // it is known by its inode alone
}

var _ recovery.Bytes = (*cachedFile)(nil)

// open opens the file for reading. A segment that got its final name since it
// was listed is found under that.
func (c *cachedFile) open(set *logdir.OpenFiles) error {
	err := c.openNamed(set)
	if c.Temp && errors.Is(err, fs.ErrNotExist) {
		was := c.Entry
		c.Name, c.Temp = logdir.FinalName(c.Ordinal), false
		if err = c.held.Open(); err != nil && c.held.File == nil {
			c.Entry = was
		}
	}
	c.size = c.held.Was.Size
	return err
}

// openNamed opens the file by the name that it was listed by.
func (c *cachedFile) openNamed(set *logdir.OpenFiles) error {
	c.held = logdir.OpenFile{Set: set, Dir: c.dir, Of: &c.Entry, Headless: c.untouched}
	err := c.held.Open()
	c.size = c.held.Was.Size
	return err
}

// Head implements recovery.Bytes.
func (c *cachedFile) Head() ([]byte, error) { return c.headBy(c.readHead) }

// headBy returns the head, which read reads where it was not read yet.
func (c *cachedFile) headBy(read func() ([]byte, error)) ([]byte, error) {
	if c.head != nil {
		return c.head.Bytes(), c.headBad
	}
	head, err := read()
	if logdir.Readable(err) == nil {
		c.head, c.headBad = logdir.KeepHead(head), err
	}
	return head, err
}

// readHead reads the head as it is now.
func (c *cachedFile) readHead() ([]byte, error) {
	head := make([]byte, frame.DataOffset)
	f, err := c.held.Use()
	if err != nil {
		return nil, err
	}
	n, err := f.ReadAt(head, 0)
	if logdir.IsUnreadable(err) {
		head = head[:min(c.size, frame.DataOffset)]
		return head, logdir.ReadPages(head, 0, func(p []byte, off int64) error {
			_, rerr := f.ReadAt(p, off)
			return rerr
		})
	}
	if err != nil && !isEOF(err) {
		return nil, err
	}
	return head[:n], nil
}

// Load implements recovery.Bytes.
func (c *cachedFile) Load() ([]byte, error) {
	if c.size == 0 {
		return nil, nil
	}
	c.Unload() // where a fault ended an earlier round
	f, err := c.held.Use()
	if err != nil {
		return nil, err
	}
	if c.mem, err = f.Map(c.size, false); err != nil {
		return nil, err
	}
	return c.mem.Bytes(), nil
}

// Touch implements recovery.Bytes.
func (c *cachedFile) Touch(from, to int64) error {
	c.touched()
	if c.mem == nil {
		return nil
	}
	c.read = max(c.read, to)
	return logdir.Populate(c.mem, c.size, from, to)
}

// Release implements recovery.Bytes. The pages stay in the page cache.
func (c *cachedFile) Release(from, to int64) { logdir.ReleaseMapped(c.mem, from, to) }

// Unload implements recovery.Bytes.
func (c *cachedFile) Unload() {
	if c.mem != nil {
		_ = c.mem.Unmap() // read-only
		c.mem = nil
	}
}

// close closes the file.
func (c *cachedFile) close() error {
	c.Unload()
	return c.held.Close()
}

// endDirect closes the descriptor for direct reads.
func (c *cachedFile) endDirect() error {
	if c.held.File == nil {
		return nil
	}
	return c.held.File.EndDirect()
}

// deviceFile is a segment's file as Verify reads it from the device: around the
// page cache where the filesystem lets it, and otherwise through it.
type deviceFile struct {
	*cachedFile
	room     *[]byte // shared: one file is loaded at a time
	data     []byte
	buffered int64  // bytes that came from the page cache
	reason   string // why they did
}

var _ recovery.Bytes = (*deviceFile)(nil)

// Head implements recovery.Bytes.
func (d *deviceFile) Head() ([]byte, error) { return d.headBy(d.readHead) }

// readHead reads the head as it is now.
func (d *deviceFile) readHead() ([]byte, error) {
	head := make([]byte, min(d.size, frame.DataOffset))
	err := d.readAt(head, 0)
	if cerr := d.endDirect(); cerr != nil {
		err = cerr
	}
	return head, err
}

// Load implements recovery.Bytes.
func (d *deviceFile) Load() ([]byte, error) {
	n := segmentSpan(d.head.Bytes(), d.size)
	if int64(cap(*d.room)) < n {
		logdir.FreeBuffer(*d.room)
		*d.room = nil
		var err error
		if *d.room, err = logdir.NewBuffer(d.dir.Path()+"/"+d.Name, n); err != nil {
			return nil, err
		}
	}
	d.data = (*d.room)[:n]
	return d.data, nil
}

// Touch implements recovery.Bytes.
func (d *deviceFile) Touch(from, to int64) error {
	d.touched()
	d.read = max(d.read, to)
	return d.readAt(d.data[from:to], from)
}

// Release implements recovery.Bytes.
func (d *deviceFile) Release(from, to int64) { logdir.EmptyBuffer(d.data, from, to) }

// Unload implements recovery.Bytes.
func (d *deviceFile) Unload() {
	logdir.EmptyBuffer(d.data, 0, int64(len(d.data)))
	d.data = nil
	_ = d.endDirect() // read-only
}

// readAt reads all of p that can be read.
func (d *deviceFile) readAt(p []byte, off int64) error { return logdir.ReadPages(p, off, d.readAll) }

// readAll reads all of p.
func (d *deviceFile) readAll(p []byte, off int64) error {
	f, err := d.held.Use()
	if err != nil {
		return err
	}
	n, mode, err := f.ReadDirect(p, off)
	if mode == durability.ModeBuffered {
		d.buffered += int64(n)
		d.reason = f.DirectReason()
	}
	if n == len(p) {
		return nil
	}
	if err == nil || isEOF(err) {
		err = errTruncatedFile
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off+int64(n), err)
}
