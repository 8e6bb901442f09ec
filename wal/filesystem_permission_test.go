package wal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// TestPermissionsTaken takes permissions from a log's owner, before Open and
// under the writer: the error names what may not be had, nothing is lost, the log
// is not poisoned, and goes on when they are given back.
func TestPermissionsTaken(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"permissions", "names"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tryLimited(t, what)
		})
	}
}

// without runs fn while a file or directory has other permissions.
func without(path string, perm fs.FileMode, fn func() error) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err = os.Chmod(path, perm); err != nil {
		return err
	}
	return errors.Join(fn(), os.Chmod(path, st.Mode().Perm()))
}

// wantDenied returns an error unless one is of a permission, of that file.
func wantDenied(what string, err error, path string) error {
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, wal.ErrPoisoned) || errors.Is(err, wal.ErrCorrupt) ||
		!strings.Contains(err.Error(), path) {
		return fmt.Errorf("%s without permission for %s: %w", what, path, err)
	}
	return nil
}

// closedAgain closes a log that opened.
func closedAgain(l *wal.Log, err error) error {
	if err == nil {
		err = l.Close()
	}
	return err
}

// lookAll looks at a log in all ways.
func lookAll(dir string, last wal.LSN) map[string]error {
	return map[string]error{
		"verify": second(wal.Verify(dir)),
		"device": second(wal.VerifyWith(dir, wal.VerifyOptions{Device: true})),
		"dump": second(wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
			if !bytes.Equal(p, record(lsn, 500)) {
				return fmt.Errorf("record %d differs", lsn)
			}
			return nil
		})),
		"inspect": second(wal.Inspect(dir)),
		"reader":  followAllOf(dir, last),
	}
}

// takenPermissions takes them from the directory above, the directory, the lock
// and a segment of a log at rest, and from the directory under the writer.
func takenPermissions(dir string) error {
	parent := filepath.Dir(dir)
	err := without(parent, 0o555, func() error {
		return wantDenied("birth", closedAgain(wal.Open(dir, small())), dir)
	})
	if err != nil {
		return err
	}
	l, err := wal.Open(dir, small())
	if err == nil {
		err = appendSome(l, 1000, 500)
	}
	if err = errors.Join(err, deniedUnderWriter(l, dir)); err != nil {
		return err
	}
	last := l.LastLSN()
	if err = l.Close(); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(segments) < 3 {
		return fmt.Errorf("segments: %v, %w", segments, err)
	}
	if err = tearTail(segments); err != nil {
		return err
	}
	lock := filepath.Join(dir, lockFile)
	for _, c := range []struct {
		path  string
		perm  fs.FileMode
		names string // in the error
		looks bool   // whether they may
	}{
		{dir, 0o555, dir, true},
		{dir, 0o444, dir, false},
		{dir, 0, dir, false},
		{lock, 0o444, lock, true},
		{segments[0], 0o444, segments[0], true},
		{segments[0], 0, segments[0], false},
		{segments[1], 0o444, segments[1], true},
	} {
		before := digest(dir)
		err = without(c.path, c.perm, func() error {
			errs := []error{
				wantDenied("open", closedAgain(wal.Open(dir, small())), c.names),
			}
			for what, err := range lookAll(dir, last) {
				switch {
				case !c.looks && what == "reader" && c.path == segments[0] && err == nil:
					// It opens what it reads.
				case !c.looks:
					err = wantDenied(what, err, c.names)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		})
		if err == nil && digest(dir) != before {
			err = errors.New("what was refused has changed files")
		}
		if err != nil {
			return fmt.Errorf("%s has mode %v: %w", c.path, c.perm, err)
		}
	}
	l, err = wal.Open(dir, small())
	if err != nil || l.LastLSN() != last {
		return fmt.Errorf("open when all are given back: %w", err)
	}
	return errors.Join(appendSome(l, 300, 500), l.Close())
}

// tearTail writes rubbish behind the last record.
func tearTail(segments []string) error {
	for i := len(segments) - 1; i >= 0; i-- {
		data, err := os.ReadFile(segments[i])
		if err != nil {
			return err
		}
		end := len(bytes.TrimRight(data, "\x00"))
		if end <= 20480 {
			continue // prepared
		}
		copy(data[end+64:], bytes.Repeat([]byte{0xa5}, 100))
		return os.WriteFile(segments[i], data, 0o600)
	}
	return errors.New("no segment holds a record")
}

// digest stands for the bytes of all files.
func digest(dir string) string {
	h := sha256.New()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		var data []byte
		if data, err = os.ReadFile(f); err != nil {
			break
		}
		h.Write(fmt.Appendln(nil, f, len(data)))
		h.Write(data)
	}
	return fmt.Sprintf("%x %v", h.Sum(nil), err)
}

// deniedUnderWriter takes the permission to write to the directory from a log
// that is open.
func deniedUnderWriter(l *wal.Log, dir string) error {
	first := l.FirstLSN()
	// In this order: a segment is ready before it has its name.
	for ready, temps := 0, []string(nil); ready < wal.DefaultSegmentsAhead || len(temps) > 0; time.Sleep(time.Millisecond) {
		ready = l.Stats().Ready
		temps, _ = filepath.Glob(filepath.Join(dir, "*.tmp"))
	}
	err := without(dir, 0o555, func() error {
		err := appendToDenial(l, ".tmp")
		if err == nil {
			err = errors.Join(l.Checkpoint(), second(l.Get(first)))
		}
		if err == nil {
			err = wantDenied("truncate the back", l.TruncateBack(first+1), dir)
		}
		// That needs no name changed: the files go later.
		return errors.Join(err, l.TruncateFront(first+500))
	})
	if err != nil {
		return err
	}
	if err = appendSome(l, 500, 500); err != nil {
		return fmt.Errorf("permission was given back: %w", err)
	}
	err = errors.Join(l.TruncateBack(l.LastLSN()-400), appendSome(l, 500, 500))
	if l.FirstLSN() != first+500 || l.LastLSN() < first+1000 {
		err = errors.Join(err, fmt.Errorf("the log holds %d to %d", l.FirstLSN(), l.LastLSN()))
	}
	return err
}

// appendToDenial appends until no segment can be prepared for lack of a
// permission, and syncs what there is.
func appendToDenial(l *wal.Log, names string) error {
	for {
		last := l.LastLSN()
		err := appendSome(l, 1, 500)
		if err == nil {
			continue
		}
		if err = wantDenied("append", err, names); err != nil {
			return err
		}
		if err = l.Sync(); err != nil || l.LastLSN() != last || l.DurableLSN() != last {
			return fmt.Errorf("%d, durable %d, of %d: %w", l.LastLSN(), l.DurableLSN(), last, err)
		}
		return nil
	}
}

// takenWhileNaming takes the permission to write to the directory at any moment
// of the naming of segments that hold records already.
func takenWhileNaming(dir string) error {
	o := small()
	o.SegmentsAhead = 4
	l, err := wal.Open(dir, o)
	if err != nil {
		return err
	}
	for round := range 60 {
		err := without(dir, 0o755, func() error {
			for n := 0; ; n++ {
				if n == round*7%120 {
					if err := os.Chmod(dir, 0o555); err != nil {
						return err
					}
				}
				err := appendSome(l, 1, 500)
				switch {
				case err != nil:
					return wantDenied("append", err, ".tmp")
				case n%200 == 199:
					err = l.Sync()
				}
				if err != nil {
					return wantDenied("sync", err, ".tmp")
				}
			}
		})
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if err = errors.Join(appendSome(l, 10, 500), l.Sync()); err != nil || l.DurableLSN() != l.LastLSN() {
			return fmt.Errorf("round %d, permission was given back: %w", round, err)
		}
	}
	last := l.LastLSN()
	return errors.Join(l.Close(), followAllOf(dir, last))
}
