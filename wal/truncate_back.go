package wal

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// TruncateBack makes the record with that LSN the log's last one: those behind
// it are gone, durably, when it returns nil, and the next append gets the LSN
// behind it. FirstLSN-1 removes all records. The records that stay are durable;
// DurableLSN falls to the new last one.
//
// A batch may be cut anywhere. What a Reader has read and is cut away makes it
// end with ErrTruncated; others go on.
//
// TruncateBack begins with a wait until no Reader holds a record behind the cut by
// ZeroCopy, since its bytes are zeroed. The wait blocks no other call: records
// may be read, made durable, and appended, which the cut then removes too, also by
// the goroutine that holds the record. Only a goroutine that calls TruncateBack while
// it holds such a record itself waits for ever, or until the log is closed.
//
// It returns ErrNotFound for an LSN above LastLSN, ErrTruncated for one below
// FirstLSN-1, ErrExhausted, ErrPoisoned, ErrClosed, *CorruptError where the records around
// the cut cannot be read, and any error of the filesystem. At any crash the log
// has its old last record or the new one, and what was cut does not come back.
func (l *Log) TruncateBack(lsn LSN) error {
	if err := l.checkWritable(); err != nil {
		return err
	}
	if err := l.mayCut(lsn); err != nil {
		return err
	}
	done, err := l.awaitUnheld(lsn)
	if err != nil {
		return err
	}
	defer done()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err = l.checkWritable(); err != nil {
		return err
	}
	if err = l.quiesce(); err != nil {
		return err
	}
	defer l.resume()
	if err = l.mayCut(lsn); err != nil {
		return err
	}
	// All that stays must be durable before a slot says so; and a Commit that
	// waits for what is cut may return.
	if _, err = l.syncLocked(); err != nil || lsn == l.LastLSN() {
		return err
	}
	c, err := l.planCut(lsn)
	if err != nil {
		return err
	}
	err = c.run()
	if c.seg != c.old {
		err = errors.Join(err, c.old.close())
	}
	if err != nil {
		return l.fail(err)
	}
	l.stats.truncations.Add(1)
	return nil
}

// mayCut returns why the record with that LSN cannot become the last one, or nil. It is
// asked twice: before the wait for Readers, so that a cut that is refused waits for
// nothing, and again when the log is quiet, since other cuts may have come first.
func (l *Log) mayCut(lsn LSN) error {
	switch first, last := l.FirstLSN(), l.LastLSN(); {
	case lsn > last:
		return fmt.Errorf("%w: truncate the back to LSN %d, the last is %d", ErrNotFound, lsn, last)
	case first > 1 && lsn < first-1:
		return fmt.Errorf("%w: truncate the back to LSN %d, the first is %d", ErrTruncated, lsn, first)
	}
	return nil
}

// backCut is a cut at the back in progress. The log is quiesced and syncMu is held, so
// one goroutine uses it, and the tail does not move.
//
// It goes through these steps; the order of the writes is told at cutBehind:
//
//  1. planCut finds the place, and opens and checks the segment that it lies in. Nothing is
//     changed yet, and an error leaves the log as it was.
//  2. tell makes the place the tail, in memory and for readers. From here on a failure
//     poisons the log: what memory and disk say differs until the cut is recorded.
//  3. cutBehind records the cut, removes later segments, and zeroes what is behind it.
//  4. alignTail and checkSynced end it. resume then lets appenders go on at the place.
//
// A crash in 1 or 2 leaves the old log, since all of it was synced before; in 3 the old one,
// or the new one once the slot is durable.
type backCut struct {
	l     *Log
	lsn   LSN         // the new last one
	at    frame.Place // behind it
	link  int64       // where at.link lies
	seg   *writableSegment
	old   *writableSegment // the tail before
	end   int64            // offset behind the last byte of seg that may not be zero
	epoch uint32
	slots checkpointSlots // of seg
}

// planCut finds the place of a cut and opens the segment that it lies in. It
// changes nothing, so that whatever fails here leaves the log usable: from run on, a
// failure poisons it. In a segment that is closed already, slots are read from its head;
// those of the tail are known (Log.slots).
func (l *Log) planCut(lsn LSN) (*backCut, error) {
	epoch, err := l.nextCut()
	if err != nil {
		return nil, err
	}
	c := &backCut{l: l, lsn: lsn, old: l.tail, epoch: epoch}
	ordinal, err := c.findPlace()
	if err != nil {
		return nil, err
	}
	if ordinal == l.tail.ordinal {
		c.seg, c.end, c.slots = l.tail, l.at.Off, l.slots
		return c, nil
	}
	// Half a cut is poison: where no file may be removed, it does not begin.
	if err = l.dir.Writable(); err != nil {
		return nil, fmt.Errorf("wal: truncate the back to LSN %d: %w", lsn, err)
	}
	if c.seg, err = l.reopenSegment(ordinal); err != nil {
		return nil, err
	}
	c.end = c.seg.size()
	head := make([]byte, frame.DataOffset)
	if err = c.seg.mem.Load(0, head); err != nil {
		return nil, errors.Join(err, c.seg.close())
	}
	h := frame.DecodeHead(head)
	c.slots, _ = readSlots(c.seg, &h)
	return c, nil
}

// findPlace finds the place behind the record that becomes the last one, and
// returns the segment that it lies in: where a segment begins behind it, that
// one. It reads the record too: a log must not end in a record that is damaged, since
// the next Open would find that acknowledged data is lost. It walks like a Reader whose
// next record is the first one to be cut, so that enterSegment finds the segment in which
// the log then ends.
func (c *backCut) findPlace() (ordinal uint64, err error) {
	l := c.l
	r := Reader{next: c.lsn + 1, epoch: uint64(l.store.epoch.Load()), cur: cursor{Cursor: segment.Cursor{Window: segment.PopulateBytes}}}
	if _, err = l.enterSegment(&r); err != nil {
		return 0, err
	}
	v := r.cur.view
	defer v.ref.unpin()
	if v.start.LSN == c.lsn {
		c.at, c.link = v.start, frame.StampLinkOffset
		return v.st.ordinal, nil
	}
	r.cur.enter(v, l.store.before(v, c.lsn))
	err = r.cur.Seek(c.lsn)
	if err == nil {
		_, err = r.cur.Lend()
	}
	if segment.IsBad(err) {
		err = r.cur.damage(l.dirPath, c.lsn, err)
	}
	if err != nil {
		return 0, err
	}
	c.at, c.link = r.cur.Place, r.cur.LinkOff
	return v.st.ordinal, nil
}

// reopenSegment maps a segment that is full for writing again. It gives the
// file blocks where a sparse copy left holes. The file is found by its name, so header
// and stamp are checked to be those of the segment before it is written to. It uses
// Open's diskFile only to open the file and to fill its holes: what it holds was made
// durable by this log, or by the Open before.
func (l *Log) reopenSegment(ordinal uint64) (*writableSegment, error) {
	d := &diskFile{Entry: logdir.Entry{Name: logdir.FinalName(ordinal), Ordinal: ordinal}, dir: l.dir}
	err := d.open(new(logdir.OpenFiles))
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	head := make([]byte, frame.DataOffset)
	_, err = d.held.File.ReadAt(head, 0)
	if err == nil {
		err = d.fillHoles()
	}
	h := frame.DecodeHead(head)
	switch {
	case err != nil:
	case h.StampErr != nil:
		err = h.StampErr
	case h.Header.UUID != l.uuid || h.Header.Ordinal != ordinal:
		err = frame.ErrInvalid
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wal: open segment %s/%s to cut it: %w", l.dirPath, d.Name, err), d.close())
	}
	s, err := mapSegment(l.dir, d.held.File, h.Header, l.opts.Align)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	s.taken, s.first, s.previous = true, h.Stamp.First, h.Stamp.Previous
	s.start = h.Start()
	return s, nil
}

// run makes the cut, in the order of cutBehind: readers are told first, before any
// byte behind the cut changes.
func (c *backCut) run() error {
	l := c.l
	if err := c.tell(); err != nil {
		return err
	}
	if err := l.cutBehind(c.seg, l.newCheckpointRecord(c.at, c.lsn), c.removeBehind, c.zeroBehind); err != nil {
		return err
	}
	if err := l.alignTail(); err != nil {
		return err
	}
	snap := snapshot{lsn: c.lsn, at: l.at, tail: c.seg, link: l.linkOff, ranges: []dirtyRange{{seg: c.seg}}}
	return l.checkSynced(&snap)
}

// tell makes the place of the cut the tail, and lowers what readers may read: in
// this process by the epoch, which every read checks at its end, in others by the
// control blocks of the old and the new tail. When it returns, nothing in this process
// holds a record that is behind the cut, and a reader that is still copying one will
// discard it.
//
// The locks are taken as always, mu before store.mu. Both are free again before the blocks in
// the mappings are stored to. The indexes are cut here too, under the locks, so that no later
// Get begins at a place that is gone. A base index that readers may be using is replaced and
// not changed.
func (c *backCut) tell() error {
	l, t := c.l, &c.l.store
	l.mu.Lock()
	t.mu.Lock()
	t.cut(c.epoch, c.lsn)
	l.lower(c.lsn)
	keep := 0
	for keep < len(t.list) && t.list[keep].ordinal <= c.seg.ordinal {
		keep++
	}
	t.take(keep, len(t.list))
	st := t.list[keep-1]
	if st.seg == nil {
		t.unmap(st)
		st.seg, st.live = c.seg, &c.seg.index
	}
	if base := st.base.Load(); base != nil {
		base = segment.Merged(maxIndexMarks, base)
		base.Truncate(c.at.Off)
		st.base.Store(base)
	}
	c.seg.index.Truncate(c.at.Off)
	l.mu.Unlock()
	_ = t.unlock() // only mappings for reading are unmapped: no store is lost by an error
	c.goOn()
	for _, s := range []*writableSegment{c.old, c.seg} {
		if err := segment.LowerControl(s.mem, &frame.Control{Front: l.FirstLSN(), Appended: c.lsn, Durable: c.lsn, Epoch: uint64(c.epoch)}); err != nil {
			return err
		}
	}
	t.pins.assertUnheld(c.lsn)
	return nil
}

// lower makes a record the last one that readers may read, and the last one that is
// durable. The caller holds mu, as Stats does, which compares the two.
func (l *Log) lower(last LSN) {
	l.appended.Store(uint64(last))
	l.setDurable(last)
}

// removeBehind removes the segments behind the cut, the newest first, durably.
// Prepared ones stay where the cut lies in the segment before them: they are
// zero, and follow it. The prepared ones go by the same loop as the full ones:
// prepare.next is behind both. By now they have their final names or were discarded,
// since quiesce waited for the namer.
func (c *backCut) removeBehind() error {
	l := c.l
	if c.seg == c.old {
		return nil
	}
	l.mu.Lock()
	last, ready := l.prepare.next-1, l.ready
	l.ready, l.prepare.next = nil, c.seg.ordinal+1
	l.mu.Unlock()
	for _, s := range ready {
		if err := s.close(); err != nil {
			return err
		}
	}
	for ordinal := last; ordinal > c.seg.ordinal; ordinal-- {
		if err := l.removeFile(logdir.FinalName(ordinal)); err != nil {
			return err
		}
	}
	return l.dir.Sync()
}

// zeroBehind zeroes what is not zero behind the cut, and makes that durable. In the
// segment that was the tail nothing lies behind its last frame, so c.end is where that
// ended. Each piece is populated before it is read: a load that faults would hold up the
// garbage collector (kernel fact 7).
func (c *backCut) zeroBehind() error {
	z := zeroing{mem: c.seg.mem}
	for off := c.at.Off; off < c.end; {
		end := min((off+segment.PopulateBytes)&^(segment.PopulateBytes-1), c.seg.size())
		if err := z.mem.PopulateRead(off, end-off); err != nil {
			return err
		}
		if err := z.blocks(off, z.mem.Bytes()[off:end]); err != nil {
			return err
		}
		off = end
	}
	return z.sync()
}

// goOn makes the place of the cut the tail, where the log appends once it is resumed. The
// range to be synced begins at the place: all before it is durable, and what the cut
// itself stores behind it, it syncs.
func (c *backCut) goOn() {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beginEpoch(c.epoch, c.seg.ordinal, c.at)
	l.slots = c.slots
	l.tail, l.at, l.linkOff = c.seg, c.at, c.link
	l.look = 0
	l.limit = c.seg.size() - markReserve
	l.dirty = append(l.dirty[:0], dirtyRange{seg: c.seg, from: c.at.Off, begin: c.at})
	l.namedWatermark = 0 // the frames that named a higher one are gone
	l.cutCount.Add(1)
}
