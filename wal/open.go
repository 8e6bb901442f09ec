package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

// Open opens the log in a directory for writing, and creates both if need be.
//
// What Open returns was read from the device and is durable. A torn tail is
// trimmed first, and intact records behind it are saved; Recovery tells. Open
// returns *CorruptError, with nothing changed, where acknowledged records are
// lost or altered; ErrLocked where the log has a writer; ErrForeign,
// ErrVersion, ErrNoSpace, ErrOptions; and any error of a sync. Where the
// directory may not be written to, or the filesystem is read-only, it refuses
// before anything is changed; OpenReader, Verify and Dump need neither.
//
// A crash during Open, at any point, any number of times, is harmless.
func Open(dir string, o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if !o.MustExist {
		if err = durability.MkdirAll(dir, o.DirMode, o.Tracer); err != nil {
			return nil, fmt.Errorf("wal: open: %w", err)
		}
	}
	l, err := openDir(dir, o, repairMode{})
	if err != nil {
		return nil, err
	}
	l.start()
	return l, nil
}

// repairMode says what a repair does differently from Open, whose mode is zero. A repair
// goes the same way as Open, and differs only where these fields say so.
type repairMode struct {
	force bool // cut at damage
	save  bool // save all that is removed, not only intact records
	// saveTo is the directory to save it in, where it is not the log's; noSave saves
	// nothing.
	saveTo string
	noSave bool
	idle   bool // leave a clean log alone
	from   LSN  // analyze from here on at the latest; 0 for what Open needs
}

// errClean says that an idle recovery found nothing to do.
var errClean = errors.New("wal: nothing to repair")

// openDir locks the log in an existing directory, analyzes it, and makes it one that
// can be appended to.
//
// Its order keeps a refused Open from changing anything: first the lock, then whether files
// may be removed, then the analysis, and only then the first store (run). It starts no
// goroutine, since Repair closes the log again at once. On an error it releases what it has
// opened; a lock file that it has created stays, for the next Open.
func openDir(path string, o Options, mode repairMode) (_ *Log, err error) {
	d, err := durability.OpenDir(path, o.Tracer)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrMissing, err)
		}
		return nil, err
	}
	l := &Log{
		opts: o, wrong: seam.WrongOf(o.Tracer), dirPath: path, dir: d, owner: owner{dir: d},
		kick: make(chan struct{}, 1), naming: make(chan *writableSegment, 2*MaxSegmentsAhead),
	}
	l.spaceAvailable = sync.NewCond(&l.mu)
	l.stopped, l.stop = context.WithCancel(context.Background())
	op := &opening{l: l, mode: mode}
	defer func() {
		err = errors.Join(err, op.close())
		if err != nil {
			l.stop()
			err = errors.Join(err, l.release())
		}
	}()
	if o.MustExist {
		if err = holdsLog(d); err != nil {
			return l, err
		}
	}
	if l.owner.lock, err = openLock(d, o.FileMode); err != nil {
		return l, err
	}
	if err = l.owner.begin(); err != nil {
		return l, err
	}
	// A recovery that may not remove a file would end halfway, and a log without a
	// next segment soon: it is refused while every file is as it was.
	if err = d.Writable(); err != nil {
		return l, err
	}
	l.warnFilesystem()
	if err := op.run(); err != nil {
		return l, err
	}
	// The checks behind each sync compare the lock file with what is noted here, its size
	// included.
	return l, l.owner.begin() // it may have been written
}

// holdsLog returns ErrMissing for a directory without a file of a log. It is asked before
// the lock file is opened, which would create one.
func holdsLog(d *durability.Dir) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := logdir.ParseName(name); ok || name == logdir.LockName {
			return nil
		}
	}
	return fmt.Errorf("%w: %s holds no segment", ErrMissing, d.Path())
}

// warnFilesystem warns where power loss cannot be survived.
func (l *Log) warnFilesystem() {
	fsys, err := l.dir.Filesystem()
	if err == nil && !fsys.Durable {
		l.opts.Logger.Warn("records on this filesystem do not survive power loss",
			"dir", l.dirPath, "filesystem", fsys.Name, "why", fsys.Why)
	}
}

// start begins the background work. A repair does not: it only closes the log again. It
// comes when the log is complete: the preparer and the warmer go by its tail and by the
// prepared segments that Open has taken over.
func (l *Log) start() {
	l.work.Add(3)
	go l.runPreparer(l.stopped)
	go l.runNamer()
	go l.runWarmer(l.stopped)
	if l.opts.Sync.every > 0 {
		l.work.Add(1)
		go l.runInterval(l.stopped)
	}
}

// opening is an Open or a Repair in progress. One goroutine uses it.
//
// It has two phases. analyze only reads, and may refuse the log: then not a byte was
// changed. resume changes the files, in an order in which a crash is harmless. All
// files are opened, for writing, before the first is read, and their descriptors are
// held, as far as there may be so many: a file that was opened again has to be the one
// that it was (logdir.OpenFile).
type opening struct {
	l     *Log
	mode  repairMode
	known logdir.Identity // what the lock file said
	files []*diskFile
	open  logdir.OpenFiles
	kept  int64 // bytes that the files keep in memory while they are not loaded
	res   *recovery.Result
	rep   *Report

	places placesNoted
}

// run takes the log from whatever the last writer left to one that can be
// appended to. Nothing is changed before the verdict is known: a damaged log, without
// force, and a clean one that a repair was asked for, stay as they are. A directory
// without a log is told from one that has lost its log by the lock file (logdir.NoLog):
// only the former becomes a new log.
func (op *opening) run() error {
	if err := op.analyze(); err != nil {
		return err
	}
	if logdir.NoLog(op.known, op.res) {
		if op.mode.idle || op.l.opts.MustExist {
			return fmt.Errorf("%w: %s holds no segment", ErrMissing, op.l.dirPath)
		}
		return op.create(frame.UUID{}, 1, 0)
	}
	op.rep = newReport(op.l.dirPath, op.res)
	op.l.recovery = *op.rep
	if op.res.Verdict == recovery.Damaged && !op.mode.force {
		return newCorruptError(op.l.dirPath, op.rep.Damage)
	}
	if op.mode.idle && op.res.Verdict == recovery.Clean {
		return errClean
	}
	if err := op.resume(); err != nil {
		return err
	}
	op.l.recovery = *op.rep
	return nil
}

// analyze lists the directory and recovers the log's state from the files, without
// changing any.
//
// The lock file is read first, since it says what must be there: which log, and how far it
// had come at its last checkpoint. Each file is asked for a writer's lock before recovery
// reads it (checkUnowned). The places that recovery passes are kept for Get (placesNoted).
func (op *opening) analyze() error {
	l := op.l
	var err error
	if op.known, err = logdir.DeviceIdentity(l.owner.lock); err != nil {
		return err
	}
	entries, err := logdir.List(l.dir)
	if err != nil {
		return err
	}
	files := make([]recovery.File, 0, len(entries))
	for _, e := range entries {
		d := &diskFile{Entry: e, dir: l.dir, tolerant: op.mode.force, buf: diskBuffer{kept: &op.kept}}
		op.files = append(op.files, d)
		if err = d.open(&op.open); err != nil {
			return err
		}
		files = append(files, recovery.File{Name: e.Name, Ordinal: e.Ordinal, Temp: e.Temp, Size: d.size, Bytes: d})
	}
	if err = op.checkUnowned(); err != nil {
		return err
	}
	// Recovery decides by the heads which files it loads. A file is synced when it is
	// loaded, and that may bring another head to the device than the one that was
	// read: then recovery runs again. A head changes at most once, so this ends.
	for again := true; again; {
		op.places = placesNoted{}
		op.res, err = logdir.Recover(op.known, files, recovery.Options{
			From: op.mode.from, Wrong: l.wrong,
			Passed: func(p recovery.Place) { op.places.note(p, op.files[p.File].span) },
		})
		if err != nil {
			return refusal(l.dirPath, err)
		}
		again = false
		for _, d := range op.files {
			other, err := d.refresh()
			if err != nil {
				return err
			}
			again = again || other
		}
	}
	return nil
}

// refusal turns recovery's refusals into the package's.
func refusal(dir string, err error) error {
	var n *recovery.NameError
	if !errors.As(err, &n) {
		return err
	}
	sentinel := ErrForeign
	if errors.Is(err, recovery.ErrVersion) {
		sentinel = ErrVersion
	}
	return fmt.Errorf("%w: %s/%s: %s", sentinel, dir, n.Name, n.Detail)
}

// create makes a new, empty log: its first segment, and then the identity of the
// log in the lock file. Leftovers of an earlier attempt are removed first.
//
// The segment is durable under its final name before the lock file names the log: a lock
// file that names a log without a segment means that its segments were lost. A crash in
// between leaves a segment without a stamp, which is an empty log to the next Open.
//
// recreate calls it too, with the identity of the log that it empties, the LSN to go on at, and
// the flag of a reset. Only the stamp tells that LSN: it is stored before the segment is synced
// and gets its name, or a crash would leave an empty log that gives out old LSNs again. A new
// log leaves the stamp to its first sync. The segment is made and named here and not by the preparer and the
// namer, which do not run yet.
func (op *opening) create(id frame.UUID, first LSN, flags uint32) error {
	l := op.l
	if id == (frame.UUID{}) {
		l.random(id[:])
	}
	if err := op.removeAll(); err != nil {
		return err
	}
	l.uuid, l.epoch = id, max(l.epoch, 1)
	l.front.Store(uint64(first))
	l.at.LSN = first - 1
	l.setDurable(first - 1)
	s, err := l.makeSegment(l.stopped, 1, l.fillBytes())
	if err != nil {
		return err
	}
	recreated := flags&frame.StampReset != 0
	if recreated {
		if err = l.stamp(s, 0, flags); err != nil {
			return errors.Join(err, s.close())
		}
	}
	l.nameSegment(s)
	if s.nameErr != nil {
		return errors.Join(s.nameErr, s.close())
	}
	if !recreated { // else it names the log already
		err = l.owner.writeLock(op.known, id)
		if err == nil {
			err = l.stamp(s, 0, flags)
		}
		if err != nil {
			return errors.Join(err, s.close())
		}
	}
	l.recovery = Report{
		Dir: l.dirPath, UUID: UUID(id), FirstLSN: first, LastLSN: first - 1, DurableLSN: first - 1,
		Damage: []Damage{}, Segments: []SegmentInfo{},
	}
	l.begin(s)
	return nil
}

// begin enters the first segment of a log, which has its stamp. Nothing is synced. Open
// leaves the stamp to the first sync, which covers it (enter): a segment without a stamp is
// an empty log too. A repair ends with a checkpoint.
func (l *Log) begin(s *writableSegment) {
	l.store.dir, l.store.uuid = l.dir, l.uuid
	l.prepare.next = s.ordinal + 1
	s.taken = true
	l.enter(s)
	l.appended.Store(uint64(l.at.LSN))
}

// removeAll removes every segment's file, the newest first, durably. In that order a
// crash in between leaves no gap in the names.
func (op *opening) removeAll() error {
	for i := len(op.files) - 1; i >= 0; i-- {
		d := op.files[i]
		if err := errors.Join(d.close(), op.l.dir.Remove(d.Name)); err != nil {
			return err
		}
	}
	if len(op.files) == 0 {
		return nil
	}
	op.files = nil
	return op.l.dir.Sync()
}

// close closes the files that were not handed on to segments. The others belong to the
// writableSegments that mapFile made of them.
func (op *opening) close() error {
	var errs []error
	for _, d := range op.files {
		errs = append(errs, d.close())
	}
	op.files = nil
	return errors.Join(errs...)
}
