//go:build linux

package powerloss

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// leave leaves the image of a view in a new directory, and mounts it there,
// read-only. It is meant to outlive this process.
func (l *lab) leave(v blockdev.View, keep string) error {
	if err := os.Mkdir(keep, 0o700); err != nil {
		return fmt.Errorf("powerloss: keep: %w", err)
	}
	image := filepath.Join(keep, "image")
	if err := l.writeImage(v, image); err != nil {
		return fmt.Errorf("powerloss: keep: %w", err)
	}
	dir := filepath.Join(keep, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("powerloss: keep: %w", err)
	}
	if err := blockdev.MountReadOnly(image, dir, l.fs.Name, l.fs.Mount); err != nil {
		return fmt.Errorf("powerloss: keep: %w", err)
	}
	l.note(fmt.Sprintf("%s is as the power cut left it; it is mounted read-only on %s until you unmount that", image, dir))
	return nil
}

// writeImage writes a view to a sparse file.
func (l *lab) writeImage(v blockdev.View, file string) (err error) {
	image, err := l.disks.Image(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err = f.Truncate(l.fs.Bytes); err != nil {
		return err
	}
	for n, p := range image {
		if _, err := f.WriteAt(p, n*blockdev.BlockBytes); err != nil {
			return err
		}
	}
	return nil
}
