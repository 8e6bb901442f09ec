//go:build linux

package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mappedEnv has the test binary be a program that writes through a mapping, in the directory that
// it names.
const mappedEnv = "SEAWALL_TEST_MAPPED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(mappedEnv); dir != "" {
		if err := writeMapped(dir); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// writeMapped changes the first and the last of three pages, and syncs the first.
func writeMapped(dir string) error {
	page := os.Getpagesize()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		return err
	}
	for _, c := range "abc" {
		for range page {
			if _, err = f.WriteString(string(c)); err != nil {
				return err
			}
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m[0], m[2*page] = 'A', 'C'
	if err = unix.Msync(m[:page], unix.MS_SYNC); err != nil {
		return err
	}
	m[1] = 'B' // not synced
	return f.Close()
}
