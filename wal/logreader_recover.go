package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// recoverState recovers the log as Open would, but from the page cache, and only as far
// back as it takes to know where the log ends. It returns errInconsistent where what it
// read may be of different moments. The caller holds mu, and releases the
// state's tail.
//
// # Why that is enough
//
// While this process reads one file after the other, a writer may cut, remove, rename
// and recycle any of them. So a recovery, a clean one too, counts only if no such
// change was announced between the opening of the files and the end of the recovery
// (disturbed). Each change is seen there, because of what the writer does before it
// changes a byte or a name that was recovered:
//
//   - TruncateFront raises front in the tail's block before it removes a file, or
//     renames it and only then wipes it. Where the tail was opened behind that, the
//     name of the file is gone, and it never comes back: ordinals before the
//     front are not used again.
//   - TruncateBack raises the epoch in the blocks of the old tail and the new one
//     before it removes a file or zeroes a byte. A file that was removed and made
//     again under its name is another inode: the one that is held open is not
//     given to another file.
//   - Reset raises the epoch in the block of the old tail, and sets next there.
//   - A rotation sets next in the block of the old tail. Where that was opened
//     behind it, the next segment's stamp was there when the files were opened, or
//     its name was not listed, and is now.
//   - An Open of another writer that cuts a torn tail or saves what is damaged
//     holds the lock, and ends with a block that says what it did. A reader that found
//     no writer asks the lock again after the recovery.
//   - A segment that was prepared, or got its final name, shows in the names.
//
// A change after the recovery changes the block of the tail, with which a recovered
// state is compared each time that it is used.
//
// Appends and syncs are no disturbance: all that was published before the files
// were opened must have been found. ignoreLiveAppends drops the complaints that are
// explained by a later append.
//
// A log that is damaged, and that its writer cuts without a pause, would never
// settle. Each recovery makes a listing of its own, and what one finds missing or
// cut because of a change lies before that change: the next one cannot find the very
// same damage in the same epoch. So two recoveries in a row with the same damage
// count, disturbed or not.
//
// The files are closed at the end in any case: the state has a mapping of its own of the tail,
// and other segments are opened when a Reader comes to them.
func (o *LogReader) recoverState(live bool) (_ *logState, err error) {
	known, err := o.known()
	if err != nil {
		return nil, err
	}
	entries, err := logdir.List(o.dir)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 && known.UUID == (frame.UUID{}) {
		return nil, holdsNone(o.path, o.lock != nil)
	}
	var files []recovery.File
	var open []*recoveredFile
	var set logdir.OpenFiles
	defer func() {
		for _, f := range open {
			_ = f.Close() // read-only
		}
	}()
	for _, e := range entries {
		f := &recoveredFile{MappedFile: logdir.MappedFile{Entry: e}}
		if err = f.open(o.dir, &set); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errInconsistent // renamed or removed since it was listed
			}
			return nil, err
		}
		open = append(open, f)
		files = append(files, recovery.File{Name: e.Name, Ordinal: e.Ordinal, Temp: e.Temp, Size: f.Size, Bytes: f})
	}
	var res *recovery.Result
	err = durability.Guard(func() (err error) {
		res, err = logdir.Recover(known, files, recovery.Options{})
		return err
	})
	var p *logState
	if err == nil {
		p, err = o.settle(res, entries, open, live)
	} else if disturbed, derr := o.disturbed(entries, open); derr != nil || disturbed {
		return nil, unsettled(derr)
	}
	if err != nil {
		return nil, refusal(o.path, err)
	}
	return p, nil
}

// settle makes a state of a recovery that no change disturbed, or that found the same
// damage as the one before. Otherwise it returns errInconsistent. The complaint is kept
// also where the recovery does not count: the next one is compared with it.
func (o *LogReader) settle(res *recovery.Result, entries []logdir.Entry, files []*recoveredFile, live bool) (*logState, error) {
	if live {
		ignoreLiveAppends(res, files)
	}
	p, err := o.stateOf(res, files, live)
	if err != nil {
		return nil, err
	}
	if p.between {
		if p.ahead, err = o.stamped(p.control.Next); err != nil {
			release(p.tail)
			return nil, err
		}
	}
	// This comes after all reads, those of heads in stateOf included.
	complaint := complaintOf(res)
	same := complaint != "" && complaint == o.complaint
	o.complaint = complaint
	if same {
		return p, nil
	}
	if disturbed, err := o.disturbed(entries, files); err != nil || disturbed {
		release(p.tail)
		return nil, unsettled(err)
	}
	return p, nil
}

// unsettled returns err, which says why it is not known whether the recovery was
// disturbed, or errInconsistent where it is known.
func unsettled(err error) error {
	if err != nil {
		return err
	}
	return errInconsistent
}

// complaintOf returns the damage as text, to compare it with that of another recovery,
// or "" for a log that is not damaged. The epoch is part of it: damage that looks the
// same in two epochs, with a cut in between, is not the same.
func complaintOf(res *recovery.Result) string {
	if res.Verdict != recovery.Damaged {
		return ""
	}
	words := fmt.Sprintln(res.Epoch)
	for _, d := range res.Damage {
		words += fmt.Sprintln(d.File, d.Offset, d.First, d.Reason)
	}
	return words
}

// ignoreLiveAppends drops the complaints that are explained by appends made after the
// files were opened. Such an append may be half done, which looks torn. And its frame
// may name as durable records before it that were not there yet when the recovery
// passed their place, which looks like lost records.
//
// That the tail's block has changed since the file was opened shows that there were appends;
// without a change nothing is explained by them, and the complaint stays.
func ignoreLiveAppends(res *recovery.Result, files []*recoveredFile) {
	if res.Tail.File < 0 {
		return
	}
	f := files[res.Tail.File]
	if now, err := f.controlNow(); err == nil && now != f.before {
		ignoreLiveTail(res, f.before.Appended)
	}
}

// disturbed reports whether a file was removed, renamed, replaced or added since
// it was listed, has another head, or a block that tells of a cut or a rotation.
// Where that cannot be found out, for want of a descriptor, say, it returns an error:
// a disturbance would be retried without end. Each file is opened again by its name, so
// that one which was replaced is noticed: the descriptor at hand still leads to the old
// one. Appended and durable are not compared.
func (o *LogReader) disturbed(entries []logdir.Entry, files []*recoveredFile) (bool, error) {
	now, err := logdir.List(o.dir)
	if err != nil || !slices.Equal(now, entries) {
		return true, err
	}
	for _, f := range files {
		again := recoveredFile{MappedFile: logdir.MappedFile{Entry: f.Entry}}
		err := again.open(o.dir, new(logdir.OpenFiles))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		_ = again.Close()
		same := f.Held.Was.Dev == again.Held.Was.Dev && f.Held.Was.Ino == again.Held.Was.Ino
		if !same || again.blocks != f.blocks || again.before.Epoch != f.before.Epoch ||
			again.before.Next != f.before.Next || again.before.Front != f.before.Front {
			return true, nil
		}
	}
	return false, nil
}

// sameFile reports whether both are the same file: the same inode, whatever their names
// are by now. Both are open, so that the inode's number cannot have been given to another
// file.
func sameFile(a, b *durability.File) (bool, error) {
	is, err := a.Stat()
	if err != nil {
		return false, err
	}
	has, err := b.Stat()
	return is.Dev == has.Dev && is.Ino == has.Ino, err
}

// known returns what the lock file says. A log that was never opened for writing in this
// directory, a copy of its segments only, has no lock file.
func (o *LogReader) known() (logdir.Identity, error) {
	if o.lock == nil {
		return logdir.Identity{}, nil
	}
	return logdir.ReadIdentity(o.lock.ReadAt)
}

// stateOf makes a state of what was recovered. It has the log's segments up to the tail;
// those behind it, which Open would remove, no reader sees. lost says that the log ends
// sooner than it should: a Reader that comes to the end gets the damage, and not the end.
func (o *LogReader) stateOf(res *recovery.Result, files []*recoveredFile, live bool) (*logState, error) {
	p := &logState{
		live: live, recovered: true, first: res.Front, last: res.Tail.LSN,
		durable: min(res.Watermark, res.Tail.LSN), verdict: Verdict(res.Verdict),
	}
	if res.Verdict == recovery.Damaged {
		p.damage = newReport(o.path, res).Damage
		p.lost = res.Watermark > res.Tail.LSN || res.Tail.File < 0 ||
			slices.ContainsFunc(res.Damage, func(d recovery.Damage) bool { return d.Unknown })
	}
	for i, f := range files {
		switch res.Segments[i].State {
		case recovery.StateUnread, recovery.StateFull, recovery.StateActive:
		default:
			continue
		}
		file, err := f.Held.Use()
		if err != nil {
			return nil, movedOn(err)
		}
		h, err := readHead(file, f.Entry)
		if err != nil {
			// One without a stamp holds no record yet; one that is damaged is
			// found missing when a record of it is asked for.
			continue
		}
		p.segments = append(p.segments, h)
		if i != res.Tail.File {
			continue
		}
		if err = o.discardOther(&h, file); err != nil {
			return nil, err
		}
		if p.tail, err = o.acquire(&h); err != nil {
			return nil, err
		}
		p.control = f.before
		p.between = live && f.before.Next != 0
		break
	}
	return p, nil
}

// discardOther discards the mapping of a segment where another file is under its name
// by now, a copy perhaps that another process put there. The control block in the old
// mapping would never agree with what was recovered from the new file.
func (o *LogReader) discardOther(h *segmentHead, f *durability.File) error {
	s := o.cache.byOrdinal[h.Header.Ordinal]
	if s == nil {
		return nil
	}
	same, err := sameFile(s.file, f)
	if err == nil && !same {
		o.discard(s)
	}
	return err
}

// recoveredFile is a segment's file as it is read to recover the log, with its control
// block, header and stamp as they were when it was opened.
//
// What is recovered from it is what the page cache holds: unlike Open, a reader may not sync,
// without which the device need not have what was appended.
type recoveredFile struct {
	logdir.MappedFile
	before frame.Control
	blocks [frame.StampOffset + frame.StampBytes]byte // its header and stamp
}

// open opens the file for reading, and reads its head and its control block.
func (f *recoveredFile) open(dir *durability.Dir, set *logdir.OpenFiles) error {
	f.Dir, f.OnTouch = dir, func() {}
	if err := f.OpenListed(set); err != nil {
		_ = f.Close() // read-only
		return err
	}
	f.before, _ = f.controlNow()
	if _, err := f.Held.File.ReadAt(f.blocks[:], 0); err != nil && !isEOF(err) {
		_ = f.Close()
		return err
	}
	return nil
}

// movedOn turns the error of a file that was closed, and could not be opened again
// since it was removed or replaced, into errInconsistent: a writer is changing the log.
func movedOn(err error) error {
	if errors.Is(err, logdir.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errInconsistent, err)
	}
	return err
}

// controlNow reads the file's control block, whatever its stamp says.
func (f *recoveredFile) controlNow() (frame.Control, error) {
	file, err := f.Held.Use()
	if err != nil {
		return frame.Control{}, err
	}
	return segment.ReadControl(file)
}

// recoverNow makes a recovered state the present one, also where the log has a writer. It
// is the last resort of patience, which otherwise believes a living writer's block.
func (o *LogReader) recoverNow() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	live, err := o.ask()
	if err != nil {
		return err
	}
	p, err := o.recoverState(live)
	if err == nil {
		o.install(p)
	}
	return err
}
