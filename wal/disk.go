package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// diskFile is a segment's file as Open reads it: synced first, then read from
// the device, since after a failed writeback the page cache holds, as clean
// pages, what the device never got (kernel fact 4).
type diskFile struct {
	entry
	dir    *durability.Dir
	file   *durability.File
	size   int64
	head   []byte
	data   []byte // what was loaded; read as far as Touch asked
	read   int64  // bytes that were read
	mode   durability.ReadMode
	loaded bool

	dropped bool  // the page cache was emptied before it was read through
	stays   int64 // bytes that stayed in it all the same
}

var _ recovery.Bytes = (*diskFile)(nil)

// open opens the file for writing: where its sync fails, this descriptor is
// told.
func (d *diskFile) open() error {
	f, err := d.dir.Open(d.name, true)
	if err != nil {
		return err
	}
	d.file = f
	d.size, err = f.Size()
	return err
}

// Head implements recovery.Bytes.
func (d *diskFile) Head() ([]byte, error) {
	if d.head != nil {
		return d.head, nil
	}
	// What the stamp of a segment on its way says decides whether the file is
	// read at all, or removed.
	if d.temp {
		if err := d.file.Sync(); err != nil {
			return nil, err
		}
	}
	d.head = make([]byte, min(d.size, frame.DataOffset))
	return d.head, d.readAt(d.head, 0)
}

// refresh takes the head from what was loaded, and reports whether it is
// another: the head is read first, the file is synced only when it is loaded,
// and in between the sync may have brought a stamp or a slot to the device.
func (d *diskFile) refresh() (bool, error) {
	if !d.loaded {
		return false, nil
	}
	if err := d.Touch(0, int64(len(d.head))); err != nil {
		return false, err
	}
	now := d.data[:len(d.head)]
	other := !bytes.Equal(now, d.head)
	d.head = bytes.Clone(now)
	return other, nil
}

// Load implements recovery.Bytes. It makes the file durable before any of its
// frames is looked at.
func (d *diskFile) Load() ([]byte, error) {
	if d.loaded {
		return d.data, nil
	}
	if err := d.file.Sync(); err != nil {
		return nil, err
	}
	var err error
	if d.data, err = newRoom(d.file, d.size); err != nil {
		return nil, err
	}
	d.loaded, d.dropped = true, false // what was dirty can be dropped now
	return d.data, nil
}

// Touch implements recovery.Bytes.
func (d *diskFile) Touch(from, to int64) error {
	if to <= d.read {
		return nil
	}
	// Everything before is read too: what is compared with the cache later has
	// no gaps.
	err := d.readAt(d.data[d.read:to], d.read)
	d.read = to
	return err
}

// Unload implements recovery.Bytes. What was read is kept for the comparison
// with the page cache.
func (d *diskFile) Unload() {}

// readAt reads from the device, all of p. Where the filesystem has no direct
// reads, the page cache is emptied first, as far as the kernel lets it.
func (d *diskFile) readAt(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, mode, err := d.file.ReadDirect(p, off)
	if mode == durability.ModeBuffered && !d.dropped {
		if derr := d.dropCache(); derr != nil {
			return derr
		}
		n, mode, err = d.file.ReadDirect(p, off)
	}
	d.mode = mode
	if n == len(p) {
		return nil
	}
	if err == nil || isEOF(err) {
		err = errors.New("the file was truncated meanwhile")
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", d.file.Path(), off, err)
}

// dropCache drops the file's clean pages from the page cache, so that the next
// read through it comes from the device. Pages that another process maps stay
// (kernel fact 4), and what they hold is believed: how many there are is told.
func (d *diskFile) dropCache() error {
	d.dropped, d.stays = true, 0
	if fsys, err := d.dir.Filesystem(); err != nil || !fsys.Durable {
		return err // the page cache of a filesystem in memory is the device
	}
	if err := d.file.DropCache(0, 0); err != nil {
		return err
	}
	mem, err := d.file.Map(d.size, false)
	if err != nil {
		return err
	}
	resident, err := mem.Resident(0, d.size)
	for _, in := range resident {
		if in {
			d.stays += int64(pageSize)
		}
	}
	return errors.Join(err, mem.Unmap())
}

// reconcile makes the page cache hold what the device holds, where it holds
// anything else, and the device keep it: what is stored beside such a page
// would otherwise carry it to the device (kernel fact 4), and whoever reads
// through the cache believes it until it is evicted. Of a file that was not
// loaded this is about the head, by which it was judged. It returns how many
// bytes differed.
func (d *diskFile) reconcile() (int64, error) {
	device := d.head
	if d.loaded {
		if err := d.Touch(0, d.size); err != nil {
			return 0, err
		}
		device = d.data[:d.size]
	}
	if len(device) == 0 {
		return 0, nil
	}
	mem, err := d.file.Map(d.size, false)
	if err != nil {
		return 0, err
	}
	differ, err := d.writeWhere(mem, device)
	err = errors.Join(err, mem.Unmap())
	if err == nil && differ > 0 {
		err = d.file.Sync()
	}
	return differ, err
}

// writeWhere writes each page of what the device holds where the page cache
// holds another.
func (d *diskFile) writeWhere(mem *durability.Mapping, device []byte) (differ int64, err error) {
	resident, err := mem.Resident(0, int64(len(device)))
	if err != nil {
		return 0, err
	}
	page := int64(pageSize)
	cached := make([]byte, page)
	for i, in := range resident {
		off := int64(i) * page
		p := device[off:min(off+page, int64(len(device)))]
		if !in {
			continue
		}
		if err = mem.Load(off, cached[:len(p)]); err != nil {
			return differ, err
		}
		if bytes.Equal(cached[:len(p)], p) {
			continue
		}
		differ += int64(len(p))
		if _, err = d.file.WriteAt(p, off); err != nil {
			return differ, err
		}
	}
	return differ, nil
}

// makeReal gives the file blocks where a sparse copy left holes, so that no
// store into the mapping has to find some.
func (d *diskFile) makeReal() error {
	st, err := d.file.Stat()
	if err != nil || st.Blocks*512 >= d.size {
		return err
	}
	n, err := d.file.FillHoles(durability.AllocateOptions{FillBytes: defaultFillBytes, Head: frame.DataOffset})
	if err != nil || n == 0 {
		return err
	}
	return d.file.Sync()
}

// close closes the file, unless it was handed on. Nothing that was loaded may be
// looked at any more.
func (d *diskFile) close() error {
	freeRoom(d.data)
	f := d.file
	d.file, d.data, d.loaded = nil, nil, false
	if f == nil {
		return nil
	}
	return f.Close()
}

// cachedFile is a segment's file as Verify and Dump read it: through a mapping
// of the page cache, as readers are served, with read permission only.
type cachedFile struct {
	entry
	dir     *durability.Dir
	file    *durability.File
	size    int64
	head    []byte
	mem     *durability.Mapping
	read    int64
	touched func() // called with each Touch
}

var _ recovery.Bytes = (*cachedFile)(nil)

// open opens the file for reading. A segment that got its final name since it
// was listed is found under that.
func (c *cachedFile) open() error {
	f, err := c.dir.Open(c.name, false)
	if c.temp && errors.Is(err, fs.ErrNotExist) {
		if f, err = c.dir.Open(finalName(c.ordinal), false); err == nil {
			c.name, c.temp = finalName(c.ordinal), false
		}
	}
	if err != nil {
		return err
	}
	c.file = f
	c.size, err = f.Size()
	return err
}

// Head implements recovery.Bytes.
func (c *cachedFile) Head() (_ []byte, err error) {
	if c.head == nil {
		c.head, err = c.readHead()
	}
	return c.head, err
}

// readHead reads the head as it is now.
func (c *cachedFile) readHead() ([]byte, error) {
	head := make([]byte, frame.DataOffset)
	n, err := c.file.ReadAt(head, 0)
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
	var err error
	if c.mem, err = c.file.Map(c.size, false); err != nil {
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
	return c.mem.PopulateRead(from, to-from)
}

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
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// deviceFile is a segment's file as Verify reads it from the device: around the
// page cache where the filesystem lets it, and otherwise through it.
type deviceFile struct {
	*cachedFile
	room     *[]byte // shared: one file is loaded at a time
	data     []byte
	buffered int64 // bytes that came from the page cache
}

var _ recovery.Bytes = (*deviceFile)(nil)

// Head implements recovery.Bytes.
func (d *deviceFile) Head() (_ []byte, err error) {
	if d.head == nil {
		d.head, err = d.readHead()
	}
	return d.head, err
}

// readHead reads the head as it is now.
func (d *deviceFile) readHead() ([]byte, error) {
	head := make([]byte, min(d.size, frame.DataOffset))
	return head, d.readAt(head, 0)
}

// Load implements recovery.Bytes. No segment is larger than the limit, however
// long its file is.
func (d *deviceFile) Load() ([]byte, error) {
	n := min(d.size, frame.MaxSegmentBytes)
	if int64(cap(*d.room)) < n {
		freeRoom(*d.room)
		var err error
		if *d.room, err = newRoom(d.file, n); err != nil {
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

// Unload implements recovery.Bytes.
func (d *deviceFile) Unload() { d.data = nil }

// readAt reads all of p.
func (d *deviceFile) readAt(p []byte, off int64) error {
	n, mode, err := d.file.ReadDirect(p, off)
	if mode == durability.ModeBuffered {
		d.buffered += int64(n)
	}
	if n == len(p) {
		return nil
	}
	if err == nil || isEOF(err) {
		err = errShorter
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", d.file.Path(), off+int64(n), err)
}
