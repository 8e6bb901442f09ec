//go:build linux

package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/durability"
)

const (
	failingFile  = "file"
	failingPages = 16

	// failingPage is the page of the file that the disk does not take.
	failingPage = 7

	// failingPatience is how long a child has to take its mounts away.
	failingPatience = 20 * time.Second
)

// What a page holds, wherever it is read.
const (
	holdsOld   = "old"   // what was synced before the disk failed
	holdsNew   = "new"   // what was written then
	holdsOther = "other" // neither
)

// saidNil is what a call that returned no error said.
const saidNil = "nil"

// failingKind is a filesystem, and how its file is made.
type failingKind struct {
	name string
	fs   powerloss.Filesystem

	// cow leaves the file as files are born on btrfs: copied on write, with checksums.
	// That of the log is neither.
	cow bool
}

// failingKinds are those that are measured.
func failingKinds() (kinds []failingKind) {
	for _, fs := range powerloss.Filesystems() {
		kinds = append(kinds, failingKind{name: fs.Name, fs: fs})
		if fs.Name == "btrfs" {
			kinds[len(kinds)-1].name += " " + nocow
			kinds = append(kinds, failingKind{name: fs.Name, fs: fs, cow: true})
		}
	}
	return kinds
}

// nocow is of a file on btrfs that is written in place.
const nocow = "NOCOW"

// failing is a filesystem on a disk that can be made to fail.
type failing struct {
	ctx    context.Context
	disks  *blockdev.Lab
	disk   *blockdev.Disk
	kind   failingKind
	synced blockdev.View // the filesystem with the file in it, unmounted
	place  int64         // of the page, on the device

	old, new []byte // a page each
}

// failingArgs tell a child where to work, and how to choose.
type failingArgs struct {
	Dir  string
	Seed uint64
}

// failingAnswer is what a child found.
type failingAnswer[R any] struct {
	Rows   []R
	NotRun []string
	Cannot string
}

// onFailingDisks has a child in a role measure on filesystems that nobody else sees.
// It takes away its mounts before it ends; where it is killed, the server of the disks
// does that.
func onFailingDisks[R any](ctx context.Context, l *lab, role string) ([]R, error) {
	if err := blockdev.Ready(); err != nil {
		return nil, cannot("a disk that fails %s", strings.TrimPrefix(err.Error(), "blockdev: "))
	}
	cmd, err := newChild(ctx, role, failingArgs{Dir: l.dir, Seed: l.seed})
	if err != nil {
		return nil, err
	}
	privateMounts(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = failingPatience
	var a failingAnswer[R]
	if err = answer(cmd, &a); refused(err) {
		return nil, cannot("no mount namespace can be made: %v", err)
	}
	if err == nil && a.Cannot != "" {
		err = cannot("%s", a.Cannot)
	}
	l.notRun = append(l.notRun, a.NotRun...)
	return a.Rows, err
}

// failingChild is the child of onFailingDisks: it measures on each filesystem.
func failingChild[R any](encoded []byte, measure func(*failing) ([]R, error)) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var args failingArgs
	if err = json.Unmarshal(encoded, &args); err != nil {
		return err
	}
	var sizes []int64
	kinds := failingKinds()
	for _, kind := range kinds {
		sizes = append(sizes, kind.fs.Bytes)
	}
	disks, err := blockdev.Open(args.Dir, sizes...)
	if err != nil {
		return reply(failingAnswer[R]{Cannot: strings.TrimPrefix(err.Error(), "blockdev: ")})
	}
	defer func() { err = errors.Join(err, disks.Close()) }()
	rows, errs := make([][]R, len(kinds)), make([]error, len(kinds))
	var all sync.WaitGroup
	for i, kind := range kinds {
		all.Go(func() {
			f := &failing{ctx: ctx, disks: disks, disk: disks.Disks[i], kind: kind}
			if errs[i] = f.make(rand.New(rand.NewPCG(args.Seed, uint64(i)))); errs[i] == nil {
				rows[i], errs[i] = measure(f)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var a failingAnswer[R]
	for i, kind := range kinds {
		var no *cannotError
		switch {
		case errors.As(errs[i], &no):
			a.NotRun = append(a.NotRun, kind.name+": "+no.why)
		case errs[i] != nil:
			return fmt.Errorf("%s: %w", kind.name, errs[i])
		default:
			a.Rows = append(a.Rows, rows[i]...)
		}
	}
	if len(a.Rows) == 0 {
		a.Cannot = strings.Join(a.NotRun, "; ")
	}
	return reply(a)
}

// make makes the filesystem, with a synced file in it.
func (f *failing) make(random *rand.Rand) error {
	page := func() []byte {
		p := make([]byte, pageBytes)
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		return p
	}
	f.old, f.new = page(), page()
	if _, err := exec.LookPath(f.kind.fs.Make[0]); err != nil {
		return cannot("%s is not installed", f.kind.fs.Make[0])
	}
	if err := f.disk.Make(f.kind.fs.Make[0], f.kind.fs.Make[1:]...); err != nil {
		return err
	}
	if err := f.mount(); err != nil {
		return cannot("it cannot be mounted: %v", err)
	}
	err := errors.Join(f.inDir(func(d *durability.Dir) error { return f.create(d, page()) }), f.disk.Unmount())
	if err != nil {
		return err
	}
	made, err := f.disk.Cut()
	if err != nil {
		return err
	}
	if _, f.place = lastWrite(made, f.old); f.place < 0 {
		return errors.New("the disk was not given what was synced")
	}
	f.synced = made.End()
	return nil
}

// create makes the file. Its other pages all hold the same.
func (f *failing) create(d *durability.Dir, other []byte) error {
	file, err := d.Create(failingFile, 0o600)
	if err != nil {
		return err
	}
	if !f.kind.cow {
		err = file.Allocate(failingPages*pageBytes, durability.AllocateOptions{FillBytes: int(pageBytes)})
	}
	for i := int64(0); i < failingPages && err == nil; i++ {
		page := other
		if i == failingPage {
			page = f.old
		}
		_, err = file.WriteAt(page, i*pageBytes)
	}
	return errors.Join(err, file.Sync(), d.Sync(), file.Close())
}

// mount mounts the disk.
func (f *failing) mount() error { return f.disk.Mount(f.kind.fs.Name, 0, f.kind.fs.Mount) }

// path returns the path of the file.
func (f *failing) path() string { return filepath.Join(f.disk.Path(), failingFile) }

// fresh mounts the filesystem as it was made and has work done in it. It returns what
// the page holds after the filesystem was mounted again, by a disk that works.
func (f *failing) fresh(work func(*durability.Dir) error) (remounted string, err error) {
	if err = f.ctx.Err(); err != nil {
		return "", err
	}
	if err = f.disk.Record(f.synced); err != nil {
		return "", err
	}
	if err = f.mount(); err != nil {
		return "", err
	}
	if err = f.inDir(work); err == nil {
		remounted, err = f.remounted()
	}
	return remounted, errors.Join(err, f.disk.Arm(), f.disk.Discard())
}

// inDir has work done in the directory of the file.
func (f *failing) inDir(work func(*durability.Dir) error) error {
	d, err := durability.OpenDir(f.disk.Path(), nil)
	if err != nil {
		return err
	}
	return errors.Join(work(d), d.Close())
}

// remounted unmounts the filesystem, while the disk fails still, mounts it with one that
// works, and returns what the page holds then.
func (f *failing) remounted() (string, error) {
	if err := errors.Join(f.disk.Unmount(), f.disk.Arm()); err != nil {
		return "", err
	}
	if err := f.mount(); err != nil {
		return said(err), nil
	}
	p, err := os.ReadFile(f.path())
	if err != nil {
		return said(err), nil
	}
	return f.holds(p[failingPage*pageBytes:][:pageBytes]), nil
}

// onDevice returns what the device holds of the page, below the filesystem, and
// whether it was asked to flush since it was given that.
func (f *failing) onDevice() (holds string, flushed bool, err error) {
	r, err := f.disk.Cut()
	if err != nil {
		return "", false, err
	}
	defer func() { _ = f.disks.Drop(r.ID) }() // the server ends with its lab
	event, off := lastWrite(r, f.new)
	if event < 0 { // it can be in a new place only where the disk was given it
		off = f.place
	}
	for i := range r.Events {
		e := &r.Events[i]
		flushed = flushed || i > event && e.Op == blockdev.Flush && !e.Failed
	}
	p, err := f.disks.ReadView(r.End(), off, pageBytes)
	return f.holds(p), flushed || event < 0, err
}

// lastWrite returns the last request that gave the disk a page, and where that is, or
// -1 twice.
func lastWrite(r *blockdev.Recording, page []byte) (event int, off int64) {
	event, off = -1, -1
	for i := range r.Events {
		e := &r.Events[i]
		for k, sum := range e.Sums {
			at := e.Off + int64(k)*blockdev.SectorBytes
			if at%blockdev.BlockBytes == 0 && sum == blockdev.SectorSum(at/blockdev.SectorBytes, page[:blockdev.SectorBytes]) {
				event, off = i, at
			}
		}
	}
	return event, off
}

// dataFault fails the first write of the page.
func (f *failing) dataFault() blockdev.Fault {
	return blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Holding: f.new[:blockdev.SectorBytes]}
}

// holds says what a page is.
func (f *failing) holds(p []byte) string {
	switch {
	case bytes.Equal(p, f.new):
		return holdsNew
	case bytes.Equal(p, f.old):
		return holdsOld
	}
	return holdsOther
}

// read returns what the page holds as it is read in some way, or why it is not.
func (f *failing) read(at func(p []byte, off int64) (int, error)) string {
	p := make([]byte, pageBytes)
	if _, err := at(p, failingPage*pageBytes); err != nil {
		return said(err)
	}
	return f.holds(p)
}

// said returns the name of an error for a table.
func said(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return saidNil
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
