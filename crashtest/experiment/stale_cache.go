//go:build linux

package experiment

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// staleCache asks who is served what the device does not have.
var staleCache = Experiment{
	Name: "stale-cache",
	Hypothesis: "After a failed writeback the page cache serves what the device does not have, also behind POSIX_FADV_DONTNEED " +
		"where the page is mapped; O_DIRECT into resident memory shows the device, and the next store into the page sends all of it there.",
	Clauses: []string{"C4 recovery", "C6 first failure"},
	measure: func(ctx context.Context, l *lab) (measurement, error) {
		rows, err := onFailingDisks[staleRow](ctx, l, "stale-cache")
		return &staleMeasured{Rows: rows}, err
	},
}

// The ways of reading the page, in this order.
const (
	staleRead        = "read"
	staleMapping     = "mapping"
	staleDirect      = "O_DIRECT"
	staleDirectFresh = "O_DIRECT, into new memory"  // that was never touched
	staleDropMapped  = "read, dropped while mapped" // by POSIX_FADV_DONTNEED
	staleDropped     = "read, dropped"
	staleRemounted   = "read, remounted"
	staleStored      = "O_DIRECT, after a store"
	staleStoredAgain = "read, after a store, remounted"
)

// staleExpected says what each way of reading should show, and which clause counts on it.
var staleExpected = map[string]struct{ page, clause string }{
	staleRead:        {holdsNew, "C6"}, // readers are served up to the durable LSN only
	staleMapping:     {holdsNew, "C6"},
	staleDirect:      {holdsOld, "C4"}, // recovery reads the device
	staleDirectFresh: {holdsOld, "C4"},
	staleDropMapped:  {holdsNew, "C4"}, // and cannot have the cache emptied instead
	staleDropped:     {holdsOld, "C4"},
	staleRemounted:   {holdsOld, "C6"}, // the nil of a second sync is worth nothing
	staleStored:      {holdsNew, "C4"}, // recovery makes cache and device equal before it stores
	staleStoredAgain: {holdsNew, "C4"},
}

// staleMeasured is what staleCache found.
type staleMeasured struct {
	Rows []staleRow `json:"rows"`
}

// staleRow is one way of reading the page after its writeback has failed.
type staleRow struct {
	Filesystem string `json:"filesystem"`
	By         string `json:"read_by"`
	Page       string `json:"page"`   // what was read, or the name of an errno
	Device     string `json:"device"` // what the device holds at that time

	// ReclaimedPages is what the kernel reclaimed and moved until then, for all.
	ReclaimedPages int64 `json:"reclaimed_pages"`
}

// staleCacheChild is the child of staleCache.
func staleCacheChild(encoded []byte) error {
	return failingChild(encoded, func(f *failing) ([]staleRow, error) {
		s := &staleLab{failing: f, reclaimed: reclaimedPages()}
		remounted, err := f.fresh(s.readers)
		if err != nil {
			return nil, err
		}
		s.add(staleRemounted, remounted)
		remounted, err = f.fresh(s.stored)
		s.add(staleStoredAgain, remounted)
		return s.rows, err
	})
}

// staleLab reads the page on one filesystem.
type staleLab struct {
	*failing
	rows      []staleRow
	device    string
	reclaimed int64
}

// add notes what was read.
func (s *staleLab) add(by, page string) {
	s.rows = append(s.rows, staleRow{
		Filesystem: s.kind.name, By: by, Page: page, Device: s.device, ReclaimedPages: reclaimedPages() - s.reclaimed,
	})
}

// fails stores the page in a mapping, while the disk does not take it, and syncs again,
// as a recovery does first.
func (s *staleLab) fails(m *durability.Mapping) error {
	if err := s.disk.Arm(s.dataFault()); err != nil {
		return err
	}
	if err := m.Store(failingPage*pageBytes, s.new, nil); err != nil {
		return err
	}
	if err := unix.Msync(m.Bytes(), unix.MS_SYNC); !errors.Is(err, unix.EIO) {
		return fmt.Errorf("the disk fails a write, and msync says %s", said(err))
	}
	_ = unix.Msync(m.Bytes(), unix.MS_SYNC) // what that says fsyncgate asks
	return s.looks()
}

// looks asks the device.
func (s *staleLab) looks() (err error) {
	s.device, _, err = s.onDevice()
	return err
}

// direct reads around the page cache into memory that is resident, or was never
// touched. That of durability.File.ReadDirect may be either.
func (s *staleLab) direct(resident bool) (page string, err error) {
	fd, err := unix.Open(s.path(), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) {
		return "", cannot("it has no O_DIRECT")
	} else if err != nil {
		return "", err
	}
	p, err := unix.Mmap(-1, 0, int(pageBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return "", errors.Join(err, unix.Close(fd))
	}
	if resident {
		p[0] = 1
	}
	if _, rerr := unix.Pread(fd, p, failingPage*pageBytes); rerr != nil {
		page = said(rerr)
	} else {
		page = s.holds(p)
	}
	return page, errors.Join(unix.Munmap(p), unix.Close(fd))
}

// readers reads the page in every way after its writeback has failed.
func (s *staleLab) readers(d *durability.Dir) (err error) {
	writer, err := mapFailing(d)
	if err != nil {
		return err
	}
	if err = s.fails(writer.m); err != nil {
		return errors.Join(err, writer.close())
	}
	err = s.reread(d, writer)
	return errors.Join(err, writer.close())
}

// mapFailing opens and maps the file.
func mapFailing(d *durability.Dir) (*gateFile, error) { return gateMethod{}.open(d) }

// reread is readers once the writeback has failed. The writer's mapping ends with it.
func (s *staleLab) reread(d *durability.Dir, writer *gateFile) (err error) {
	f, err := d.Open(failingFile, false) // as a process that starts then does
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.add(staleRead, s.read(f.ReadAt))
	s.add(staleMapping, s.read(func(p []byte, off int64) (int, error) { return len(p), writer.m.Load(off, p) }))
	for _, by := range []string{staleDirect, staleDirectFresh} {
		page, derr := s.direct(by == staleDirect)
		if derr != nil {
			return derr
		}
		s.add(by, page)
	}
	if err = f.DropCache(0, 0); err != nil {
		return err
	}
	s.add(staleDropMapped, s.read(f.ReadAt))
	if err = writer.m.Unmap(); err != nil {
		return err
	}
	if pc, perr := writer.f.PageCache(0, 0); perr == nil && pc.Known == durability.Known {
		err = chill(s.ctx, writer.f)
	} else {
		err = f.DropCache(0, 0)
	}
	if err != nil {
		return err
	}
	s.add(staleDropped, s.read(f.ReadAt))
	return s.looks()
}

// stored stores one byte of the page, as it is already, once its writeback has failed.
func (s *staleLab) stored(d *durability.Dir) (err error) {
	writer, err := mapFailing(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.close()) }()
	if err = s.fails(writer.m); err != nil {
		return err
	}
	if err = writer.m.Store(failingPage*pageBytes, s.new[:1], nil); err == nil {
		err = unix.Msync(writer.m.Bytes(), unix.MS_SYNC)
	}
	if err != nil { // a filesystem that has stopped
		s.add(staleStored, said(err))
		return nil
	}
	if err = s.looks(); err != nil {
		return err
	}
	page, err := s.direct(true)
	s.add(staleStored, page)
	return err
}

// check implements measurement. Memory that is short takes a clean page out of the
// cache: then the device is read, and what was stored is lost at once.
func (m *staleMeasured) check() complaints {
	var c complaints
	for _, r := range m.Rows {
		expected, device := staleExpected[r.By], holdsOld
		if r.By == staleStored || r.By == staleStoredAgain {
			device = holdsNew
		}
		want := expected.page
		if r.By == staleDirectFresh && strings.HasPrefix(r.Filesystem, "btrfs") && r.Page == holdsNew {
			want = holdsNew // it may read through the page cache (Linux 6.18), and does not say so
		}
		for _, p := range []struct{ what, is, want string }{
			{"what is read", r.Page, want}, {"what the device holds", r.Device, device},
		} {
			text := fmt.Sprintf("%s, %s: %s is %s instead of %s", r.Filesystem, r.By, p.what, p.is, p.want)
			if p.want == holdsNew {
				c.unlessReclaimed(r.ReclaimedPages, p.is == p.want, "%s", text)
			} else {
				c.unless(p.is == p.want, "%s", text)
			}
		}
	}
	return c
}

// table implements measurement.
func (m *staleMeasured) table() table {
	t := table{
		Columns: []string{"filesystem", "read by", "page", "device", "clause"},
		Note: "the page as it was synced (old), or as it was stored when the disk refused it (new), and synced again; " +
			"dropped is by POSIX_FADV_DONTNEED; a store is one of a single byte of the page, and synced; " +
			"btrfs may read through the page cache where the memory that it reads into was never touched",
	}
	for i, r := range m.Rows {
		fs := r.Filesystem // said once, where it begins
		if i > 0 && m.Rows[i-1].Filesystem == fs {
			fs = ""
		}
		t.add(fs, r.By, r.Page, r.Device, staleExpected[r.By].clause)
	}
	return t
}
