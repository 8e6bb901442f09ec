package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// looks are those who read a log through a mapping of their own.
var looks = map[string]func(dir string) error{
	"verify": func(dir string) error { _, err := wal.Verify(dir); return err },
	"dump": func(dir string) error {
		_, err := wal.Dump(dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil })
		return err
	},
	"inspect": func(dir string) error { _, err := wal.Inspect(dir); return err },
	"reader": func(dir string) error {
		o, err := wal.OpenReader(dir)
		if err != nil {
			return err
		}
		r := o.Reader(0)
		for r.Next() {
		}
		err = r.Err()
		_ = r.Close()
		if cerr := o.Close(); err == nil {
			err = cerr
		}
		return err
	},
	"open": func(dir string) error {
		l, err := wal.Open(dir, small())
		if err != nil {
			return err
		}
		r := l.Reader(0)
		for r.Next() {
		}
		err = r.Err()
		_ = r.Close()
		if cerr := l.Close(); err == nil {
			err = cerr
		}
		return err
	},
}

// TestTruncatedUnderALook truncates a segment right after each of the calls that
// bring a part of it into memory: the load that follows faults. The scan does without
// that part, or returns an error that names the file.
func TestTruncatedUnderALook(t *testing.T) {
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				dir := filepath.Join(fastDir(t), "log")
				l, err := wal.Open(dir, small())
				if err != nil {
					t.Fatal(err)
				}
				appendRecords(t, l, 12, 7000)
				if err = l.Sync(); err != nil {
					t.Fatal(err)
				}
				if err = l.Close(); err != nil {
					t.Fatal(err)
				}
				seen, file := 0, ""
				remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
					if c.Op != durabilitytest.OpPopulate || c.Phase != durability.After || c.Err != nil || file != "" {
						return nil
					}
					if seen++; seen <= at {
						return nil
					}
					file = c.Name
					return os.Truncate(filepath.Join(c.Dir, c.Name), 0)
				})
				err = look(dir)
				remove()
				if file == "" {
					if err != nil || at == 0 && name != "inspect" {
						t.Fatalf("%d populated, %v", at, err)
					}
					return
				}
				if err != nil && !strings.Contains(err.Error(), file) {
					t.Fatalf("%s, truncated after call %d: %v", file, at, err)
				}
			}
		})
	}
}

// TestTailReplacedUnderAFollower puts a copy of the tail in its place, while a
// reader beside has it mapped, and then lets the writer go on in what is no file
// of the log any more, and end. The reader goes by what is under the name.
func TestTailReplacedUnderAFollower(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 5, 1000)
	if err = l.Sync(); err != nil {
		t.Fatal(err)
	}
	o := openReader(t, dir)
	r := o.Reader(0)
	defer r.Close()
	for range 5 {
		if !r.Next() {
			t.Fatal(r.Err())
		}
	}
	if err = replacedByCopy(filepath.Join(dir, "0000000000000001.wal")); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 1, 1000)
	if err = l.Close(); !errors.Is(err, wal.ErrPoisoned) {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, gerr := o.Get(7)
		ended <- gerr
	}()
	select {
	case err = <-ended:
	case <-time.After(patience):
		t.Fatal("the reader looks again and again")
	}
	if !errors.Is(err, wal.ErrNotFound) || o.LastLSN() != 5 {
		t.Fatalf("the last record is %d: %v", o.LastLSN(), err)
	}
}
