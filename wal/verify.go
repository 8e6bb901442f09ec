package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// VerifyOptions say how a log is verified.
type VerifyOptions struct {
	// Context ends the work early, with its error. Nil never does.
	Context context.Context
	// Progress, if set, is told how many bytes of how many have been read.
	Progress func(done, total int64)
}

// Verify reads all of a log, every checksum, link and witness, and reports
// what it found. It needs read permission only, and writes nothing. It reads
// through the page cache, what readers are served.
//
// The error says that the log could not be looked at: ErrMissing, ErrForeign,
// ErrVersion, or one of the filesystem. What is wrong with the log is in the
// report.
func Verify(dir string) (*Report, error) { return VerifyWith(dir, VerifyOptions{}) }

// VerifyWith is Verify with options.
func VerifyWith(dir string, o VerifyOptions) (*Report, error) {
	return look(dir, recovery.Options{All: true}, o)
}

// DumpOptions say which records Dump hands out.
type DumpOptions struct {
	VerifyOptions
	// From and To are the first and the last record, inclusive; 0 is the log's
	// first and last.
	From, To LSN
}

// Dump calls fn with each record of the log, in order, a batch only when it is
// whole. The payload is valid during the call. It ends at the log's tail or at
// damage, which the report tells apart, or with fn's error. It needs what
// Verify needs, and returns what Verify returns.
func Dump(dir string, o DumpOptions, fn func(LSN, []byte) error) (*Report, error) {
	visit := func(r recovery.Record) error {
		if r.LSN < o.From || o.To != 0 && r.LSN > o.To {
			return nil
		}
		return fn(r.LSN, r.Payload)
	}
	return look(dir, recovery.Options{All: o.From <= 1, From: o.From, Visit: visit}, o.VerifyOptions)
}

// look judges a log without writing to it.
func look(path string, ro recovery.Options, o VerifyOptions) (_ *Report, err error) {
	d, err := durability.OpenDir(path, nil)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrMissing, err)
		}
		return nil, err
	}
	k := &looking{dir: d}
	defer func() { err = errors.Join(err, k.close()) }()
	if err = k.open(); err != nil {
		return nil, err
	}
	if len(k.files) == 0 && ro.UUID == (frame.UUID{}) && k.known == (frame.UUID{}) && !k.locked {
		return nil, fmt.Errorf("%w: %s holds no segment", ErrMissing, path)
	}
	ro.UUID = k.known
	total := int64(0)
	files := make([]recovery.File, 0, len(k.files))
	for _, c := range k.files {
		total += c.size
		files = append(files, recovery.File{Name: c.name, Ordinal: c.ordinal, Temp: c.temp, Size: c.size, Bytes: c})
	}
	ro.Progress = o.progress(total)
	if o.Context != nil {
		ro.Stop = o.Context.Err
	}
	published := k.published()
	var res *recovery.Result
	err = durability.Guard(func() error {
		var rerr error
		res, rerr = recovery.Recover(files, ro)
		return rerr
	})
	if err != nil {
		return nil, refusal(path, err)
	}
	if k.known != (frame.UUID{}) {
		noteAllMissing(res)
	}
	if k.live {
		excuse(res, published)
	}
	rep := newReport(path, res)
	rep.Live = k.live
	for _, c := range k.files {
		rep.Bytes += c.read
	}
	return rep, nil
}

// progress adapts the callback.
func (o *VerifyOptions) progress(total int64) func(int64) {
	if o.Progress == nil {
		return nil
	}
	done := int64(0)
	return func(n int64) {
		done = min(done+n, total)
		o.Progress(done, total)
	}
}

// excuse takes back what only a writer at work explains: a record in the
// making behind the tail. published is what readers could read before.
func excuse(r *recovery.Result, published LSN) {
	if r.Verdict == recovery.Clean || r.Tail.LSN < published {
		return
	}
	for _, d := range r.Damage {
		// A file that is missing or unreadable has no offset; a break in the
		// chain has, and may cost no record.
		if d.First == 0 && d.Offset == 0 || d.First != 0 && d.Last <= published {
			return
		}
	}
	r.Verdict, r.Damage, r.TornBytes, r.Behind = recovery.Clean, nil, 0, nil
	r.Watermark = min(r.Watermark, r.Tail.LSN)
}

// looking is a log's directory opened for reading.
type looking struct {
	dir    *durability.Dir
	files  []*cachedFile
	known  frame.UUID
	locked bool // there is a lock file
	live   bool
}

// open opens all files, and asks whether the log has a writer.
func (k *looking) open() error {
	f, err := k.dir.Open(lockName, false)
	if err == nil {
		k.locked = true
		k.live, err = f.Locked()
		if err == nil {
			k.known, err = readLockUUID(f.ReadAt)
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := listSegments(k.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c := &cachedFile{entry: e, dir: k.dir}
		err := c.open()
		if k.live && errors.Is(err, fs.ErrNotExist) {
			continue // renamed or removed since it was listed
		}
		if err != nil {
			return errors.Join(err, c.close())
		}
		k.files = append(k.files, c)
	}
	return nil
}

// published returns the last LSN that the writer's board says is readable.
func (k *looking) published() LSN {
	last := LSN(0)
	for _, c := range k.files {
		var b [8]byte
		if n, _ := c.file.ReadAt(b[:], frame.BoardOffset+frame.BoardAppended); n == len(b) {
			last = max(last, LSN(binary.LittleEndian.Uint64(b[:])))
		}
	}
	return last
}

// close closes all files.
func (k *looking) close() error {
	var errs []error
	for _, c := range k.files {
		errs = append(errs, c.close())
	}
	return errors.Join(append(errs, k.dir.Close())...)
}
