package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// diskFile is a segment's file as Open reads it: synced first, then read from
// the device, since after a failed writeback the page cache holds, as clean
// pages, what the device never got (kernel fact 4).
type diskFile struct {
	logdir.Entry
	dir    *durability.Dir
	held   logdir.OpenFile
	gone   bool             // it was closed for good, or handed on
	handed *durability.File // to whom it was handed on; it may still be read
	size   int64
	span   int64 // bytes of it that are the segment's; set by Load
	head   *logdir.KeptHead
	reason string // why it was read through the page cache
	loaded bool   // it was synced, and its frames may have been read
	room   diskRoom

	dropped bool  // the page cache was emptied before it was read through
	stays   int64 // bytes that stayed in it all the same

	tolerant bool            // what cannot be read is zeros, and told
	bad      []recovery.Span // what that is
	why      error
}

var _ recovery.Bytes = (*diskFile)(nil)

// open opens the file for writing: where its sync fails, this descriptor is
// told.
func (d *diskFile) open(set *logdir.OpenFiles) error {
	d.held = logdir.OpenFile{Set: set, Dir: d.dir, Of: &d.Entry, Writable: true, Direct: true}
	err := d.held.Open()
	d.size = d.held.Was.Size
	return err
}

// source returns the file to read from.
func (d *diskFile) source() (*durability.File, error) {
	if d.handed != nil {
		return d.handed, nil
	}
	return d.held.Use()
}

// sync makes the file durable.
func (d *diskFile) sync() error {
	f, err := d.held.Use()
	if err != nil {
		return err
	}
	return f.Sync()
}

// endDirect closes the descriptor for direct reads.
func (d *diskFile) endDirect() error {
	f := d.handed
	if f == nil {
		f = d.held.File
	}
	if f == nil {
		return nil
	}
	return f.EndDirect()
}

// Head implements recovery.Bytes.
func (d *diskFile) Head() ([]byte, error) {
	if d.head != nil {
		return d.head.Bytes(), d.badIn(0, int64(d.head.Size))
	}
	// What the stamp of a segment on its way says decides whether the file is
	// read at all, or removed.
	if d.Temp {
		if err := d.sync(); err != nil {
			return nil, err
		}
	}
	head := make([]byte, min(d.size, frame.DataOffset))
	if err := logdir.Readable(errors.Join(d.readAt(head, 0), d.endDirect())); err != nil {
		return nil, err
	}
	d.head = logdir.KeepHead(head)
	return head, d.badIn(0, int64(len(head)))
}

// refresh takes the head from what was loaded, and reports whether it is
// another: the head is read first, the file is synced only when it is loaded,
// and in between the sync may have brought a stamp or a slot to the device.
func (d *diskFile) refresh() (bool, error) {
	if !d.loaded {
		return false, nil
	}
	now := d.room.head
	if now == nil { // no byte of it was asked for
		head := make([]byte, d.head.Size)
		if err := logdir.Readable(d.readAt(head, 0)); err != nil {
			return false, err
		}
		now = logdir.KeepHead(head)
	}
	other := !bytes.Equal(now.Bytes(), d.head.Bytes())
	d.head = now
	return other, nil
}

// segmentSpan returns how many bytes of a file are the segment's, by its header.
// Where that is lost they are no more than a segment may have.
func segmentSpan(head []byte, size int64) int64 {
	if h, err := frame.DecodeHeader(head); err == nil {
		return min(size, h.SegmentBytes)
	}
	return min(size, frame.MaxSegmentBytes)
}

// readAt reads from the device, all of p or, of a tolerant file, all that can be
// read. What could not be read once is zeros from then on.
func (d *diskFile) readAt(p []byte, off int64) error {
	if !d.tolerant {
		return d.readAll(p, off)
	}
	err := d.noteBad(logdir.ReadPages(p, off, d.readAll))
	d.blank(p, off)
	return err
}

// readAll reads from the device, all of p. Where the filesystem has no direct
// reads, the page cache is emptied first, as far as the kernel lets it.
func (d *diskFile) readAll(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	f, err := d.source()
	if err != nil {
		return err
	}
	n, mode, err := f.ReadDirect(p, off)
	if mode == durability.ModeBuffered && !d.dropped {
		if derr := d.dropCache(f); derr != nil {
			return derr
		}
		n, mode, err = f.ReadDirect(p, off)
	}
	if mode == durability.ModeBuffered {
		d.reason = f.DirectReason()
	}
	if n == len(p) {
		return nil
	}
	if err == nil || isEOF(err) {
		err = errors.New("the file was truncated meanwhile")
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off, err)
}

// dropCache drops the file's clean pages from the page cache, so that the next
// read through it comes from the device. Pages that another process maps stay
// (kernel fact 4), and what they hold is believed: how many there are is told.
func (d *diskFile) dropCache(f *durability.File) error {
	d.dropped, d.stays = true, 0
	if fsys, err := d.dir.Filesystem(); err != nil || !fsys.Durable {
		return err // the page cache of a filesystem in memory is the device
	}
	if err := f.DropCache(0, 0); err != nil {
		return err
	}
	mem, err := f.Map(d.size, false)
	if err != nil {
		return err
	}
	err = eachResident(mem, d.size, func(_, n int64) error {
		d.stays += n
		return nil
	})
	return errors.Join(err, mem.Unmap())
}

// residentChunk is how many bytes of a file the kernel is asked about at once.
const residentChunk = 1 << 30

// eachResident calls fn with each page of a mapping's first bytes that is in
// memory, by its offset and how much of it lies within them.
func eachResident(mem *durability.Mapping, size int64, fn func(off, n int64) error) error {
	for from := int64(0); from < size; from += residentChunk {
		resident, err := mem.Resident(from, min(residentChunk, size-from))
		if err != nil {
			return err
		}
		for i, in := range resident {
			off := from + int64(i)*int64(pageSize)
			if !in {
				continue
			}
			if err := fn(off, min(int64(pageSize), size-off)); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcile makes the page cache hold what the device holds, where it holds
// anything else, and the device keep it: what is stored beside such a page
// would otherwise carry it to the device (kernel fact 4), and whoever reads
// through the cache believes it until it is evicted. Of a file that was not
// loaded this is about the head, by which it was judged. It returns how many
// bytes differed.
func (d *diskFile) reconcile() (differ int64, err error) {
	if d.loaded {
		differ, err = d.writeDiffering()
	} else {
		differ, err = d.reconcileHead()
	}
	err = errors.Join(err, d.endDirect())
	if err == nil && differ > 0 {
		err = d.sync()
	}
	return differ, err
}

// reconcileHead is reconcile of the head alone.
func (d *diskFile) reconcileHead() (int64, error) {
	device := d.head.Bytes()
	if len(device) == 0 {
		return 0, nil
	}
	f, err := d.held.Use()
	if err != nil {
		return 0, err
	}
	mem, err := f.Map(int64(len(device)), false)
	if err != nil {
		return 0, err
	}
	differ, err := d.writeWhere(f, mem, device)
	return differ, errors.Join(err, mem.Unmap())
}

// writeWhere writes each page of what the device holds where the page cache
// holds another.
func (d *diskFile) writeWhere(f *durability.File, mem *durability.Mapping, device []byte) (differ int64, err error) {
	cached := make([]byte, pageSize)
	err = eachResident(mem, int64(len(device)), func(off, n int64) error {
		if d.hits(off, off+n) {
			return nil
		}
		p := device[off : off+n]
		if lerr := mem.Load(off, cached[:n]); lerr != nil || bytes.Equal(cached[:n], p) {
			return lerr
		}
		differ += n
		_, werr := f.WriteAt(p, off)
		return werr
	})
	return differ, err
}

// fillHoles gives the segment blocks where a sparse copy left holes, so that no
// store into the mapping has to find some.
func (d *diskFile) fillHoles() error {
	f, err := d.held.Use()
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil || st.Blocks*512 >= d.size {
		return err
	}
	n, err := f.FillHoles(durability.AllocateOptions{
		FillBytes: defaultFillBytes, Head: frame.DataOffset, End: segmentSpan(d.head.Bytes(), d.size),
	})
	if err != nil || n == 0 {
		return err
	}
	return f.Sync()
}

// close closes the file, unless it was handed on. Nothing that was loaded may be
// looked at any more.
func (d *diskFile) close() error {
	d.gone, d.handed, d.loaded = true, nil, false
	return errors.Join(d.room.free(), d.held.Close())
}

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
