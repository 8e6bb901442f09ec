package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// directReader is the environment variable that makes the test binary a process that reads the file
// "f" of a directory around the page cache: the directory.
const directReader = "SEAWALL_TEST_DIRECT"

// directContent is what the file holds.
func directContent() []byte { return bytes.Repeat([]byte("0123456789abcde\n"), 1<<15) }

// runDirectReader reads the file, and reports that the page cache is not empty afterwards.
func runDirectReader(path string) int {
	err := func() error {
		dir, err := durability.OpenDir(path, nil)
		if err != nil {
			return err
		}
		defer func() { _ = dir.Close() }() // it was read only
		f, err := dir.Open("f", false)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was read only
		if err = unix.Fadvise(f.Fd(), 0, 0, unix.FADV_DONTNEED); err != nil {
			return err
		}
		p := make([]byte, len(directContent()))
		_, how, err := f.ReadDirect(p, 0)
		if err != nil {
			return err
		}
		pages, err := f.PageCache(0, 0)
		if err == nil && (how != durability.ModeDirect || !bytes.Equal(p, directContent()) || pages.Cached > 0) {
			err = fmt.Errorf("a %v read, the bytes right: %t; %d pages are in the page cache", how, bytes.Equal(p, directContent()), pages.Cached)
		}
		return err
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// TestDirectReads reads a file around the page cache on each filesystem, in processes whose memory
// is new: the page cache stays empty. What was served from it, recovery would take for what
// the device holds (C4).
func TestDirectReads(t *testing.T) {
	for _, kind := range volumeKinds {
		t.Run(kind.name, func(t *testing.T) {
			if kind.mkfs == nil {
				return // there is nothing around the page cache
			}
			v := newVolume(t, kind)
			path := filepath.Join(v.dir, "f")
			f, err := os.Create(path)
			if err == nil {
				_, err = f.Write(directContent())
				err = errors.Join(err, f.Sync(), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), directReader+"="+v.dir)
				if said, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, said)
				}
			}
		})
	}
}
