//go:build linux

package experiment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// pageBytes is the size of a VM page.
var pageBytes = int64(os.Getpagesize())

// lab is what an experiment works in: a scratch directory, random choices, and
// what has to be closed at the end.
type lab struct {
	ctx    context.Context
	dir    string
	seed   uint64
	random *rand.Rand
	notRun []string
	opened *durability.Dir
	onEnd  []func() error
}

// later has fn called at the end, the last one first.
func (l *lab) later(fn func() error) { l.onEnd = append(l.onEnd, fn) }

// close ends what was opened. What was closed already is no error.
func (l *lab) close() error {
	var errs []error
	for _, fn := range slices.Backward(l.onEnd) {
		if err := fn(); err != nil && !errors.Is(err, durability.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// scratch returns the scratch directory.
func (l *lab) scratch() (*durability.Dir, error) {
	if l.opened != nil {
		return l.opened, nil
	}
	d, err := durability.OpenDir(l.dir, nil)
	if err == nil {
		l.opened = d
		l.later(d.Close)
	}
	return d, err
}

// create creates an empty file that is closed at the end.
func (l *lab) create(name string) (*durability.File, error) {
	d, err := l.scratch()
	if err != nil {
		return nil, err
	}
	f, err := d.Create(name, 0o600)
	if err == nil {
		l.later(f.Close)
	}
	return f, err
}

// mapped maps a file until the end.
func (l *lab) mapped(f *durability.File, size int64, writable bool) (*durability.Mapping, error) {
	m, err := f.Map(size, writable)
	if err == nil {
		l.later(m.Unmap)
	}
	return m, err
}

// fill writes incompressible bytes over a range, in writes of chunk bytes, which
// decides the size of the page-cache folios.
func (l *lab) fill(f *durability.File, off, size int64, chunk int) error {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(l.random.Uint32())
	}
	source, p := rand.NewChaCha8(seed), make([]byte, chunk)
	for at := off; at < off+size; at += int64(chunk) {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		_, _ = source.Read(p) // it never fails
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
	}
	return nil
}

// coldFile creates a file of size bytes that the device holds and the page cache
// does not.
func (l *lab) coldFile(name string, size int64) (*durability.File, error) {
	f, err := l.create(name)
	if err != nil {
		return nil, err
	}
	if err := l.fill(f, 0, size, 256<<10); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return f, l.chill(f)
}

// chill drops a clean, unmapped file from the page cache. A page that another
// processor still holds for a moment is asked for again.
func (l *lab) chill(f *durability.File) error { return chill(l.ctx, f) }

// chill is lab.chill.
func chill(ctx context.Context, f *durability.File) error {
	var pages int64
	for range 100 {
		if err := f.DropCache(0, 0); err != nil {
			return err
		}
		var err error
		if pages, err = cachedPages(f, 0, 0); err != nil || pages == 0 {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	fsys, err := f.Filesystem()
	if err != nil {
		return err
	}
	return cannot("%d pages of a synced file stay in the page cache on %s", pages, fsys.Name)
}

// pause waits, or returns early where the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// cachedPages returns how many pages of n bytes at off the page cache holds, also
// those that are still being read; n 0 means up to the end.
func cachedPages(f *durability.File, off, n int64) (int64, error) {
	pc, err := f.PageCache(off, n)
	if err == nil && pc.Known != durability.Known {
		err = cannot("pages in the cache cannot be counted: %s", pc.Reason)
	}
	return pc.Cached, err
}

// dirtyPages returns how many pages of n bytes at off are not yet on their way to
// the device.
func dirtyPages(f *durability.File, off, n int64) (int64, error) {
	pc, err := f.PageCache(off, n)
	if err == nil && pc.Known != durability.Known {
		err = cannot("dirty pages cannot be counted: %s", pc.Reason)
	}
	return pc.Dirty, err
}

// readaheadBytes returns the readahead window of a file's device, or 0 where the
// kernel does not tell.
func readaheadBytes(f *durability.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // btrfs has a device of its own, under another name
	}
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return kib << 10, err
}

// pagesOf returns how many pages hold n bytes.
func pagesOf(n int64) int64 { return (n + pageBytes - 1) / pageBytes }
