//go:build linux

package blockdev_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// TestMain lets this binary be a lab that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(labEnv); dir != "" {
		os.Exit(beLab(dir))
	}
	isolate()
	os.Exit(m.Run())
}

// isolate has the tests run where no test of another package copies their mounts.
func isolate() {
	if blockdev.Ready() != nil {
		return
	}
	if err := blockdev.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// labEnv makes this binary a process that has a disk mounted, below the directory
// that it names, until it is killed.
const labEnv = "SEAWALL_BLOCKDEV_TEST_LAB"

func beLab(dir string) int {
	l, err := blockdev.Open(dir, ext4.bytes)
	if err == nil {
		err = ext4.mount(l.Disks[0])
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(l.Disks[0].Path(), "file"), make([]byte, 1<<20), 0o600)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("mounted")
	time.Sleep(time.Hour)
	_ = l.Close() // it is killed before
	return 0
}

// kind is a filesystem, as small as it may be.
type kind struct {
	name, options string
	bytes         int64
	mkfs          []string
}

var (
	ext4 = kind{"ext4", "", 16 << 20, []string{
		"mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
	}}
	xfs   = kind{"xfs", "nouuid", 300 << 20, []string{"mkfs.xfs", "-q", "-f", "-K"}}
	btrfs = kind{"btrfs", "", 110 << 20, []string{"mkfs.btrfs", "-q", "-f", "-K", "-M"}}
)

// mount makes the filesystem on a disk, and mounts it with nothing recorded.
func (k kind) mount(d *blockdev.Disk) error {
	err := d.Make(k.mkfs[0], k.mkfs[1:]...)
	if err != nil {
		return err
	}
	made, err := d.Cut()
	if err == nil {
		err = made.Prove()
	}
	if err == nil {
		err = d.Record(made.End())
	}
	if err != nil {
		return err
	}
	return d.Mount(k.name, 0, k.options)
}

// newLab opens a lab for the test, which skips where there can be none; in CI it
// fails.
func newLab(t *testing.T, sizes ...int64) *blockdev.Lab {
	t.Helper()
	if err := blockdev.Ready(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatalf("must run in CI: %v", err)
		}
		t.Skip(err)
	}
	l, err := blockdev.Open("", sizes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
