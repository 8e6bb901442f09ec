package wal

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// diskFile is a segment's file as Open reads it: synced first, then read from
// the device, since after a failed writeback the page cache holds, as clean
// pages, what the device never got (kernel fact 4).
//
// It is what recovery sees as recovery.Bytes while Open analyzes the log, and what resume then
// works on: reconcile, fillGaps, save and the trim ask it what the device holds. Its life:
//
//  1. open, before any file is read.
//  2. Head reads the first blocks; Load, Touch, Release and Unload read frames
//     (open_source_read.go). The first Load syncs the file.
//  3. refresh finds out whether that sync changed the head.
//  4. reconcile makes page cache and device the same.
//  5. The tail and the prepared segments are handed on to a writableSegment (mapFile); all
//     others are closed.
//
// TruncateBack takes one to open the segment that becomes the tail again (reopenSegment).
// Verify and the readers have sources of their own, in package logdir, which sync nothing.
type diskFile struct {
	logdir.Entry
	dir    *durability.Dir
	held   logdir.OpenFile
	gone   bool             // it was closed for good, or handed on
	handed *durability.File // the same file, where it was handed on: it may still be read
	size   int64
	span   int64 // bytes of it that are the segment's; set by Load
	head   *logdir.KeptHead
	reason string // why it was read through the page cache, or ""
	loaded bool   // it was synced, and its frames may have been read
	buf    diskBuffer

	dropped bool  // the page cache was emptied before the file was read through it
	stays   int64 // bytes that stayed in it all the same

	tolerant bool            // bytes that cannot be read count as zeros, and are reported
	bad      []recovery.Span // those bytes
	why      error           // the last error of such a read
}

var _ recovery.Bytes = (*diskFile)(nil)

// open opens the file for writing, before anything of it is read: the kernel reports a
// failed writeback once to each descriptor that was open then, and so to this one.
func (d *diskFile) open(set *logdir.OpenFiles) error {
	d.held = logdir.OpenFile{Set: set, Dir: d.dir, Of: &d.Entry, Writable: true, Direct: true}
	err := d.held.Open()
	d.size = d.held.Was.Size
	return err
}

// source returns the file to read from. After it was handed on, the descriptor is the
// segment's to close, and only read here.
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

// endDirect closes the descriptor for direct reads. It is a second one for the same
// file: with one for each segment of a large log, a process would run out of them.
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

// Head implements recovery.Bytes. The head is kept, since recovery wants the same one
// each time. A file under its final name is not synced for it: a log may have many, and
// recovery reads frames of few (Load).
func (d *diskFile) Head() ([]byte, error) {
	if d.head != nil {
		return d.head.Bytes(), d.badIn(0, int64(d.head.Size))
	}
	// A segment under its temporary name is read or removed by what its stamp
	// says, so the stamp has to be durable.
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
	now := d.buf.head
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

// readAt reads from the device, all of p or, of a tolerant file, all that can be
// read. What could not be read once is zeros from then on. A file is tolerant only in a
// forced repair, which is to save what is left. To any other Open a block that cannot be
// read is an error, and nothing is changed.
func (d *diskFile) readAt(p []byte, off int64) error {
	if !d.tolerant {
		return d.readAll(p, off)
	}
	err := d.noteBad(logdir.ReadPages(p, off, d.readAll))
	d.blank(p, off)
	return err
}

// readAll reads from the device, all of p. Where the filesystem has no direct
// reads, the page cache is emptied first, as far as the kernel lets it, once for each
// file, and then read through. reason then says why, for a warning: such a read proves
// less. A file that ends early was truncated after it was listed.
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
		err = logdir.ErrTruncatedFile
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off, err)
}

// dropCache drops the file's clean pages from the page cache, so that the next
// read through it comes from the device. Pages that another process maps stay
// (kernel fact 4), and what they hold is believed: how many there are is told. It can
// drop only pages that are clean, so it is done again after the sync of Load, which
// clears dropped.
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

// eachResident calls fn with each page of a mapping's first size bytes that is in
// memory, by its offset and how much of it lies within them. The kernel's answer takes a
// byte a page, so a large file is asked about in chunks.
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

// reconcile makes the page cache hold what the device holds, wherever the two
// differ, and makes that durable. Otherwise a later store into such a page would
// write its other bytes to the device too (kernel fact 4), and what reads through
// the cache would believe them until they are evicted. Of a file that was not
// loaded, only the head is reconciled, since recovery used nothing else. It returns
// how many bytes differed. The device's bytes win, since they are what recovery has read;
// those of the cache may be what a failed writeback left, on which no one can rely.
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

// reconcileHead is reconcile of the head alone, for a file of which recovery read
// nothing else. The rest of it is proved to have been durable.
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
// holds another. Only pages that are in memory can differ, and only they are loaded.
// Writing makes the page dirty, so that the sync after it reaches the device also where
// the cache held the page as clean. A page that cannot be read is skipped: what it holds
// on the device is not known.
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
// store into the mapping has to allocate some: on a full filesystem that store would
// fault. A file with all of its blocks, which is the usual case, costs one stat. Frames
// that were there stay as they are: only holes are written to. It is asked before a file
// is mapped for writing, by mapFile and reopenSegment, and when a short file was
// extended.
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
		FillBytes: defaultFillBytes, Head: frame.DataOffset, End: logdir.SegmentSpan(d.head.Bytes(), d.size),
	})
	if err != nil || n == 0 {
		return err
	}
	return f.Sync()
}

// close closes the file, unless it was handed on. Nothing that was loaded may be
// used any more. It may be called more than once: removeAll and the trims close a file
// before they remove it, and opening.close closes all.
func (d *diskFile) close() error {
	d.gone, d.handed, d.loaded = true, nil, false
	return errors.Join(d.buf.free(), d.held.Close())
}
