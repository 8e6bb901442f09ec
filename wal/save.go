package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// saveChunk is the unit in which a saved copy leaves out zeros.
const saveChunk = 64 << 10

// save copies the segment of the tail, and all behind it, into a numbered
// directory beside them, durably, before anything is removed. The copies are
// whole segments with their heads, sparse where they are zero, so that what
// reads a log reads them too.
func (op *opening) save() error {
	l := op.l
	dir, rel, err := op.lostDir()
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for i, d := range op.files {
		// The tail's own file is mapped for writing by now; what was read of it
		// is what the device holds.
		worth, err := op.worthSaving(i)
		if err != nil {
			return err
		}
		if !worth {
			continue
		}
		if err := op.saveFile(dir, d); err != nil {
			return errors.Join(err, dir.Remove(d.name))
		}
		op.rep.Saved = append(op.rep.Saved, path.Join(rel, d.name))
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	l.opts.Logger.Warn("saved what is behind the tail", "dir", l.dirPath, "files", op.rep.Saved)
	return nil
}

// worthSaving reports whether the file holds the tail or lies behind it, and
// is more than a segment that was prepared.
func (op *opening) worthSaving(i int) (bool, error) {
	if !op.behind(i) {
		return false, nil
	}
	switch d := op.files[i]; op.res.Segments[i].State {
	case recovery.StatePrepared:
		return false, nil
	case recovery.StateActive:
		return op.res.Segments[i].Torn > 0, nil
	case recovery.StateTemporary:
		if _, err := d.Load(); err != nil {
			return false, err
		}
		err := d.Touch(0, d.span)
		return recovery.LastNonzero(d.data[min(d.span, frame.StampOffset):]) > 0, err
	default:
		return true, nil
	}
}

// behind reports whether the file holds the tail or lies behind it.
func (op *opening) behind(i int) bool {
	t := op.res.Tail.File
	return t < 0 || op.files[i].ordinal >= op.files[t].ordinal
}

// lostDir makes the next numbered directory under lost.
func (op *opening) lostDir() (*durability.Dir, string, error) {
	l := op.l
	base := path.Join(l.dirPath, lostName)
	if err := durability.MkdirAll(base, l.opts.DirMode, l.opts.Tracer); err != nil {
		return nil, "", err
	}
	parent, err := durability.OpenDir(base, nil)
	if err != nil {
		return nil, "", err
	}
	names, err := parent.Names()
	if err = errors.Join(err, parent.Close()); err != nil {
		return nil, "", err
	}
	used := make(map[string]bool)
	for _, n := range names {
		used[n] = true
	}
	n := 1
	for used[fmt.Sprintf("%04d", n)] {
		n++
	}
	rel := path.Join(lostName, fmt.Sprintf("%04d", n))
	if err = durability.MkdirAll(path.Join(l.dirPath, rel), l.opts.DirMode, l.opts.Tracer); err != nil {
		return nil, "", err
	}
	d, err := durability.OpenDir(path.Join(l.dirPath, rel), l.opts.Tracer)
	return d, rel, err
}

// saveFile copies the segment in one file, as the device holds it.
func (op *opening) saveFile(dir *durability.Dir, d *diskFile) error {
	f, err := dir.Create(d.name, op.l.opts.FileMode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("wal: %s/%s is in the way: %w", dir.Path(), d.name, err)
	}
	if err != nil {
		return err
	}
	if _, err = d.Load(); err == nil {
		err = d.Touch(0, d.span)
	}
	if err == nil {
		err = f.Truncate(d.span)
	}
	for off := int64(0); off < d.span && err == nil; off += saveChunk {
		p := d.data[off:min(off+saveChunk, d.span)]
		if n := recovery.LastNonzero(p); n > 0 {
			_, err = f.WriteAt(p[:n], off)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
