//go:build linux

package powerloss

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// atlas tells what lies where on a disk, of one state of it.
type atlas struct {
	filesystem string
	read       func(off, length int64) []byte // of the state; nil where it cannot
	extents    []extent
	paths      map[uint64]string // by inode
	chunks     []chunk           // of btrfs
	ext4       *ext4Layout
	later      *atlas // of the end of the recording: it knows files that this one does not yet
}

// extent is a part of a file or a directory.
type extent struct {
	physical, logical, length int64
	path                      string
	dir                       bool
}

// atlas makes the atlas of a view.
func (l *lab) atlas(d *blockdev.Disk, v blockdev.View) (*atlas, error) {
	a := &atlas{filesystem: l.fs.Name, paths: make(map[uint64]string)}
	a.read = func(off, length int64) []byte {
		p, err := l.disks.ReadView(v, off, length)
		if err != nil {
			return make([]byte, length) // words are wanting, nothing else
		}
		return p
	}
	if err := d.Fork(v); err != nil {
		return nil, err
	}
	switch a.filesystem {
	case "btrfs":
		a.chunks = readChunks(d.Device())
	case "ext4":
		a.ext4 = readExt4(a.read)
	}
	if err := l.fs.mount(d); err != nil {
		return a, nil // what cannot be mounted has no names
	}
	a.walk(d.Path())
	return a, d.Discard()
}

// walk notes where all files are. One that cannot be asked has no place.
func (a *atlas) walk(root string) {
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		name := nameOf(strings.TrimPrefix(path, root))
		if info, ierr := e.Info(); ierr == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				a.paths[st.Ino] = name
			}
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		for _, x := range fiemap(f) {
			x.path, x.dir = name, e.IsDir()
			x.physical = a.physical(x.physical)
			a.extents = append(a.extents, x)
		}
		_ = f.Close() // nothing was written
		return nil
	})
}

// nameOf returns how a file is called by its path on the disk: those of the subject by their paths
// in its directory.
func nameOf(path string) string {
	own, isOwn := strings.CutPrefix(path, "/"+subjectName)
	switch {
	case isOwn && own == "":
		return "{dir}"
	case isOwn && own[0] == '/':
		return own[1:]
	case path == "":
		return rootName
	case strings.HasPrefix(path, "/"+bystanderName):
		return unrelatedName
	}
	return path
}

const (
	fiemapRequest = 0xc020660b // _IOWR('f', 11, struct fiemap)
	fiemapHead    = 32
	fiemapExtent  = 56
	fiemapMost    = 512

	// Places that are none: unknown, delayed, encoded, or within metadata.
	fiemapNowhere = 0x2 | 0x4 | 0x8 | 0x200
)

// fiemap asks where a file's extents are.
func fiemap(f *os.File) []extent {
	b := make([]byte, fiemapHead+fiemapMost*fiemapExtent)
	binary.NativeEndian.PutUint64(b[8:], ^uint64(0)) // of the whole file
	binary.NativeEndian.PutUint32(b[24:], fiemapMost)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapRequest, uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return nil
	}
	var list []extent
	for i := range int(binary.NativeEndian.Uint32(b[20:])) {
		e := b[fiemapHead+i*fiemapExtent:]
		if binary.NativeEndian.Uint32(e[40:])&fiemapNowhere != 0 {
			continue
		}
		list = append(list, extent{
			logical: int64(binary.NativeEndian.Uint64(e)), physical: int64(binary.NativeEndian.Uint64(e[8:])),
			length: int64(binary.NativeEndian.Uint64(e[16:])),
		})
	}
	return list
}

// run is a piece of a request, in words that may be numbered: "page 3 of x".
type run struct {
	what, of    string
	first, last int64
}

// describe tells what lies in the given blocks, in as few words as will do.
func (a *atlas) describe(blocks []int64) []string {
	var runs []run
	for _, n := range blocks {
		runs = join(runs, a.at(n, n))
	}
	return tellRuns(runs)
}

// join appends a piece, or makes the last one longer by it.
func join(runs []run, r run) []run {
	if k := len(runs) - 1; k >= 0 && runs[k].what == r.what && runs[k].of == r.of && (r.first == runs[k].last+1 || r.first == runs[k].last) {
		runs[k].last = r.first
		return runs
	}
	return append(runs, r)
}

// tellRuns returns the words of pieces.
func tellRuns(runs []run) (words []string) {
	for _, r := range runs {
		switch {
		case r.first < 0:
			words = append(words, r.what)
		case r.first == r.last:
			words = append(words, fmt.Sprintf("%s %d%s", r.what, r.first, r.of))
		default:
			words = append(words, fmt.Sprintf("%ss %d to %d%s", r.what, r.first, r.last, r.of))
		}
	}
	if words = slices.Compact(words); len(words) > 4 {
		words = append(words[:3], fmt.Sprintf("and %d more", len(words)-3))
	}
	return words
}

// at tells what lies in a block, whose content is read from one that may be
// another: a copy of it.
func (a *atlas) at(block, content int64) run {
	if r, ok := a.inFile(block, content); ok {
		return r
	}
	if words := a.inMetadata(block); words != "" {
		return run{what: words, first: -1}
	}
	if a.later != nil {
		if r, ok := a.later.inFile(block, content); ok {
			r.of += ", as it was to be"
			return r
		}
	}
	return run{what: "block", first: block, last: block, of: " of the disk, of no file"}
}

// inFile tells which file's page, or which directory's block, a block is.
func (a *atlas) inFile(block, content int64) (run, bool) {
	off := block * blockdev.BlockBytes
	for _, x := range a.extents {
		if off < x.physical || off >= x.physical+x.length {
			continue
		}
		n := (x.logical + off - x.physical) / blockdev.BlockBytes
		if x.dir {
			return run{what: "directory block", of: " of " + x.path + a.entries(content), first: n, last: n}, true
		}
		return run{what: "page", of: " of " + x.path, first: n, last: n}, true
	}
	return run{}, false
}

// inMetadata tells what a block is that is no file's.
func (a *atlas) inMetadata(block int64) string {
	switch a.filesystem {
	case "ext4":
		return a.ext4.describe(a, block)
	case "xfs":
		return a.xfs(block)
	case "btrfs":
		return a.btrfs(block)
	}
	return ""
}

// The names of what is not the subject's.
const (
	rootName      = "the root directory"
	unrelatedName = "an unrelated file"
)

// few joins up to five names, those of the subject's files first.
func few(list []string) string {
	list = slices.Clone(list)
	others := func(name string) int {
		if name == rootName || name == unrelatedName || strings.HasPrefix(name, "/") {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b string) int { return others(a) - others(b) })
	list = slices.Compact(list)
	if len(list) > 5 {
		list = append(slices.Clone(list[:5]), fmt.Sprintf("and %d more", len(list)-5))
	}
	return strings.Join(list, ", ")
}
