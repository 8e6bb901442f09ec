//go:build linux

package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
	"github.com/seawall-wal/seawall/durability"
)

// sigbusStage is where a cause strikes. It goes to children as JSON.
type sigbusStage struct {
	Cause   string
	Dir     string // where the mapped file lies
	SinkDir string // where there is space to write
	Image   string // below the filesystem whose device fails
	Start   int    // index of the child's first field
}

// create makes a file for one process and returns its path.
func (s *sigbusStage) create(name string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if s.Cause == causePageIn {
		return filepath.Join(s.Dir, pageInFile), nil // nothing can be created any more
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	switch s.Cause {
	case causeHole, causeFull:
		err = f.Truncate(sigbusFile())
	default:
		_, err = f.Write(bytes.Repeat([]byte("s"), int(sigbusFile())))
		err = errors.Join(err, f.Sync())
	}
	return path, errors.Join(err, f.Close())
}

// strike lets the cause happen to a file that is mapped.
func (s *sigbusStage) strike(path string) error {
	switch s.Cause {
	case causeTruncated:
		return os.Truncate(path, sigbusEnd())
	case causeExtended:
		return errors.Join(os.Truncate(path, sigbusEnd()), os.Truncate(path, sigbusFile()))
	case causePageIn:
		return os.Truncate(s.Image, 0) // reads behind a loop device's end fail
	}
	return nil
}

// play goes through the fields from the stage's start on, and tells each outcome
// at once: the process may not survive the next.
func (s *sigbusStage) play(t toucher, path string, tell func(int, sigbusOutcome) error) error {
	fields := sigbusFields(s.Cause)
	errs := make([]error, len(fields))
	storesFirst := s.Cause == causeExtended
	for i := s.Start; i < len(fields) && storesFirst; i++ {
		if stored(fields[i].Access) != nil {
			errs[i] = t.touch(fields[i].Access, fields[i].Touched)
		}
	}
	if err := s.strike(path); err != nil {
		return err
	}
	for i := s.Start; i < len(fields); i++ {
		c := fields[i]
		if !storesFirst || stored(c.Access) == nil {
			errs[i] = t.touch(c.Access, c.Touched)
		}
		if err := tell(i, outcomeOf(t, path, c.Access, c.Touched, errs[i])); err != nil {
			return err
		}
	}
	return nil
}

// runCause fills in the fields of a cause: guarded in this process, unguarded in
// children, a new one after each death.
func runCause(ctx context.Context, s *sigbusStage) ([]sigbusCell, error) {
	cells := sigbusFields(s.Cause)
	path, err := s.create("guarded-" + s.Cause)
	if err != nil {
		return nil, err
	}
	t, err := newGuarded(path, s.SinkDir)
	if err != nil {
		return nil, err
	}
	err = s.play(t, path, func(i int, o sigbusOutcome) error {
		cells[i].Guarded = o
		return ctx.Err()
	})
	if err = errors.Join(err, t.close()); err != nil {
		return nil, err
	}
	for next := 0; next < len(cells); {
		from := *s
		from.Start = next
		if next, err = runUnguarded(ctx, &from, cells); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// sigbusLine is what a child says: first where its mapping is, then outcomes.
type sigbusLine struct {
	Base    uint64
	Index   int
	Outcome *sigbusOutcome
}

// runUnguarded has a child go on from the stage's start, and returns the index
// behind the field that killed it.
func runUnguarded(ctx context.Context, s *sigbusStage, cells []sigbusCell) (next int, err error) {
	cmd, err := newChild(ctx, "sigbus-touch", s)
	if err != nil {
		return 0, err
	}
	var said child.Output
	cmd.Stderr = &said
	out, runErr := cmd.Output()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	next = s.Start
	var base uint64
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var line sigbusLine
		if err = d.Decode(&line); err != nil {
			return 0, err
		}
		if line.Outcome == nil {
			base = line.Base
			continue
		}
		cells[line.Index].Unguarded = *line.Outcome
		next = line.Index + 1
	}
	if runErr == nil {
		if next != len(cells) {
			return 0, errors.New("a child stopped half-way")
		}
		return next, nil
	}
	var exit *exec.ExitError
	if !errors.As(runErr, &exit) || base == 0 || next == len(cells) {
		return 0, fmt.Errorf("a child failed: %w: %s", runErr, said.Text())
	}
	cells[next].Unguarded, err = parseSignal([]byte(said.Text()), base)
	return next + 1, err
}

// sigbusTouchChild is the child of runUnguarded.
func sigbusTouchChild(encoded []byte) error {
	var s sigbusStage
	if err := json.Unmarshal(encoded, &s); err != nil {
		return err
	}
	path, err := s.create(fmt.Sprintf("unguarded-%s-%d", s.Cause, s.Start))
	if err != nil {
		return err
	}
	t, err := newPlain(path)
	if err != nil {
		return err
	}
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(t.data))))
	if err = reply(sigbusLine{Base: base}); err != nil {
		return err
	}
	err = s.play(t, path, func(i int, o sigbusOutcome) error { return reply(sigbusLine{Index: i, Outcome: &o}) })
	return errors.Join(err, t.close())
}

// sigbusAnswer is what the child of privateCause found.
type sigbusAnswer struct {
	Cells  []sigbusCell
	Cannot string
}

// privateCause has a child run a cause on a filesystem that it mounts in a
// namespace of its own.
func privateCause(ctx context.Context, l *lab, cause string) (cells []sigbusCell, why string, err error) {
	s := &sigbusStage{Cause: cause, Dir: filepath.Join(l.dir, "mount"), SinkDir: l.dir, Image: filepath.Join(l.dir, "image")}
	if err = os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, "", err
	}
	cmd, err := newChild(ctx, "sigbus-cause", s)
	if err != nil {
		return nil, "", err
	}
	privateMounts(cmd)
	var a sigbusAnswer
	if err = answer(cmd, &a); refused(err) {
		return nil, fmt.Sprintf("a private mount needs root or user namespaces: %v", err), nil
	}
	return a.Cells, a.Cannot, err
}

// sigbusCauseChild is the child of privateCause.
func sigbusCauseChild(encoded []byte) error {
	var s sigbusStage
	if err := json.Unmarshal(encoded, &s); err != nil {
		return err
	}
	prepare := mountFull
	if s.Cause == causePageIn {
		prepare = mountFailing
	}
	var cannot *cannotError
	if err := prepare(&s); errors.As(err, &cannot) {
		return reply(sigbusAnswer{Cannot: cannot.why})
	} else if err != nil {
		return err
	}
	cells, err := runCause(context.Background(), &s)
	if err != nil {
		return err
	}
	return reply(sigbusAnswer{Cells: cells})
}

// mountFull mounts a small tmpfs and fills it to the last page. On a tmpfs a load
// from a hole takes a page too.
func mountFull(s *sigbusStage) error {
	if err := unix.Mount("tmpfs", s.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", 16*pageBytes)); err != nil {
		return cannot("no tmpfs can be mounted: %v", err)
	}
	f, err := os.Create(filepath.Join(s.Dir, "filler"))
	if err != nil {
		return err
	}
	page := make([]byte, pageBytes)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

const (
	pageInFile  = "paged"
	pageInImage = 8 << 20
)

// mountFailing makes an ext4 on a loop device over a file, with a synced file in
// it that is not in the page cache. Once the image is truncated every read of the
// device fails. The loop device goes with the mount, and that with this process.
func mountFailing(s *sigbusStage) error {
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		if mkfs, err = exec.LookPath("/usr/sbin/mkfs.ext4"); err != nil {
			return cannot("mkfs.ext4 is not installed")
		}
	}
	image, err := os.OpenFile(s.Image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = image.Truncate(pageInImage); err != nil {
		return errors.Join(err, image.Close())
	}
	// Whatever is written after the image was truncated makes it longer again, and
	// what is behind the write a hole that can be read. So there is no journal, and
	// nothing that the kernel initializes later in the background.
	options := []string{"-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", s.Image}
	if out, merr := exec.Command(mkfs, options...).CombinedOutput(); merr != nil {
		return errors.Join(fmt.Errorf("mkfs.ext4: %w: %s", merr, out), image.Close())
	}
	loop, err := attachLoop(image)
	if err = errors.Join(err, image.Close()); err != nil {
		return err
	}
	err = unix.Mount(loop.Name(), s.Dir, "ext4", unix.MS_NOATIME, "")
	if err = errors.Join(err, loop.Close()); err != nil {
		return cannot("no ext4 can be mounted from a loop device: %v", err)
	}
	d, err := durability.OpenDir(s.Dir, nil)
	if err != nil {
		return err
	}
	f, err := d.Create(pageInFile, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(bytes.Repeat([]byte("s"), int(sigbusFile())), 0); err != nil {
		return err
	}
	// Nor is anything dirty by then that another process's sync(2) would write.
	if err = errors.Join(f.Sync(), unix.Syncfs(f.Fd())); err != nil {
		return err
	}
	if pc, perr := f.PageCache(0, 0); perr == nil && pc.Known == durability.Known {
		err = chill(context.Background(), f)
	} else {
		err = f.DropCache(0, 0)
	}
	return errors.Join(err, f.Close(), d.Close())
}

// attachLoop attaches a file to a free loop device, which lets go of it when the
// last user does. another process may be quicker: then another one is asked for.
func attachLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, cannot("a loop device needs root: %v", err)
	}
	defer func() { _ = control.Close() }() // it was only asked
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, cannot("there is no free loop device: %v", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, cannot("loop device %d cannot be opened: %v", n, err)
		}
		c := unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &c)
		if err == nil {
			return loop, nil
		}
		if err = errors.Join(err, loop.Close()); !errors.Is(err, unix.EBUSY) {
			return nil, cannot("a loop device cannot be set up: %v", err)
		}
	}
	return nil, cannot("other users take every free loop device first")
}
