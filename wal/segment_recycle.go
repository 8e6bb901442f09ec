package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// spare is a segment before the log's first record that is to be used again.
// Until the preparer takes it, its file stays as it is, under its own name: a
// leftover, which recovery knows by the durable front and removes.
//
// A segment that is used again costs no allocation. Its states, and what a crash in each
// leaves:
//
//  1. Taken from the list by TruncateFront or Reset, and kept (keepSpare): a leftover under
//     its own name, which Open removes.
//  2. Renamed to the temporary name of the new ordinal, and the directory synced (recycle).
//     Before the sync it may have either name, with its old bytes: a leftover, or a file whose
//     header names another ordinal, which Open removes too.
//  3. Wiped, and given its new header (fillSegment): from here on it is like a new file.
type spare struct {
	ordinal uint64
}

// keepSpare keeps a truncated segment to be used again, and reports whether it
// is: one at a time, so that a log takes one file more than its records and
// SegmentsAhead need, and no more. dispose calls keepSpare, when the front is durable.
func (l *Log) keepSpare(ordinal uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil || l.closing.Load() {
		return false
	}
	l.spare = &spare{ordinal: ordinal}
	return true
}

// takeSpare takes what keepSpare kept, or nil.
func (l *Log) takeSpare() *spare {
	l.mu.Lock()
	defer l.mu.Unlock()
	sp := l.spare
	l.spare = nil
	return sp
}

// dropSpare removes the segment that was kept, if there is one. Close calls it, so that a
// closed log takes no space for nothing, and Reset, for the segment right before its new
// one.
func (l *Log) dropSpare() error {
	if sp := l.takeSpare(); sp != nil {
		return l.removeFile(logdir.FinalName(sp.ordinal))
	}
	return nil
}

// recycle gives the segment that was kept the temporary name of a new one, and makes it zero
// (File.Wipe). Where none was kept, it returns nil, and the caller makes a new file. So it
// does where the one that was kept cannot be used: that is removed or, where it cannot even
// be opened, left to the next Open.
//
// The new name is durable before a byte is changed. Otherwise a crash could
// leave a segment under its old name with bytes that are not its own; under the
// temporary name of another ordinal, a header that names the old one is none.
func (l *Log) recycle(ctx context.Context, ordinal uint64, fill int) (*durability.File, error) {
	sp := l.takeSpare()
	if sp == nil {
		return nil, nil
	}
	old := logdir.FinalName(sp.ordinal)
	f, err := l.dir.Open(old, true)
	if err != nil {
		return nil, nil //nolint:nilerr // it was removed, or may not be written to: a new file is made
	}
	if err = l.recyclable(f, sp.ordinal, fill); err != nil {
		l.opts.Logger.Debug("a truncated segment is not used again", "segment", old, "why", err)
		return nil, errors.Join(f.Close(), l.removeFile(old))
	}
	if err = l.dir.Rename(old, logdir.TempName(ordinal), f); err != nil {
		return nil, errors.Join(f.Close(), l.removeFile(old))
	}
	if err = l.dir.Sync(); err != nil {
		return nil, errors.Join(l.fail(err), f.Close())
	}
	if !l.wrong.Has(seam.StaleAccepted) {
		err = f.Wipe(durability.AllocateOptions{
			FillBytes: fill, Head: frame.DataOffset, Cancel: l.cancelled(ctx),
		})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), l.dir.Remove(logdir.TempName(ordinal)))
	}
	l.mu.Lock()
	l.stats.recycled++
	l.mu.Unlock()
	return f, nil
}

// recyclable returns why a file cannot be used again as it is, or nil. It has to be what
// a new file would be: of the size that is asked for now, with all of its blocks, and
// with folios of that size in the page cache. A file with a second name is also part of
// a copy of the log that was made by hard links, whose bytes must not change. That it is
// this log's is checked as well: the file is found by its name, and what another process
// has put there is not to be wiped.
func (l *Log) recyclable(f *durability.File, ordinal uint64, fill int) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, frame.SegmentHeaderBytes)
	if _, err = f.ReadAt(head, 0); err != nil {
		return err
	}
	h, err := frame.DecodeHeader(head)
	switch {
	case err != nil:
		return err
	case h.UUID != l.uuid || h.Ordinal != ordinal:
		return errors.New("it is another file")
	case st.Links != 1:
		return fmt.Errorf("it has %d names", st.Links)
	case st.Size != l.opts.SegmentBytes:
		return fmt.Errorf("it has %d bytes", st.Size)
	case st.Blocks*512 < st.Size:
		return errors.New("it has holes")
	case int(h.FillBytes) != fill:
		return fmt.Errorf("it was filled by %d bytes at a time", h.FillBytes)
	}
	return nil
}

// cancelled returns a function that reports whether the filling of a segment is to end
// early: at the end of the log, and for a cut, which waits for it and may remove it.
func (l *Log) cancelled(ctx context.Context) func() bool {
	return func() bool { return ctx.Err() != nil || l.cutting.Load() }
}
