package durabilitytest

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files is the content of a directory at one moment: slash-separated names
// relative to it, and the bytes of each regular file. A directory below has a
// key that ends in a slash, and no bytes.
type Files map[string][]byte

// ReadFiles reads the directory dir and everything below it. What is neither a
// regular file nor a directory is left out.
func ReadFiles(dir string) (Files, error) {
	files := Files{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case e.IsDir():
			files[name+"/"] = nil
		case e.Type().IsRegular():
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("durabilitytest: reading the files of %s: %w", dir, err)
	}
	return files, nil
}

// Names returns the names in sorted order.
func (fs Files) Names() []string {
	return slices.Sorted(maps.Keys(fs))
}

// WriteTo writes the files into dir, which is created if it is missing, with
// mode 0644 (directories 0755). Files of other names that are there already
// stay; nothing is synced.
func (fs Files) WriteTo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("durabilitytest: writing files: %w", err)
	}
	// Sorted order puts a directory before what is in it.
	for _, name := range fs.Names() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, fs[name], 0o644)
		}
		if err != nil {
			return fmt.Errorf("durabilitytest: writing files: %w", err)
		}
	}
	return nil
}
