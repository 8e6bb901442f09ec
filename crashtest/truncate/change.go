//go:build linux

package truncate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal/frame"
)

// change is one way to change a file, or the log's directory, under those who have it
// open. The name is what people read, and what a token says.
type change struct {
	name string
	do   func(path string, at int64) error

	at    bool // it does something at the offset
	ofDir bool // it changes the directory, not a file
	keeps bool // it takes no byte away: all records have to be there afterwards
	gone  bool // what was changed is shorter, or another one, or not in its place
}

// nothing is the change of a life in which nobody may report anything.
const nothing = "nothing"

// changes are all of them, in the order in which they have their turns. at is an offset
// in the file that the seed chooses.
var changes = []change{
	{name: "truncate", at: true, gone: true, do: os.Truncate},
	{name: "truncate at a page", at: true, gone: true, do: func(path string, at int64) error { return os.Truncate(path, at&^4095) }},
	{name: "truncate to 0", gone: true, do: func(path string, _ int64) error { return os.Truncate(path, 0) }},
	{name: "truncate and extend", at: true, do: truncateAndExtend},
	{name: "truncate to 0 and extend", do: func(path string, _ int64) error { return truncateAndExtend(path, 0) }},
	{name: "extend", keeps: true, do: extend},
	{name: "delete", gone: true, do: func(path string, _ int64) error { return os.Remove(path) }},
	{name: nothing, keeps: true, do: func(string, int64) error { return nil }},
	{name: "rename", gone: true, do: func(path string, _ int64) error { return os.Rename(path, path+".moved") }},
	{name: "replace by a copy", gone: true, do: func(path string, _ int64) error { return replace(path, false) }},
	{name: "replace by other bytes", gone: true, do: func(path string, _ int64) error { return replace(path, true) }},
	{name: "zero a page", at: true, do: overwrite},
	{name: "chmod 000", keeps: true, do: func(path string, _ int64) error { return os.Chmod(path, 0) }},
	{name: "rename directory", ofDir: true, gone: true, do: func(path string, _ int64) error { return os.Rename(path, path+".moved") }},
	{name: "delete directory", ofDir: true, gone: true, do: removeDir},
	{name: nothing, keeps: true, do: func(string, int64) error { return nil }},
	{name: "replace directory by copy", ofDir: true, gone: true, do: replaceDir},
	{name: "chmod 555 directory", ofDir: true, keeps: true, do: func(path string, _ int64) error { return os.Chmod(path, 0o555) }},
}

// changeNamed returns the change of a name, or nil.
func changeNamed(name string) *change {
	for i := range changes {
		if changes[i].name == name {
			return &changes[i]
		}
	}
	return nil
}

// truncateAndExtend leaves the file as long as it was, with a hole from at on.
func truncateAndExtend(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // its name may change in between
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		err = f.Truncate(at)
	}
	if err == nil {
		err = f.Truncate(st.Size())
	}
	return errors.Join(err, f.Close())
}

// extend makes the file longer, by a hole.
func extend(path string, at int64) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, st.Size()+1+at)
}

// replace renames a copy of the file over it, or a file of the same size with other
// bytes.
func replace(path string, other bool) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if other {
		for i := range content {
			content[i] = byte(i*7 + i>>8 | 1)
		}
	}
	aside := path + ".new"
	if err = os.WriteFile(aside, content, 0o644); err == nil {
		err = os.Rename(aside, path)
	}
	return err
}

// overwrite writes zeros over the page of an offset.
func overwrite(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 4096), at&^4095)
	return errors.Join(err, f.Close())
}

// removeDir removes the directory with all files, also with those that the writer makes
// in the course of it.
func removeDir(path string, _ int64) error {
	for {
		if err := os.RemoveAll(path); !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
}

// replaceDir puts a copy of the directory in its place.
func replaceDir(path string, _ int64) error {
	aside := path + ".copy"
	err := os.CopyFS(aside, os.DirFS(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that the writer has renamed or removed
		return err
	}
	// Both at once: the writer would make a new log where there is none.
	return unix.Renameat2(unix.AT_FDCWD, aside, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
}

// The targets: which file is changed.
const (
	targetTail     = "tail"     // the newest segment that the log has entered
	targetOlder    = "older"    // a segment before it
	targetPrepared = "prepared" // a segment that holds nothing yet
	targetLock     = "lock"     // the lock file
	targetAny      = "any"      // any file of the directory
)

// targets are chosen from: the tail every other time.
var targets = []string{
	targetTail, targetOlder, targetTail, targetPrepared, targetTail, targetLock, targetTail, targetAny,
}

const lockName = "seawall.lock"

// pick returns the name of a file that is such a target now, or "" where there is
// none; n chooses among several.
func pick(dir, target string, n int) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var entered, prepared, all []string
	for _, e := range entries {
		name := e.Name()
		all = append(all, name)
		switch {
		case name == lockName:
		case hasStamp(filepath.Join(dir, name)):
			entered = append(entered, name)
		case strings.HasSuffix(name, ".wal") || strings.HasSuffix(name, ".tmp"):
			prepared = append(prepared, name)
		}
	}
	last := max(0, len(entered)-1)
	var from []string
	switch target {
	case targetTail:
		from = entered[last:]
	case targetOlder:
		from = entered[:last]
	case targetPrepared:
		from = prepared
	case targetLock:
		from = []string{lockName}
	default:
		from = all
	}
	if len(from) == 0 {
		return "", nil
	}
	return from[n%len(from)], nil
}

// hasStamp reports whether the log has ever entered a segment.
func hasStamp(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	b := make([]byte, 8)
	_, err = f.ReadAt(b, frame.StampOffset)
	return err == nil && [8]byte(b) != [8]byte{}
}

// changed is what was done to a file.
type changed struct {
	File   string `json:"file"` // its name; empty for the directory
	Size   int64  `json:"size"`
	At     int64  `json:"at"`
	Moment string `json:"moment"` // that it really was
	Call   string `json:"call"`   // and the call, in words

	// Began and Ended are readings of clock.
	Began int64 `json:"began"`
	Ended int64 `json:"ended"`
}

// makeChange makes the change of a plan now. Where the file is not there any more, as the
// writer has renamed or removed it, another one is chosen.
func makeChange(p *Plan, dir string) (*changed, error) {
	how := changeNamed(p.Change)
	for try := 0; ; try++ {
		done := &changed{Began: clock()}
		path := dir
		if !how.ofDir {
			var err error
			if done.File, err = pick(dir, p.Target, p.File+try); err != nil {
				return done, err
			}
			if done.File == "" { // there is no such file
				if done.File, err = pick(dir, targetAny, p.File+try); err != nil {
					return done, err
				}
			}
			path = filepath.Join(dir, done.File)
			if st, serr := os.Stat(path); serr == nil {
				done.Size = st.Size()
				done.At = done.Size * int64(p.At) >> 16
			}
		}
		err := how.do(path, done.At)
		if errors.Is(err, fs.ErrNotExist) && !how.ofDir && try < 100 {
			continue
		}
		done.Ended = clock()
		return done, err
	}
}
