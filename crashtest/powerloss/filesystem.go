//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// Filesystem is a filesystem, and how it is made and mounted.
type Filesystem struct {
	Name  string   `json:"name"`  // as mount(2) takes it
	Bytes int64    `json:"bytes"` // of the disk
	Make  []string `json:"make"`  // the program that makes it, without the device
	Mount string   `json:"mount,omitempty"`

	// CommitSoon says that it takes the option commit=1.
	CommitSoon bool `json:"commit_soon,omitempty"`
}

// sameUUID is the UUID of each ext4 and xfs, and the seed by which ext4 hashes names: where an entry
// lies in a large directory is the same each time.
const sameUUID = "5ea3a11c-0000-4000-8000-000000000001"

// Filesystems returns those that are built in, each about as small as it may be:
// what a state costs is mostly mounting it.
func Filesystems() []Filesystem {
	return []Filesystem{
		{Name: "ext4", Bytes: 64 << 20, Make: []string{
			"mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "1024", "-J", "size=4", "-U", sameUUID, "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed=" + sameUUID,
		}, CommitSoon: true},
		// Each state has the same UUID.
		{Name: "xfs", Bytes: 300 << 20, Make: []string{"mkfs.xfs", "-q", "-f", "-K", "-m", "uuid=" + sameUUID}, Mount: "nouuid"},
		{Name: "btrfs", Bytes: 128 << 20, Make: []string{
			"mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single",
		}, CommitSoon: true},
	}
}

// ErrFilesystem reports a filesystem that is not built in.
var ErrFilesystem = errors.New("powerloss: no such filesystem")

// FindFilesystem returns the built-in filesystem of a name.
func FindFilesystem(name string) (Filesystem, error) {
	if name == POSIX {
		return Filesystem{Name: POSIX}, nil
	}
	all := Filesystems()
	i := slices.IndexFunc(all, func(f Filesystem) bool { return f.Name == name })
	if i < 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.Name)
		}
		return Filesystem{}, fmt.Errorf("%w: %q; there are %s, %s", ErrFilesystem, name, strings.Join(names, ", "), POSIX)
	}
	return all[i], nil
}

// ready returns in one line why the filesystem cannot be made here, or nil.
func (f *Filesystem) ready() error {
	if f.IsPOSIX() {
		return nil
	}
	if len(f.Make) == 0 {
		return fmt.Errorf("%w: %q without a program that makes it", ErrFilesystem, f.Name)
	}
	if _, err := exec.LookPath(f.Make[0]); err != nil {
		return fmt.Errorf("powerloss: %s needs %s: %w", f.Name, f.Make[0], err)
	}
	return nil
}

// mount mounts a disk.
func (f *Filesystem) mount(d *blockdev.Disk) error { return f.mountWith(d, "") }

// mountWith mounts a disk with further options.
func (f *Filesystem) mountWith(d *blockdev.Disk, more string) error {
	return d.Mount(f.Name, 0, strings.Trim(f.Mount+","+more, ","))
}
