package logdir

import (
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// DeviceFile is a segment's file that is read from the device: around the page
// cache where the filesystem lets it, and otherwise through it. Verify and Dump use it where
// they are asked for the device's bytes: after a failed writeback these may be older than the
// page cache's (kernel fact 4). Unlike Open's diskFile it syncs nothing and drops nothing from
// the page cache.
//
// The MappedFile in it opens the file and keeps its head; it is never mapped. The frames are
// read into Buffer at their own offsets.
type DeviceFile struct {
	*MappedFile
	Buffer   *[]byte // of several files: one of them is loaded at a time
	Buffered int64   // bytes that came from the page cache
	Reason   string  // why they did

	data []byte // Buffer's part for this file, while it is loaded
}

var _ recovery.Bytes = (*DeviceFile)(nil)

// Head implements recovery.Bytes.
func (d *DeviceFile) Head() ([]byte, error) { return d.headBy(d.readHead) }

// readHead reads the head as it is now. It closes the second descriptor, which a direct
// read needs, at once: heads of all files are read before frames of any.
func (d *DeviceFile) readHead() ([]byte, error) {
	head := make([]byte, min(d.Size, frame.DataOffset))
	err := d.readAt(head, 0)
	if cerr := d.EndDirect(); cerr != nil {
		err = cerr
	}
	return head, err
}

// Load implements recovery.Bytes. It reads nothing. The buffer is made anew only for a file
// that is larger than all before; Unload of the one before has emptied it.
func (d *DeviceFile) Load() ([]byte, error) {
	n := SegmentSpan(d.Kept.Bytes(), d.Size)
	if int64(cap(*d.Buffer)) < n {
		FreeBuffer(*d.Buffer)
		*d.Buffer = nil
		var err error
		if *d.Buffer, err = NewBuffer(d.Dir.Path()+"/"+d.Name, n); err != nil {
			return nil, err
		}
	}
	d.data = (*d.Buffer)[:n]
	return d.data, nil
}

// Touch implements recovery.Bytes.
func (d *DeviceFile) Touch(from, to int64) error {
	d.OnTouch()
	d.Read = max(d.Read, to)
	return d.readAt(d.data[from:to], from)
}

// Release implements recovery.Bytes.
func (d *DeviceFile) Release(from, to int64) { EmptyBuffer(d.data, from, to) }

// Unload implements recovery.Bytes.
func (d *DeviceFile) Unload() {
	EmptyBuffer(d.data, 0, int64(len(d.data)))
	d.data = nil
	_ = d.EndDirect() // read-only
}

// readAt reads all of p that can be read.
func (d *DeviceFile) readAt(p []byte, off int64) error { return ReadPages(p, off, d.readAll) }

// readAll reads all of p. A read that ends early is an error: the file was as long as that
// when it was opened, and zeros in place of the rest would look like the log's end.
func (d *DeviceFile) readAll(p []byte, off int64) error {
	f, err := d.Held.Use()
	if err != nil {
		return err
	}
	n, mode, err := f.ReadDirect(p, off)
	if mode == durability.ModeBuffered {
		d.Buffered += int64(n)
		d.Reason = f.DirectReason()
	}
	if n == len(p) {
		return nil
	}
	if err == nil || isEOF(err) {
		err = ErrTruncatedFile
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", f.Path(), off+int64(n), err)
}
