package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// fillGaps fills the gaps in the files that stay in the log, durably: a file that is
// shorter than its header says is extended with zeros, and blocks that cannot be read
// are overwritten with zeros. It is reached with force only: without, a log with a gap
// is refused. A crash at any point leaves the log as it was, or with the same tail and
// nothing but zeros behind it.
//
// resume calls it when what is to be removed is saved, and before the tail is mapped. It may
// not come later: a store to a mapped page that has no file behind it, or that cannot be
// read, faults.
func (op *opening) fillGaps() error {
	if op.res.Verdict != recovery.Damaged {
		return nil
	}
	for i, d := range op.files {
		switch op.res.Segments[i].State {
		case recovery.StateUnread, recovery.StateFull, recovery.StateActive:
		default:
			continue
		}
		if err := errors.Join(d.extend(), d.rewrite()); err != nil {
			return fmt.Errorf("wal: fill up what is missing of %s: %w", d.Name, err)
		}
	}
	return nil
}

// extend makes a file that is shorter than its header says as long as that, with zeros
// that have blocks, so that the segment can be mapped and written to like any other.
// OpenFile.Was is told as well: when the file is opened again, it may not be shorter.
func (d *diskFile) extend() error {
	h, err := frame.DecodeHeader(d.head.Bytes())
	if err != nil || d.size >= h.SegmentBytes {
		return nil //nolint:nilerr // without a header nothing says how long the file has to be
	}
	f, err := d.held.Use()
	if err != nil {
		return err
	}
	if err = f.Truncate(h.SegmentBytes); err != nil {
		return err
	}
	d.size, d.held.Was.Size = h.SegmentBytes, h.SegmentBytes
	return errors.Join(d.fillHoles(), d.sync())
}
