package logdir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
)

// TestOpenSnapshotTellsWhatCannotBeOpened has a file that cannot be opened, and one
// that is removed between the listing and its opening: that the second one is gone
// takes nothing from what is wrong with the first.
func TestOpenSnapshotTellsWhatCannotBeOpened(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EACCES, unix.EMFILE} {
		for _, order := range [][2]uint64{{1, 3}, {3, 1}} {
			shut, gone := logdir.FinalName(order[0]), logdir.FinalName(order[1])
			t.Run(errno.Error()+" of "+shut, func(t *testing.T) {
				path := t.TempDir()
				for ordinal := uint64(1); ordinal <= 3; ordinal++ {
					if err := os.WriteFile(filepath.Join(path, logdir.FinalName(ordinal)), nil, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				dir, err := durability.OpenDir(path, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				durabilitytest.Inject(t, path, func(c *durabilitytest.Call) error {
					switch {
					case c.Op != durabilitytest.OpOpen || c.Phase != durability.Before:
					case c.Name == shut:
						return errno
					case c.Name == gone:
						return unix.ENOENT
					}
					return nil
				})
				s, err := logdir.OpenSnapshot(dir, false)
				if !errors.Is(err, errno) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("open: %v, want %v", err, errno)
				}
				if err = s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
