//go:build linux

package experiment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

const (
	sigbusSpan   = 64 // bytes that an access touches, and the way to the next one's
	sigbusMarker = 0x7fed_cba9_8765_4321
)

// sigbusFile is the size of the file, sigbusEnd what it is truncated to: 5,000
// where pages have 4 KiB.
func sigbusFile() int64 { return 4 * pageBytes }
func sigbusEnd() int64  { return pageBytes + 904 }

// toucher makes the accesses of one process to the mapped file.
type toucher interface {
	touch(access string, off int64) error
	sync(off int64) error
	close() error
}

// stored returns the bytes that an access stores, or nil.
func stored(access string) []byte {
	marker := binary.LittleEndian.AppendUint64(nil, sigbusMarker)
	switch access {
	case accessStore:
		return marker
	case accessCopy:
		return bytes.Repeat(marker, sigbusSpan/len(marker))
	}
	return nil
}

// guardedToucher goes through package durability.
type guardedToucher struct {
	f, sink *durability.File
	m       *durability.Mapping
	dirs    []*durability.Dir
}

// newGuarded maps a file that exists.
func newGuarded(path, sinkDir string) (*guardedToucher, error) {
	t := &guardedToucher{}
	open := func(path string) (*durability.Dir, error) {
		d, err := durability.OpenDir(path, nil)
		if err == nil {
			t.dirs = append(t.dirs, d)
		}
		return d, err
	}
	d, err := open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if t.f, err = d.Open(filepath.Base(path), true); err != nil {
		return nil, errors.Join(err, t.close())
	}
	if d, err = open(sinkDir); err == nil {
		t.sink, err = d.Create(filepath.Base(path)+".sink", 0o600)
	}
	if err == nil {
		t.m, err = t.f.Map(sigbusFile(), true)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *guardedToucher) touch(access string, off int64) (err error) {
	switch access {
	case accessLoad:
		_, err = t.m.LoadUint64(off)
	case accessStore:
		err = t.m.StoreUint64(off, sigbusMarker)
	case accessCopy:
		err = t.m.Store(off, stored(access), nil)
	case accessChecksum:
		_, err = t.m.Checksum(off, sigbusSpan)
	case accessMsync:
		err = t.sync(off)
	case accessCall:
		_, err = t.sink.WriteAt(t.m.Bytes()[off:off+sigbusSpan], 0)
	}
	return err
}

func (t *guardedToucher) sync(off int64) error { return t.m.Sync(off, sigbusSpan) }

func (t *guardedToucher) close() error {
	var err error
	if t.m != nil {
		err = t.m.Unmap()
	}
	for _, f := range []*durability.File{t.f, t.sink} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	for _, d := range t.dirs {
		err = errors.Join(err, d.Close())
	}
	return err
}

// plainToucher uses the mapping as any program does: what goes wrong is a signal.
type plainToucher struct {
	data []byte
	sink int
}

// newPlain maps a file that exists.
func newPlain(path string) (*plainToucher, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	t := &plainToucher{sink: -1}
	t.data, err = unix.Mmap(fd, 0, int(sigbusFile()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		t.sink, err = unix.MemfdCreate("sink", unix.MFD_CLOEXEC)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *plainToucher) touch(access string, off int64) (err error) {
	b := t.data[off : off+sigbusSpan]
	word := (*uint64)(unsafe.Pointer(&b[0]))
	switch access {
	case accessLoad:
		touched.Store(uint32(atomic.LoadUint64(word)))
	case accessStore:
		binary.LittleEndian.PutUint64(b, sigbusMarker)
	case accessCopy:
		copy(b, stored(access))
	case accessChecksum:
		touched.Store(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	case accessMsync:
		err = t.sync(off)
	case accessCall:
		_, err = unix.Pwrite(t.sink, b, 0)
	}
	return err
}

func (t *plainToucher) sync(off int64) error {
	return unix.Msync(t.data[off&^(pageBytes-1):off&^(pageBytes-1)+pageBytes], unix.MS_SYNC)
}

func (t *plainToucher) close() error {
	var err error
	if t.data != nil {
		err = unix.Munmap(t.data)
	}
	if t.sink >= 0 {
		err = errors.Join(err, unix.Close(t.sink))
	}
	return err
}

// outcomeOf returns what an access came to. A store that went well is synced and
// then looked for in the file.
func outcomeOf(t toucher, path, access string, off int64, err error) sigbusOutcome {
	o := sigbusOutcome{Kind: kindDone, Offset: -1}
	var fault *durability.FaultError
	switch {
	case errors.As(err, &fault):
		o.Kind, o.Offset = kindFault, fault.Offset
	case errors.Is(err, unix.EFAULT):
		o.Kind = kindEFAULT
	case err != nil:
		o.Kind, o.Text = kindOther, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	want := stored(access)
	if o.Kind != kindDone || want == nil || t.sync(off) != nil {
		return o
	}
	f, err := os.Open(path)
	if err != nil {
		return sigbusOutcome{Kind: kindOther, Offset: -1, Text: err.Error()}
	}
	got := make([]byte, len(want))
	n, _ := f.ReadAt(got, off) // behind the end there is nothing, which is an answer
	o.Lost = !bytes.Equal(got[:n], want)
	if err = f.Close(); err != nil {
		return sigbusOutcome{Kind: kindOther, Offset: -1, Text: err.Error()}
	}
	return o
}

// parseSignal finds in a dead Go program's last words which signal it was, its
// si_code, and the offset of the address from the base of the mapping.
func parseSignal(words []byte, base uint64) (o sigbusOutcome, err error) {
	_, rest, found := bytes.Cut(words, []byte("[signal SIGBUS: bus error code="))
	var code int
	var addr uint64
	if !found {
		return o, fmt.Errorf("a child died of something else: %s", words)
	}
	if _, err = fmt.Sscanf(string(rest), "0x%x addr=0x%x", &code, &addr); err != nil {
		return o, fmt.Errorf("a child's last words are not understood: %w: %s", err, words)
	}
	return sigbusOutcome{Kind: kindSIGBUS, Code: code, Offset: int64(addr - base)}, nil
}
