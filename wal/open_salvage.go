package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// This file copies what an Open or a Repair is about to remove, so that a person can still
// look at it: intact records behind a hole, and all that a forced repair gives up. What is to
// be removed, and when, open_trim.go decides.

// saveChunk is the unit in which a saved copy leaves out zeros.
const saveChunk = 64 << 10

// save copies the segment of the tail, and all behind it, into a numbered
// directory under lost, or under the one that the repair was given, durably, before
// anything is removed. The copies are whole segments with their heads, sparse where
// they are zero, so that any tool that reads a log reads them too. Where it fails, it
// removes what it copied.
//
// saveBehind calls it before a trim, recreate before it removes all segments. It runs after
// reconcile and before the first byte of the log's own content changes, so that a crash
// during it costs nothing but copies that are not complete, in a directory that the next
// attempt leaves alone: that takes the next number.
//
// Each copy is synced, then their directory. The directories above are made durable when they
// are made (durability.MkdirAll). Only then may anything be removed: before that, a power loss
// could take the copies as well.
func (op *opening) save() error {
	if op.mode.noSave {
		return nil
	}
	dir, rel, made, err := op.lostDir()
	if err != nil {
		return errors.Join(err, removeDirs(made))
	}
	saved, err := op.saveAll(dir)
	if err == nil {
		err = dir.Sync() // each file is durable by itself, its name by this
	}
	if err != nil {
		for _, name := range saved {
			err = errors.Join(err, dir.Remove(name))
		}
		return errors.Join(err, dir.Close(), removeDirs(made))
	}
	for _, name := range saved {
		op.rep.Saved = append(op.rep.Saved, path.Join(rel, name))
	}
	op.l.opts.Logger.Warn("saved what is behind the tail", "dir", op.l.dirPath, "files", op.rep.Saved)
	return dir.Close()
}

// saveAll copies the files, and returns the names of those that it began. One that failed
// half way is among them, so that save removes it; one that was in the way is not, since
// it is another's.
func (op *opening) saveAll(dir *durability.Dir) (saved []string, err error) {
	for i, d := range op.files {
		// The tail's own file is mapped for writing by now; what was read of it
		// is what the device holds.
		worth, err := op.worthSaving(i)
		if err != nil {
			return saved, err
		}
		if !worth {
			continue
		}
		if err := op.saveFile(dir, d); err != nil {
			if !errors.Is(err, fs.ErrExist) {
				saved = append(saved, d.Name)
			}
			return saved, err
		}
		saved = append(saved, d.Name)
	}
	return saved, nil
}

// removeDirs removes directories that hold nothing, the last one first. They were
// made for copies that failed. A directory that is not empty stays, and its error is told
// with the one of the copy.
func removeDirs(paths []string) error {
	var errs []error
	for i := len(paths) - 1; i >= 0; i-- {
		if err := os.Remove(paths[i]); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// missingDirs returns the path of a directory, and of those above it, that are not
// there, the uppermost first.
func missingDirs(name string) (missing []string) {
	for {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			slices.Reverse(missing)
			return missing
		}
		missing = append(missing, name)
		name = path.Join(name, "..")
	}
}

// worthSaving reports whether the file holds the tail or lies behind it, and
// is more than a segment that was prepared. The tail's own segment holds something to be
// saved only behind its last frame. A file under its temporary name may have been reached
// by the log, and have lost its stamp: it is saved if anything but its header is not
// zero.
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
		return d.nonzero(frame.StampOffset)
	default:
		return true, nil
	}
}

// behind reports whether the file holds the tail or lies behind it.
func (op *opening) behind(i int) bool {
	t := op.res.Tail.File
	return t < 0 || op.files[i].Ordinal >= op.files[t].Ordinal
}

// lostDir makes the next numbered directory under lost, or under the directory that
// the repair was told. rel is how Report.Saved names it, made are the directories
// that were not there before. The number is the first that is free, so that no recovery
// mixes its copies with those of another.
func (op *opening) lostDir() (_ *durability.Dir, rel string, made []string, err error) {
	l := op.l
	base, rel := path.Join(l.dirPath, logdir.LostName), logdir.LostName
	if to := op.mode.saveTo; to != "" {
		base, rel = to, to
	}
	ensure := func(name string) error {
		made = append(made, missingDirs(name)...)
		return durability.MkdirAll(name, l.opts.DirMode, l.opts.Tracer)
	}
	if err = ensure(base); err != nil {
		return nil, "", made, err
	}
	parent, err := durability.OpenDir(base, nil)
	if err != nil {
		return nil, "", made, err
	}
	names, err := parent.Names()
	if err = errors.Join(err, parent.Close()); err != nil {
		return nil, "", made, err
	}
	name := ""
	for n := 1; name == "" || slices.Contains(names, name); n++ {
		name = fmt.Sprintf("%04d", n)
	}
	if err = ensure(path.Join(base, name)); err != nil {
		return nil, "", made, err
	}
	d, err := durability.OpenDir(path.Join(base, name), l.opts.Tracer)
	return d, path.Join(rel, name), made, err
}

// saveFile copies the segment in one file, as the device holds it. Zeros are left out,
// so that the copy is sparse and takes no more space than the records. A file that is
// there already is never overwritten. What cannot be read of it is zeros in the copy as
// well, as a tolerant file has it.
func (op *opening) saveFile(dir *durability.Dir, d *diskFile) error {
	f, err := dir.Create(d.Name, op.l.opts.FileMode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("wal: %s/%s is in the way: %w", dir.Path(), d.Name, err)
	}
	if err != nil {
		return err
	}
	if _, err = d.Load(); err == nil {
		err = f.Truncate(d.span)
	}
	if err == nil {
		err = d.scan(0, func(off int64, p []byte) error { return saveChunks(f, off, p) })
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// saveChunks writes what is not zero of some bytes of a copy. Chunks of zeros are
// skipped, and become holes, as does the end of each chunk from its last byte on that is
// not zero.
func saveChunks(f *durability.File, off int64, p []byte) error {
	for chunk := range slices.Chunk(p, saveChunk) {
		if n := recovery.LastNonzero(chunk); n > 0 {
			if _, err := f.WriteAt(chunk[:n], off); err != nil {
				return err
			}
		}
		off += int64(len(chunk))
	}
	return nil
}
