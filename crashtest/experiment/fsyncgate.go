//go:build linux

package experiment

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/durability"
)

// fsyncgate asks what is said of a write that the disk refuses, to whom, and how often.
var fsyncgate = Experiment{
	Name: "fsyncgate",
	Hypothesis: "After one failed writeback the error is told once per open descriptor, and a later sync returns nil " +
		"although the device does not have the data.",
	Clauses: []string{"C4 recovery", "C6 first failure"},
	measure: func(ctx context.Context, l *lab) (measurement, error) {
		rows, err := onFailingDisks[gateRow](ctx, l, "fsyncgate")
		return &gateMeasured{Rows: rows}, err
	},
}

// What the disk fails by EIO.
const (
	gateData   = "the data"   // once: what is written to the file
	gateFlush  = "a flush"    // once
	gateWrites = "each write" // from then on
)

// gateFaults are the ways in which the disk fails.
var gateFaults = []string{gateData, gateFlush, gateWrites}

// gateFault returns what is to be armed.
func (f *failing) gateFault(name string) blockdev.Fault {
	switch name {
	case gateData:
		return f.dataFault()
	case gateFlush:
		return blockdev.Fault{Op: blockdev.Flush, Effect: blockdev.EIO}
	}
	return blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Always: true}
}

// gateMethod is a way of writing and syncing. Without sync it is a mapping's.
type gateMethod struct {
	name string
	sync func(fd int) error
}

var gateMethods = []gateMethod{
	{"write, fsync", unix.Fsync}, {"store, msync", nil}, // fdatasync is told what msync is
}

// gateMeasured is what fsyncgate found.
type gateMeasured struct {
	Rows []gateRow `json:"rows"`
}

// gateRow is what was said after one fault, and what is held where then. What a call
// said is nil or the name of an errno.
type gateRow struct {
	Filesystem string `json:"filesystem"`
	Fault      string `json:"fault"`
	Method     string `json:"method"`

	First       string `json:"first"`        // by the descriptor that wrote
	Second      string `json:"second"`       // by that one again
	Before      string `json:"before"`       // by another one, which was open before
	BeforeAgain string `json:"before_again"` // by that one again
	After       string `json:"after"`        // by one that was opened then

	Dirty     int64  `json:"dirty_pages"` // 1: the page is to be written still; -1: the kernel does not tell
	Cache     string `json:"cache"`       // what is read through the page cache
	Device    string `json:"device"`      // what the device was given
	Flushed   bool   `json:"flushed"`     // whether it was asked to flush since
	Remounted string `json:"remounted"`   // what is read after the filesystem was mounted again

	// ReclaimedPages is what the kernel reclaimed and moved during the measurement, for all.
	ReclaimedPages int64 `json:"reclaimed_pages"`
}

// fsyncgateChild is the child of fsyncgate.
func fsyncgateChild(encoded []byte) error {
	return failingChild(encoded, func(f *failing) (rows []gateRow, err error) {
		for _, fault := range gateFaults {
			for _, method := range gateMethods {
				r := gateRow{Filesystem: f.kind.name, Fault: fault, Method: method.name}
				r.Remounted, err = f.fresh(func(d *durability.Dir) error { return r.measure(f, d, method) })
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", fault, method.name, err)
				}
				rows = append(rows, r)
			}
		}
		return rows, nil
	})
}

// measure writes while the disk fails, and asks everybody.
func (r *gateRow) measure(f *failing, d *durability.Dir, method gateMethod) (err error) {
	reclaimed := reclaimedPages()
	writer, err := method.open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.close()) }()
	before, err := method.open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, before.close()) }()
	if err = f.disk.Arm(f.gateFault(r.Fault)); err != nil {
		return err
	}
	if r.First = said(writer.write(f.new)); r.First == saidNil {
		r.First = writer.says()
	}
	r.Second = writer.says()
	r.Before, r.BeforeAgain = before.says(), before.says()
	after, oerr := method.open(d)
	if r.After = said(oerr); oerr == nil { // a filesystem that has shut down opens nothing
		r.After = after.says()
		err = after.close()
	}
	pc, perr := writer.f.PageCache(failingPage*pageBytes, pageBytes)
	if r.Dirty = pc.Dirty + pc.Writeback; pc.Known != durability.Known {
		r.Dirty = -1
	}
	r.Cache = f.read(writer.f.ReadAt)
	r.ReclaimedPages = reclaimedPages() - reclaimed
	var derr error
	r.Device, r.Flushed, derr = f.onDevice()
	return errors.Join(err, perr, derr)
}

// gateFile is an open file and, where the method is a mapping's, its mapping.
type gateFile struct {
	gateMethod
	f *durability.File
	m *durability.Mapping
}

// open opens the file once more.
func (m gateMethod) open(d *durability.Dir) (*gateFile, error) {
	f, err := d.Open(failingFile, true)
	if err != nil {
		return nil, err
	}
	g := &gateFile{gateMethod: m, f: f}
	if m.sync == nil {
		if g.m, err = f.Map(failingPages*pageBytes, true); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return g, nil
}

// close closes it.
func (g *gateFile) close() error {
	if g.m != nil {
		return errors.Join(g.m.Unmap(), g.f.Close())
	}
	return g.f.Close()
}

// write writes the page.
func (g *gateFile) write(page []byte) error {
	if g.m != nil {
		return g.m.Store(failingPage*pageBytes, page, nil)
	}
	_, err := g.f.WriteAt(page, failingPage*pageBytes)
	return err
}

// says syncs, and returns what the kernel said: durability.File would remember the
// first failure.
func (g *gateFile) says() string {
	for {
		var err error
		if g.m != nil {
			err = unix.Msync(g.m.Bytes(), unix.MS_SYNC)
		} else {
			err = g.sync(g.f.Fd())
		}
		if !errors.Is(err, unix.EINTR) {
			return said(err)
		}
	}
}

// check implements measurement. What a filesystem says after a flush has failed, or
// its journal, is its own affair: some stop. By then the first call has told, if no
// other process's sync(2) was told instead.
func (m *gateMeasured) check() complaints {
	var c complaints
	const eio = "EIO"
	for _, r := range m.Rows {
		where := fmt.Sprintf("%s, EIO for %s, %s", r.Filesystem, r.Fault, r.Method)
		if r.Fault == gateFlush {
			c.quiet(r.First == eio, "%s: the first sync says %s: another process may have met the fault", where, r.First)
			continue
		}
		c.unless(r.First == eio, "%s: the first sync says %s instead of EIO", where, r.First)
		c.unless(r.Device == holdsOld, "%s: the device holds the page as %s", where, r.Device)
		c.unless(r.Remounted == holdsOld, "%s: after a remount the page is %s", where, r.Remounted)
		if r.Fault != gateData {
			continue
		}
		for _, call := range []struct{ who, says, want string }{
			{"the second sync", r.Second, saidNil},
			{"a descriptor that was open before", r.Before, eio},
			{"that one again", r.BeforeAgain, saidNil},
			{"a descriptor that was opened after", r.After, saidNil},
		} {
			c.unless(call.says == call.want, "%s: %s says %s instead of %s", where, call.who, call.says, call.want)
		}
		c.unless(r.Dirty <= 0, "%s: the page is dirty still", where)
		c.unlessReclaimed(r.ReclaimedPages, r.Cache == holdsNew, "%s: the page cache holds the page as %s", where, r.Cache)
	}
	return c
}

// table implements measurement.
func (m *gateMeasured) table() table {
	t := table{
		Columns: []string{"filesystem", "EIO for", "method", "sync", "open before", "opened after", "cache", "device", "remount"},
		Note: "what two syncs in a row say, by the descriptor that wrote and by one that was open before; and what the page is " +
			"in the page cache, where it is clean if nothing else is said, on the device, and after a remount: as it was (old), " +
			"or as it was written (new)",
	}
	for i, r := range m.Rows {
		fs, fault := r.Filesystem, r.Fault // said once, where they begin
		if i > 0 && m.Rows[i-1].Filesystem == fs {
			fs = ""
			if m.Rows[i-1].Fault == fault {
				fault = ""
			}
		}
		device, cache := r.Device, r.Cache
		if !r.Flushed {
			device += ", not flushed"
		}
		if r.Dirty > 0 {
			cache += ", dirty"
		}
		t.add(fs, fault, r.Method, r.First+", "+r.Second, r.Before+", "+r.BeforeAgain, r.After, cache, device, r.Remounted)
	}
	return t
}
