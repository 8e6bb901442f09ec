package durability

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/internal/fault"
)

// File is one open file description of a regular file, opened or created by a
// Dir. All methods may be called at once from several goroutines. At most one
// sync runs at a time on it and its mappings, and the first that fails is final:
// see ErrFailed.
//
// A failure is kept for each File by itself, as the kernel does: another File
// of the same inode hears of a failed writeback on its own.
type File struct {
	handle
	dir      *Dir
	id       *identity
	key      inodeKey
	writable bool
	name     atomic.Pointer[string]

	// renaming is held by Dir.Rename until the name is known, so that Check does
	// not look for a file where it no longer is.
	renaming sync.RWMutex

	syncs  syncer
	direct direct
	noCOW  atomic.Pointer[error]
	locked atomic.Bool // by Lock, and not unlocked yet
}

// Stat is what is asked about a file between syncs. Its times are not: asking
// for them makes the next store journal the inode, which doubled the bytes of a
// small commit (measured on ext4, Linux 6.18).
type Stat struct {
	Dev    uint64
	Ino    uint64
	Size   int64  // bytes
	Blocks int64  // allocated, in units of 512 bytes
	Links  uint32 // names; 0 when the file was removed
}

// statMask leaves out mtime and ctime (Stat says why).
const statMask = unix.STATX_SIZE | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_BLOCKS

// newFile takes over a descriptor that was just opened.
func newFile(d *Dir, name string, fd int, writable bool, st *unix.Statx_t) *File {
	f := &File{handle: handle{fd: fd}, dir: d, key: keyOf(st), id: identify(keyOf(st)), writable: writable}
	f.name.Store(&name)
	f.direct.fd = -1
	return f
}

// Name returns the file's current base name: the one under which it was opened
// or that Dir.Rename gave it.
func (f *File) Name() string { return *f.name.Load() }

// Path returns the directory's path, as it was given, joined with Name.
func (f *File) Path() string { return filepath.Join(f.dir.path, f.Name()) }

// Fd returns the descriptor, for system calls that this package does not have.
// It is valid until Close; what is done through it is not seen by the Tracer.
func (f *File) Fd() int { return f.fd }

// Size returns the file's size in bytes.
func (f *File) Size() (int64, error) {
	st, err := f.statx(unix.STATX_SIZE)
	return int64(st.Size), err
}

// Stat returns the file's size, blocks and links, by statx(2) with a mask that
// leaves the times out.
func (f *File) Stat() (Stat, error) {
	st, err := f.statx(statMask)
	return statOf(&st), err
}

// statOf is statx's answer in this package's words.
func statOf(st *unix.Statx_t) Stat {
	return Stat{Dev: deviceOf(st), Ino: st.Ino, Size: int64(st.Size), Blocks: int64(st.Blocks), Links: st.Nlink}
}

// statx asks about the open file, by whatever name it has now.
func (f *File) statx(mask int) (st unix.Statx_t, err error) {
	_, err = ask(f.call(fault.Statx), func() error {
		return f.with(func(fd int) error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, mask, &st) })
	})
	return st, pathError("statx", f.Path(), err)
}

// ReadAt implements io.ReaderAt through the page cache. Where p lies in a
// Mapping and cannot be stored to, the error is a *FaultError.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	call := f.call(fault.Read)
	call.Offset, call.Length = off, int64(len(p))
	_, err = ask(call, func() error {
		rerr := f.with(func(fd int) (err error) {
			n, err = readFull(fd, p, off)
			return err
		})
		call.Data = p[:n]
		return rerr
	})
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, rangeError("read", f.Path(), off, int64(len(p)), err)
}

// readFull reads len(p) bytes, or up to the end of the file, which is io.EOF.
func readFull(fd int, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, bufferError(err, p[n:], "read")
		case m == 0:
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

// WriteAt implements io.WriterAt. The bytes are in the file for every process
// when it returns, and durable after the next sync. A Tracer sees one OpWrite.
// Where p lies in a Mapping and cannot be loaded, the error is a *FaultError.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	e := f.event(OpWrite)
	e.Data = p
	return f.write(&e, p, off)
}

// write writes p and reports it as e says, with what was really written in the
// After event.
func (f *File) write(e *Event, p []byte, off int64) (n int, err error) {
	e.Offset, e.Length = off, int64(len(p))
	tracer := f.dir.tracer
	if tracer != nil {
		tracer = &afterWrite{Tracer: tracer, n: &n}
	}
	err = perform(tracer, e, func() error {
		n = 0
		return f.with(func(fd int) (err error) {
			n, err = writeFull(fd, p, off)
			return err
		})
	})
	if err == nil {
		return len(p), nil
	}
	return n, rangeError("write", f.Path(), off, int64(len(p)), err)
}

// afterWrite puts the number of bytes written into the After event, and takes
// the data out.
type afterWrite struct {
	Tracer
	n *int
}

// Trace implements Tracer.
func (a *afterWrite) Trace(e Event) {
	if e.Phase == After {
		e.Data, e.Length = nil, int64(*a.n)
	}
	a.Tracer.Trace(e)
}

// writeFull writes all of p, or says how much of it before an error.
func writeFull(fd int, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwrite(fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, bufferError(err, p[n:], "write")
		case m == 0:
			return n, io.ErrShortWrite
		}
		n += m
	}
	return n, nil
}

// bufferError makes EFAULT for a mapped buffer what a load or store of it would
// have been.
func bufferError(err error, p []byte, op string) error {
	if errors.Is(err, unix.EFAULT) {
		if fault := bufferFault(p, op); fault != nil {
			return fault
		}
	}
	return err
}

// Truncate sets the file's size in bytes. What a longer size brings is a hole,
// which a store through a mapping cannot rely on: see Allocate.
func (f *File) Truncate(size int64) error {
	e := f.event(OpTruncate)
	e.Length = size
	err := perform(f.dir.tracer, &e, func() error {
		return f.with(func(fd int) error { return unix.Ftruncate(fd, size) })
	})
	if err != nil {
		err = fmt.Errorf("to %d bytes: %w", size, classify(err))
	}
	return pathError("truncate", f.Path(), err)
}

// Datasync makes the file's content and size durable: fdatasync(2). The first
// failure, a *SyncError, is final: see ErrFailed. It says nothing about the
// file's name (Dir.Sync).
func (f *File) Datasync() error { return f.sync(OpDatasync, unix.Fdatasync) }

// Sync makes the file's content and metadata durable: fsync(2). The first
// failure, a *SyncError, is final: see ErrFailed. It says nothing about the
// file's name (Dir.Sync).
func (f *File) Sync() error { return f.sync(OpSync, unix.Fsync) }

// WriteOut writes what is dirty of n bytes at off, and waits until the device has it. It makes
// nothing durable: the device may keep it in its own cache, and what the file needs to be found is
// not written (sync_file_range(2), "Warning"). A Sync behind it has less to write, and holds up
// others who sync on the same device for a shorter time.
//
// The first failure, a *SyncError, is final, as that of a sync is: the kernel tells it once. Where
// the kernel has no such call, WriteOut does nothing.
func (f *File) WriteOut(off, n int64) error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return f.syncs.run("sync_file_range", f.Path(), func() error {
		call := f.call(fault.WriteOut)
		call.Offset, call.Length = off, n
		_, err := ask(call, func() error {
			return f.with(func(fd int) error { return unix.SyncFileRange(fd, off, n, flags) })
		})
		if errors.Is(err, unix.ENOSYS) {
			return nil
		}
		return err
	})
}

func (f *File) sync(op Op, call func(fd int) error) error {
	return f.syncs.run(op.String(), f.Path(), func() error {
		e := f.event(op)
		return perform(f.dir.tracer, &e, func() error { return f.with(call) })
	})
}

// Close closes the file. It syncs nothing, and leaves mappings as they are. Its
// lock is released. Every later call returns ErrClosed.
func (f *File) Close() error {
	unlocked := f.unlock()
	err := f.close()
	if err == nil {
		f.id.release()
	}
	return pathError("close", f.Path(), errors.Join(unlocked, err, f.direct.close()))
}

// event returns an event about the file under its present name.
func (f *File) event(op Op) Event {
	return Event{Op: op, File: f.id.id, Dir: f.dir.path, Name: f.Name()}
}

// call returns a call about the file, for operations that are not traced.
func (f *File) call(op fault.Op) *fault.Call {
	return &fault.Call{Op: op, Dir: f.dir.path, Name: f.Name()}
}
