package wal

import (
	"bytes"
	"errors"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

const (
	// maxKept is how many bytes of segments Open keeps in memory after they are
	// unloaded, in case they are loaded again. Where all that it loads is no more
	// than that, it reads each byte once.
	maxKept = 8 << 20
	// scanBytes is how much of a segment is read at once by a scan, which never goes
	// back.
	scanBytes = 1 << 20
)

// diskBuffer is the memory that a segment's file is read into: addresses for all of
// the file, and pages only for the parts that are read.
//
// The bytes [lo, hi) are one run that was read in order and is kept; a read elsewhere, strewn,
// is not remembered, and reads again. Recovery releases what lies behind it as it goes, so that
// the pages in memory are bounded whatever the segment's size.
//
// While bytes are read from the device, they are compared with what the page cache holds of
// the same pages (compare). Only the places are kept, since reconcile comes when recovery is
// done and the bytes are released.
type diskBuffer struct {
	kept *int64 // bytes that the buffers of all files keep while those are not loaded
	mine int64  // this buffer's share of them

	data   []byte // nil where nothing of it is loaded
	lo, hi int64  // these bytes were read
	strewn bool   // others were read too

	head   *logdir.KeptHead    // as it was first read behind the sync, or nil
	view   *durability.Mapping // of the file, to ask what the page cache holds of it
	seen   int64               // bytes up to here were compared with the page cache
	differ []extent            // where the page cache held something else, page by page
}

// extent is a run of bytes of a file.
type extent struct{ off, n int64 }

// Load implements recovery.Bytes. It makes the file durable before any of its
// frames is read. What the file holds behind the segment's end is not loaded. Frames that
// only the page cache has become durable by the sync, or its failure is noticed: Open
// must not return a record that a power loss could still take.
func (d *diskFile) Load() ([]byte, error) {
	r := &d.buf
	if !d.loaded {
		if err := d.sync(); err != nil {
			return nil, err
		}
		head, err := d.Head()
		if err = logdir.Readable(err); err != nil {
			return nil, err
		}
		d.span = logdir.SegmentSpan(head, d.size)
		d.loaded, d.dropped = true, false // what was dirty can be dropped now
	}
	if r.mine > 0 {
		*r.kept -= r.mine
		r.mine = 0
	}
	if r.data == nil {
		var err error
		if r.data, err = logdir.NewBuffer(d.dir.Path()+"/"+d.Name, d.span); err != nil {
			return nil, err
		}
	}
	return r.data, nil
}

// Touch implements recovery.Bytes. What is read for the first time is compared with
// what the page cache holds, and neither is changed: the bytes may be released from
// the buffer before reconcile asks where the two differ. Bytes that cannot be read are
// zeros, and told by an error each time that they are asked for: recovery treats them as
// damage, and goes on.
func (d *diskFile) Touch(from, to int64) error {
	r := &d.buf
	switch {
	case r.lo <= from && to <= r.hi: // all of it was read, and kept
		return d.badIn(from, to)
	case r.lo == r.hi: // nothing is in the buffer: the run begins here
		r.lo, r.hi = from, from
	case from < r.lo || from > r.hi: // apart from the run, as of a header far ahead
		r.strewn = true
		if err := d.fetch(from, to); err != nil {
			return err
		}
		return d.badIn(from, to)
	}
	if err := d.fetch(r.hi, to); err != nil {
		return err
	}
	r.hi = to
	return d.badIn(from, to)
}

// fetch reads the bytes [from, to) into the buffer, as far as they can be read. It also
// takes the head from the first read that covers it: that one came behind the sync,
// unlike the one of Head (refresh).
func (d *diskFile) fetch(from, to int64) error {
	r := &d.buf
	if err := logdir.Readable(d.readAt(r.data[from:to], from)); err != nil {
		return err
	}
	if from == 0 && r.head == nil && to >= min(d.span, frame.DataOffset) {
		r.head = logdir.KeepHead(r.data[:min(d.span, frame.DataOffset)])
	}
	if from > r.seen || to <= r.seen {
		return nil // writeDiffering compares what lies behind a gap later
	}
	err := d.compare(r.seen, to)
	r.seen = to
	return err
}

// Release implements recovery.Bytes. The memory of the bytes is given back to the
// system; their addresses stay reserved. A hole in the middle of the run cannot be told
// by lo and hi, so only the part behind it counts as read from then on.
func (d *diskFile) Release(from, to int64) {
	r := &d.buf
	switch {
	case to <= r.lo || from >= r.hi:
	case from <= r.lo:
		r.lo = min(to, r.hi)
	case to >= r.hi:
		r.hi = from
	default: // what lies before stays, and is not known to be there any more
		r.lo, r.strewn = to, true
	}
	logdir.EmptyBuffer(r.data, from, to)
}

// Unload implements recovery.Bytes. Within maxKept, what was read is kept: it may soon
// be loaded again. What was strewn is never kept: lo and hi do not say what of it is
// there.
func (d *diskFile) Unload() {
	r := &d.buf
	if r.view != nil {
		_ = r.view.Unmap() // read-only
		r.view = nil
	}
	if n := r.hi - r.lo; n > 0 && !r.strewn && r.kept != nil && *r.kept+n <= maxKept {
		r.mine = n
		*r.kept += n
		return
	}
	r.drop()
}

// drop frees the memory that was read into.
func (r *diskBuffer) drop() {
	logdir.FreeBuffer(r.data)
	r.data, r.lo, r.hi, r.strewn = nil, 0, 0, false
}

// free frees all that the buffer holds, for good.
func (r *diskBuffer) free() (err error) {
	if r.view != nil {
		err = r.view.Unmap()
		r.view = nil
	}
	if r.mine > 0 {
		*r.kept -= r.mine
		r.mine = 0
	}
	r.drop()
	return err
}

// scan calls fn with the segment's bytes from an offset on, as the device holds
// them, in pieces that end at multiples of scanBytes. In a tolerant file, bytes that
// cannot be read are zeros. The trim zeroes by it, save copies by it, and writeDiffering
// reads by it what recovery did not need.
func (d *diskFile) scan(from int64, fn func(off int64, p []byte) error) error {
	data, err := d.Load()
	if err != nil {
		return err
	}
	defer d.Unload()
	for off := from; off < d.span; {
		end := min((off+scanBytes)&^(scanBytes-1), d.span)
		if err := logdir.Readable(d.Touch(off, end)); err != nil {
			return err
		}
		if err := fn(off, data[off:end]); err != nil {
			return err
		}
		d.Release(off, end)
		off = end
	}
	return d.endDirect()
}

// errFound ends a scan.
var errFound = errors.New("wal: found")

// nonzero reports whether a byte from an offset on is not zero. It stops at the first
// one.
func (d *diskFile) nonzero(from int64) (bool, error) {
	err := d.scan(from, func(_ int64, p []byte) error {
		if recovery.LastNonzero(p) > 0 {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, d.endDirect()
	}
	return false, err
}

// compare notes where, in the bytes [from, to), the page cache holds something else
// than was read from the device. Pages that could not be read are left out. Only what
// is resident is compared, so that nothing is brought into the page cache. It asks the
// kernel once which pages are resident, and loads runs of those: of a cold file, that
// question is all.
func (d *diskFile) compare(from, to int64) error {
	r := &d.buf
	if r.view == nil {
		f, err := d.source()
		if err != nil {
			return err
		}
		if r.view, err = f.Map(d.span, false); err != nil {
			return err
		}
	}
	page := int64(pageSize)
	resident, err := r.view.Resident(from, to-from)
	if err != nil {
		return err
	}
	first := from / page
	for i := range resident {
		at := (first + int64(i)) * page
		resident[i] = resident[i] && !d.hits(at, at+page)
	}
	for i := 0; i < len(resident); {
		n := 1 // pages of a run that are alike
		for i+n < len(resident) && resident[i+n] == resident[i] {
			n++
		}
		if resident[i] {
			at := max(from, (first+int64(i))*page)
			if err = d.compareCached(at, min(to, (first+int64(i+n))*page)); err != nil {
				return err
			}
		}
		i += n
	}
	return nil
}

// compareCached is compare of bytes that are in the page cache. They are copied out of
// the mapping, guarded, a buffer at a time, and the mapping's pages are released after
// that, so that what is mapped at once does not grow with the file.
func (d *diskFile) compareCached(from, to int64) error {
	r, page := &d.buf, int64(pageSize)
	buf := warmBuffers.Get().(*[segment.PopulateBytes]byte) //nolint:forcetypeassert // the pool's own
	defer warmBuffers.Put(buf)
	for off := from; off < to; {
		end := min((off+segment.PopulateBytes)&^(segment.PopulateBytes-1), to)
		cached := buf[:end-off]
		if err := r.view.Load(off, cached); err != nil {
			return err
		}
		logdir.ReleaseMapped(r.view, off, end)
		for at := off; at < end && !bytes.Equal(cached[at-off:], r.data[at:end]); {
			next := min((at/page+1)*page, end)
			if !bytes.Equal(cached[at-off:next-off], r.data[at:next]) {
				r.differ = append(r.differ, extent{at, next - at})
			}
			at = next
		}
		off = end
	}
	return nil
}

// writeDiffering writes what the device holds over each page of the page cache that
// held something else, and returns how many bytes. The scan first compares the part of
// the segment that recovery did not read. The bytes are read from the device again: those
// that recovery used may have been released. Pages that cannot be read are left as they
// are; rewrite deals with them.
func (d *diskFile) writeDiffering() (differ int64, err error) {
	if err = d.scan(d.buf.seen, func(int64, []byte) error { return nil }); err != nil {
		return 0, err
	}
	f, err := d.held.Use()
	if err != nil {
		return 0, err
	}
	p := make([]byte, pageSize)
	for _, e := range d.buf.differ {
		if err = logdir.Readable(d.readAt(p[:e.n], e.off)); err != nil {
			return differ, err
		}
		if d.hits(e.off, e.off+e.n) {
			continue
		}
		differ += e.n
		if _, err = f.WriteAt(p[:e.n], e.off); err != nil {
			return differ, err
		}
	}
	return differ, nil
}
