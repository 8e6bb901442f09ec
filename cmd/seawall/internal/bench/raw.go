//go:build linux

package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal/frame"
)

const (
	// fillBytes is the size of the writes that fill a file: the page cache makes
	// folios of 4 KiB of them, the least that a small sync can write.
	fillBytes = 4 << 10
	// largeFillBytes is the same for a file that is not synced: it faults less.
	largeFillBytes = 2 << 20
	// syncedFileBytes is the size of files that are synced. They are written in a ring.
	syncedFileBytes = 16 << 20
)

// castagnoli is the polynomial of the log's checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ring is a file that is filled with zeros and durable, and a place in it.
type ring struct {
	file   *os.File
	size   int64
	off    int64
	record []byte // a header of the log's size, the payload, and the log's padding
	body   []byte // the payload in it
	synced uint64
}

// newRing makes the file. A write to it needs no space and no journal afterwards.
func newRing(ctx context.Context, c *Config, path string, size int64, fill int) (*ring, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, fill)
	for n := int64(0); n < size && err == nil; n += int64(fill) {
		if err = ctx.Err(); err == nil {
			_, err = f.Write(zeros)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &ring{file: f, size: size, record: make([]byte, c.frameBytes())}
	r.body = r.record[frame.HeaderBytes:][:c.Size]
	copy(r.body, payload(c.Size))
	return r, nil
}

// ringBytes returns the size of a ring: so many bytes, or less where segments are
// smaller, but enough for least bytes.
func ringBytes(c *Config, bytes, least int64) int64 {
	n := max(min(bytes, c.SegmentBytes), least)
	return (n + largeFillBytes - 1) / largeFillBytes * largeFillBytes
}

// next returns where n bytes go. The caller holds what guards the ring.
func (r *ring) next(n int64) int64 {
	if r.off+n > r.size {
		r.off = 0
	}
	off := r.off
	r.off += n
	return off
}

// sum stores the payload's checksum in the header, as the log has one there. Only a
// ring's only writer may call it.
func (r *ring) sum() {
	binary.LittleEndian.PutUint32(r.record, crc32.Checksum(r.body, castagnoli))
}

// writeSynced writes p behind what was written before, and syncs it. An interrupted
// system call is made again; after a failed one the measurement ends.
func (r *ring) writeSynced(p []byte) error {
	off := r.next(int64(len(p)))
	for len(p) > 0 {
		n, err := unix.Pwrite(int(r.file.Fd()), p, off)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("pwrite %s: %w", r.file.Name(), err)
		}
		p, off = p[max(0, n):], off+int64(max(0, n))
	}
	for {
		err := unix.Fdatasync(int(r.file.Fd()))
		if err == nil {
			r.synced++
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("fdatasync %s: %w", r.file.Name(), err)
		}
	}
}

// syncs implements contender.
func (r *ring) syncs() uint64 { return r.synced }

// close implements contender.
func (r *ring) close() error { return r.file.Close() }

// rawWrite is pwrite and fdatasync of one record, by one writer.
type rawWrite struct{ *ring }

// append implements contender.
func (r *rawWrite) append() error {
	r.sum()
	return r.writeSynced(r.record)
}

// mapped is a ring in a mapping.
type mapped struct {
	*ring
	data []byte
}

// newMapped maps a ring, and stores to each of its pages once: they are faulted in.
func newMapped(r *ring) (*mapped, error) {
	data, err := unix.Mmap(int(r.file.Fd()), 0, int(r.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mmap %s: %w", r.file.Name(), err), r.close())
	}
	for off := 0; off < len(data); off += os.Getpagesize() {
		data[off] = 0
	}
	return &mapped{ring: r, data: data}, nil
}

// close implements contender.
func (m *mapped) close() error { return errors.Join(unix.Munmap(m.data), m.ring.close()) }

// rawStore is a store and msync of one record, by one writer.
type rawStore struct{ *mapped }

// append implements contender.
func (r *rawStore) append() error {
	r.sum()
	off := r.next(int64(len(r.record)))
	end := off + int64(copy(r.data[off:], r.record))
	page := int64(os.Getpagesize())
	for {
		err := unix.Msync(r.data[off&^(page-1):min(r.size, (end+page-1)&^(page-1))], unix.MS_SYNC)
		if err == nil {
			r.synced++
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("msync %s: %w", r.file.Name(), err)
		}
	}
}

// rawCopy is a checksum, and a copy into a mapping under a mutex.
type rawCopy struct {
	*mapped
	mu sync.Mutex
}

// append implements contender. The checksum is taken outside of the lock, as the log
// does with its payloads.
func (r *rawCopy) append() error {
	sum := crc32.Checksum(r.body, castagnoli)
	r.mu.Lock()
	to := r.data[r.next(int64(len(r.record))):]
	binary.LittleEndian.PutUint32(to, sum)
	copy(to[4:len(r.record)], r.record[4:])
	r.mu.Unlock()
	return nil
}
