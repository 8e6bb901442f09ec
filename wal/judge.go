package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// judge judges the log as Open would, from what the page cache holds and as far
// back as it takes to know where it ends. Where that is not clean, it returns
// errUnsettled if anything was changed meanwhile: a process that is stopped in
// the middle finds files that were cut, removed and used again since, however
// long it looks. The caller holds mu.
func (o *LogReader) judge(live bool) (*picture, error) {
	known, err := o.knownUUID()
	if err != nil {
		return nil, err
	}
	entries, err := listSegments(o.dir)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 && o.lock == nil {
		return nil, fmt.Errorf("%w: %s holds no segment", ErrMissing, o.path)
	}
	var files []recovery.File
	var open []*judgedFile
	defer func() {
		for _, f := range open {
			f.close()
		}
	}()
	for _, e := range entries {
		f := &judgedFile{entry: e}
		if err = f.open(o.dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errUnsettled // renamed or removed since it was listed
			}
			return nil, err
		}
		open = append(open, f)
		files = append(files, recovery.File{Name: e.name, Ordinal: e.ordinal, Temp: e.temp, Size: f.size, Bytes: f})
	}
	var res *recovery.Result
	err = durability.Guard(func() (err error) {
		res, err = judgeFiles(known, files, recovery.Options{})
		return err
	})
	if (err != nil || res.Verdict != recovery.Clean) && o.disturbed(entries, open) {
		return nil, errUnsettled
	}
	if err != nil {
		return nil, refusal(o.path, err)
	}
	return o.depict(res, open, live)
}

// disturbed reports whether a file was removed, renamed, replaced or added since
// it was listed, has another head, or a block that tells of a cut or a rotation.
// The writer tells of each before it changes what was there.
func (o *LogReader) disturbed(entries []entry, files []*judgedFile) bool {
	now, err := listSegments(o.dir)
	if err != nil || !slices.Equal(now, entries) {
		return true
	}
	for _, f := range files {
		var again judgedFile
		again.entry = f.entry
		if again.open(o.dir) != nil {
			return true
		}
		same, err := sameFile(f.file, again.file)
		again.close()
		if err != nil || !same || again.head != f.head || again.notice.epoch != f.notice.epoch ||
			again.notice.next != f.notice.next || again.notice.front != f.notice.front {
			return true
		}
	}
	return false
}

// sameFile reports whether both are the same file.
func sameFile(a, b *durability.File) (bool, error) {
	is, err := a.Stat()
	if err != nil {
		return false, err
	}
	has, err := b.Stat()
	return is.Dev == has.Dev && is.Ino == has.Ino, err
}

// knownUUID returns the UUID that the lock file names, or zero.
func (o *LogReader) knownUUID() (frame.UUID, error) {
	if o.lock == nil {
		return frame.UUID{}, nil
	}
	return readLockUUID(o.lock.ReadAt)
}

// depict makes a picture of a judgement.
func (o *LogReader) depict(res *recovery.Result, files []*judgedFile, live bool) (*picture, error) {
	p := &picture{
		live: live, judged: true, first: res.Front, last: res.Tail.LSN,
		durable: min(res.Watermark, res.Tail.LSN), verdict: Verdict(res.Verdict),
	}
	if res.Verdict == recovery.Damaged {
		p.damage = newReport(o.path, res).Damage
		p.lost = res.Watermark > res.Tail.LSN || res.Tail.File < 0
	}
	for i, f := range files {
		switch res.Segments[i].State {
		case recovery.StateUnread, recovery.StateFull, recovery.StateActive:
		default:
			continue
		}
		h, err := readHead(f.file, f.entry)
		if err != nil {
			// One without a stamp holds no record yet; one that is damaged is
			// found missing when a record of it is asked for.
			continue
		}
		p.segments = append(p.segments, h)
		if i != res.Tail.File {
			continue
		}
		if err = o.discardOther(&h, f.file); err != nil {
			return nil, err
		}
		if p.tail, err = o.acquire(&h); err != nil {
			return nil, err
		}
		p.notice = f.notice
		break
	}
	return p, nil
}

// discardOther discards the mapping of a segment that is of another file than the
// one under its name, a copy perhaps that somebody put there: the readers' block
// of that one goes on differing from what was judged.
func (o *LogReader) discardOther(h *segmentHead, f *durability.File) error {
	s := o.kept[h.header.Ordinal]
	if s == nil {
		return nil
	}
	same, err := sameFile(s.file, f)
	if err == nil && !same {
		o.discard(s)
	}
	return err
}

// judgedFile is a segment's file as the judgement reads it.
type judgedFile struct {
	entry
	file   *durability.File
	size   int64
	mem    *durability.Mapping
	notice notice // before anything was judged
	head   [frame.StampOffset + frame.StampBytes]byte
}

var _ recovery.Bytes = (*judgedFile)(nil)

// open opens the file for reading, and reads its head and its readers' block.
func (f *judgedFile) open(dir *durability.Dir) (err error) {
	if f.file, err = dir.Open(f.name, false); err != nil {
		return err
	}
	b := make([]byte, frame.BoardBytes)
	// Behind the end of a file that was truncated the mapping has zeros, too.
	if _, rerr := f.file.ReadAt(b, frame.BoardOffset); rerr == nil || isEOF(rerr) {
		word := func(off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
		f.notice = notice{
			epoch: word(frame.BoardEpoch), next: word(frame.BoardNext), front: LSN(word(frame.BoardFront)),
			appended: LSN(word(frame.BoardAppended)), durable: LSN(word(frame.BoardDurable)),
		}
	}
	if _, err = f.file.ReadAt(f.head[:], 0); err == nil || isEOF(err) {
		f.size, err = f.file.Size()
	}
	if err != nil {
		f.close()
	}
	return err
}

// Head implements recovery.Bytes.
func (f *judgedFile) Head() ([]byte, error) {
	head := make([]byte, frame.DataOffset)
	n, err := f.file.ReadAt(head, 0)
	if err != nil && !isEOF(err) {
		return nil, err
	}
	return head[:n], nil
}

// Load implements recovery.Bytes.
func (f *judgedFile) Load() (_ []byte, err error) {
	if f.size == 0 {
		return nil, nil
	}
	if f.mem, err = f.file.Map(f.size, false); err != nil {
		return nil, err
	}
	return f.mem.Bytes(), nil
}

// Touch implements recovery.Bytes.
func (f *judgedFile) Touch(from, to int64) error {
	if f.mem == nil {
		return nil
	}
	return f.mem.PopulateRead(from, to-from)
}

// Unload implements recovery.Bytes.
func (f *judgedFile) Unload() {
	if f.mem != nil {
		_ = f.mem.Unmap() // read-only
		f.mem = nil
	}
}

// close closes the file.
func (f *judgedFile) close() {
	f.Unload()
	_ = f.file.Close() // read-only
}
