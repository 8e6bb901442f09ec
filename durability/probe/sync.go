package probe

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

const (
	// commitBytes is the size of a small commit.
	commitBytes = 100

	// syncFileBytes is the size of the file of one method and state. Each commit goes
	// into another page of it, so that it bounds the number of samples too.
	syncFileBytes = 1 << 20

	// leastSamples are taken where pages are large.
	leastSamples = 16

	// turnCommits is how many commits a method makes one after the other, and turnTime
	// when it makes fewer.
	turnCommits = 16
	turnTime    = 50 * time.Millisecond
)

// syncPages returns how many pages a file has, and so samples.
func syncPages() int64 { return max(leastSamples, syncFileBytes/pageBytes) }

// cell is one method and state.
type cell struct {
	method, state string
	commit        func(off int64) error
	times         []float64
	dirtied       []int64
	written       []int64
	flushes       []int64
}

// methods are what is compared, in the order in which they are shown.
var methods = []string{Msync, Fdatasync, Fsync, ODSync, RWFDSync}

// states are the states of the blocks, in the order in which they are shown.
var states = []string{Extend, Unwritten, Written, Recycled}

// measureSyncs times small commits. The methods and states take turns, so that what
// others do to the disk hits them all. In a turn there are several commits: the first
// one behind a pause journals the file's new mtime too.
func measureSyncs(b *bench) (func(*Result), error) {
	cells, errs := b.cells()
	for i := int64(0); i < syncPages(); i += turnCommits {
		cells = slices.DeleteFunc(cells, func(c *cell) bool {
			err := b.turn(c, i)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, %s blocks: %w", c.method, c.state, err))
			}
			return err != nil
		})
	}
	rows, samples := []Sync{}, 0
	for _, c := range cells {
		if len(c.times) > 0 {
			rows = append(rows, c.row())
			samples += len(c.times)
		}
	}
	if all := len(states)*len(methods) - 1; len(rows)+len(errs) < all {
		errs = append(errs, fmt.Errorf("the disk is slow: there was time for %d of %d methods and states", len(rows), all))
	}
	return func(r *Result) { r.Syncs, r.Samples = rows, samples }, errors.Join(errs...)
}

// cells makes the files of all methods and states, as far as the time and the filesystem allow.
func (b *bench) cells() (cells []*cell, errs []error) {
	for _, state := range []string{Written, Unwritten, Extend, Recycled} { // what matters most first
		for _, method := range methods {
			if method == Msync && state == Extend {
				continue // a store behind the end of a file is lost, or raises SIGBUS
			}
			if b.late(0.4) && len(cells) > 0 || b.ctx.Err() != nil {
				return cells, errs // a slow disk: what there is has to do
			}
			c, err := b.cell(method, state)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, %s blocks: %w", method, state, err))
				continue
			}
			cells = append(cells, c)
		}
	}
	slices.SortStableFunc(cells, func(a, b *cell) int {
		return slices.Index(states, a.state) - slices.Index(states, b.state)
	})
	return cells, errs
}

// turn makes some commits, one at least in the first turn.
func (b *bench) turn(c *cell, from int64) error {
	begin := time.Now()
	for i := from; i < min(from+turnCommits, syncPages()); i++ {
		enough := i > from && time.Since(begin) > turnTime || i > 0 && b.over(0.9)
		if enough || b.ctx.Err() != nil {
			break
		}
		if err := b.sample(c, i*pageBytes); err != nil {
			return err
		}
	}
	return nil
}

// sample makes one commit.
func (b *bench) sample(c *cell, off int64) error {
	before := b.device.count()
	cost, err := metered(func() error { return c.commit(off) })
	if err != nil {
		return err
	}
	done := b.device.count().since(before)
	c.times = append(c.times, cost.seconds)
	c.dirtied, c.written, c.flushes = append(c.dirtied, cost.dirtied), append(c.written, done.written), append(c.flushes, done.flushes)
	return nil
}

// row sums a cell up.
func (c *cell) row() Sync {
	slices.Sort(c.times)
	return Sync{
		Method: c.method, State: c.state, Samples: len(c.times),
		P50: quantile(c.times, 0.5), P99: quantile(c.times, 0.99), Max: c.times[len(c.times)-1],
		DirtiedBytes: median(c.dirtied), DeviceBytes: median(c.written), Flushes: median(c.flushes),
	}
}

// cell makes the file of one method and state, and the commit into it.
func (b *bench) cell(method, state string) (*cell, error) {
	f, err := b.stateFile(method, state)
	if err != nil {
		return nil, err
	}
	c := &cell{method: method, state: state}
	record := make([]byte, commitBytes)
	for i := range record {
		record[i] = byte(i) | 1
	}
	write := func(off int64, then func() error) error {
		if _, err := f.WriteAt(record, off); err != nil {
			return err
		}
		return then()
	}
	switch method {
	case Msync:
		m, err := b.mapped(f, syncPages()*pageBytes)
		if err != nil {
			return nil, err
		}
		c.commit = func(off int64) error {
			if err := m.Store(off, record, nil); err != nil {
				return err
			}
			return m.Sync(off, commitBytes)
		}
	case Fdatasync:
		c.commit = func(off int64) error { return write(off, f.Datasync) }
	case Fsync:
		c.commit = func(off int64) error { return write(off, f.Sync) }
	case ODSync:
		path := filepath.Join(b.dir.Path(), f.Name())
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_DSYNC|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s with O_DSYNC: %w", path, err)
		}
		b.later(func() error { return unix.Close(fd) })
		c.commit = func(off int64) error { return whole(unix.Pwrite(fd, record, off)) }
	case RWFDSync:
		c.commit = func(off int64) error {
			return whole(unix.Pwritev2(f.Fd(), [][]byte{record}, off, unix.RWF_DSYNC))
		}
	}
	return c, nil
}

// whole returns an error where a write did not write a commit.
func whole(n int, err error) error {
	if err == nil && n != commitBytes {
		err = fmt.Errorf("wrote %d of %d bytes", n, commitBytes)
	}
	return err
}

// stateFile makes a file whose blocks are in a state, all of it durable. The blocks of
// the two states that are written are those of segments: out of copy-on-write on btrfs,
// in small folios.
func (b *bench) stateFile(method, state string) (*durability.File, error) {
	name, size := method+"-"+state, syncPages()*pageBytes
	switch state {
	case Written:
		return b.filled(name, size, pageBytes)
	case Recycled:
		f, err := b.filled(name+"-used", size, pageBytes)
		if err != nil {
			return nil, err
		}
		used := make([]byte, pageBytes)
		for i := range used {
			used[i] = 0xa5
		}
		for off := int64(0); off < size; off += pageBytes {
			if _, err := f.WriteAt(used, off); err != nil {
				return nil, err
			}
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		if err := b.dir.Rename(f.Name(), name, f); err != nil {
			return nil, err
		}
		return f, b.dir.Sync()
	}
	f, err := b.create(name)
	if err != nil {
		return nil, err
	}
	if state == Unwritten {
		if err := unix.Fallocate(f.Fd(), 0, 0, size); err != nil {
			return nil, fmt.Errorf("fallocate: %w", err)
		}
	}
	return f, f.Sync()
}
