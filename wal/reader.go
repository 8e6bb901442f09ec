package wal

import (
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// populateBytes is how much of a segment is brought into memory at once before
// it is read: a load that faults holds up the garbage collector, a system call
// does not (kernel fact 7).
const populateBytes = 256 << 10

// Reader reads records in the order of their LSNs. It is not safe for
// concurrent use; any number of them may read at once, beside appenders.
type Reader struct {
	log    *Log
	next   LSN // the record that Next is to read
	at     place
	view   view
	ready  int64 // bytes of the view's segment that were brought in
	window int64 // how many are at once
	buf    []byte
	head   frame.Buffer
	frame  frame.Frame
	err    error
	done   bool
	read   bool   // the record before next was returned
	epoch  uint32 // of the log when that was read
}

// Reader returns a reader whose first record is the one with that LSN, or the
// log's first one for 0.
func (l *Log) Reader(from LSN) *Reader {
	return &Reader{log: l, next: from, window: populateBytes}
}

// Next reads the next record and reports whether there is one. Without an
// error, false says that the log's end is reached: Next may be called again
// after more was appended. Records are readable from their append on, on a
// poisoned log as far as they are durable.
func (r *Reader) Next() bool {
	if r.err != nil || r.done {
		return false
	}
	if r.next == 0 {
		r.next = r.log.FirstLSN()
	}
	if r.next > r.log.readable() && !r.read {
		return false
	}
	err := r.advance()
	if err == errNoRecord { //nolint:errorlint // returned as it is
		return false // it was cut in this moment
	}
	r.err = err
	return err == nil
}

// LSN returns the LSN of the record that Next read.
func (r *Reader) LSN() LSN { return r.next - 1 }

// Record returns the record that Next read. The next call of Next or Close
// makes its bytes invalid.
func (r *Reader) Record() []byte { return r.buf }

// Err returns the error that ended the reading, or nil: ErrTruncated where the
// record is below the log's first one, *CorruptError where it is damaged,
// *durability.FaultError where its file was truncated, ErrClosed.
func (r *Reader) Err() error { return r.err }

// Close ends the reading. It returns Err.
func (r *Reader) Close() error {
	r.done, r.buf = true, nil
	return r.err
}

// readable returns the last LSN that readers may read.
func (l *Log) readable() LSN {
	if l.poison.Load() != nil {
		return l.DurableLSN()
	}
	return l.LastLSN()
}

// Get returns a copy of the record with that LSN. It returns ErrTruncated for
// an LSN below the log's first, ErrNotFound for one that was not appended yet
// or, on a poisoned log, is not durable, and what Reader.Err returns.
func (l *Log) Get(lsn LSN) ([]byte, error) {
	if lsn > l.readable() {
		return nil, fmt.Errorf("%w: LSN %d, the last is %d", ErrNotFound, lsn, l.readable())
	}
	r := Reader{log: l, next: lsn, window: 2 * indexStep}
	if err := r.advance(); err != nil {
		if err == errNoRecord { //nolint:errorlint // returned as it is
			err = fmt.Errorf("%w: LSN %d, the last is %d", ErrNotFound, lsn, l.readable())
		}
		return nil, err
	}
	return r.buf, nil
}

// errNoRecord says that the record that is next is not there any more, or not
// yet.
var errNoRecord = fmt.Errorf("wal: no record there now")

// mayRead looks, under the lock that cuts hold for writing, whether the record
// that is next may be read, and whether the place that the reader has is still
// one of the log.
func (r *Reader) mayRead(t *segments) error {
	if low, cut := t.cuts.lowest(r.epoch); cut && r.read {
		if low < r.next-1 {
			return fmt.Errorf("%w: LSN %d was read, and then cut away", ErrTruncated, r.next-1)
		}
		r.view = view{} // the place is looked for anew
	}
	r.epoch = t.epoch
	switch {
	case r.next < r.log.FirstLSN() || r.next == 0:
		return fmt.Errorf("%w: LSN %d, the first is %d", ErrTruncated, r.next, r.log.FirstLSN())
	case r.next > r.log.readable():
		return errNoRecord
	}
	return nil
}

// advance reads the record r.next and moves behind it.
func (r *Reader) advance() error {
	t := &r.log.store
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := r.mayRead(t); err != nil {
		return err
	}
	if err := r.position(t); err != nil {
		return err
	}
	for {
		var err error
		if r.at.off+frame.HeaderBytes > r.view.size {
			err = r.endOfSegment()
		} else {
			err = r.guarded(r.step)
		}
		if err == errNextSegment { //nolint:errorlint // returned as it is
			if err = r.nextSegment(t); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if r.frame.Kind == frame.KindRecord && r.at.lsn == r.next {
			r.next++
			r.read = true
			return nil
		}
	}
}

// position brings the view to the segment of the record that is next, and the
// place to a frame that is not behind it.
func (r *Reader) position(t *segments) error {
	if t.closed {
		return ErrClosed // the mapping at hand may be gone
	}
	if r.view.st != nil && r.at.lsn == r.next-1 {
		// The view may be of a mapping that was given up meanwhile.
		if v := r.view.st; v.mapped() && v.view().mem == r.view.mem {
			return nil
		}
	}
	v, err := t.locate(r.next)
	if err != nil {
		return err
	}
	again := r.view.st == v.st && r.at.lsn == r.next-1
	r.view, r.ready = v, 0
	if again {
		return nil
	}
	r.at, err = r.nearest(v)
	return err
}

// nextSegment goes on behind a segment whose frames are all read.
func (r *Reader) nextSegment(t *segments) error {
	v, err := t.following(r.view.st)
	if err != nil {
		return err
	}
	if v.start.lsn != r.at.lsn {
		return r.bad(fmt.Sprintf("the next segment begins with record %d", v.start.lsn+1))
	}
	r.view, r.at, r.ready = v, v.start, 0
	return nil
}

// nearest returns a place before the record that is next: one of those noted
// while records were appended or, for older ones, when the segment was first
// looked at.
func (r *Reader) nearest(v view) (place, error) {
	if v.st.live != nil {
		if p, ok := v.st.live.before(r.next); ok {
			return p, nil
		}
	}
	base, err := r.baseIndex(v)
	if err != nil {
		return place{}, err
	}
	if p, ok := base.before(r.next); ok {
		return p, nil
	}
	return v.start, nil
}

// baseIndex returns the index of what was in the segment when the log was
// opened. It is made when it is first needed, from the frames' headers.
func (r *Reader) baseIndex(v view) (*index, error) {
	st := v.st
	st.scan.Lock()
	defer st.scan.Unlock()
	if st.base != nil {
		return st.base, nil
	}
	base := new(index)
	base.init(v.size)
	scan := Reader{log: r.log, view: v, at: v.start, window: populateBytes}
	last := r.log.readable()
	for scan.at.lsn < last && scan.at.off+frame.HeaderBytes <= v.size {
		base.add(scan.at)
		if err := scan.guarded(scan.header); err != nil {
			if err == errNextSegment { //nolint:errorlint // returned as it is
				break
			}
			return nil, err
		}
		scan.pass()
	}
	st.base = base
	return base, nil
}

// guarded runs fn, which touches the mapping, and turns a fault into an error.
func (r *Reader) guarded(fn func() error) error {
	return durability.Guard(fn)
}

// errNextSegment says that no frame follows in the segment.
var errNextSegment = fmt.Errorf("wal: no further frame in the segment")

// step reads the frame at the place, its payload into the buffer if it is the
// record that is next, and moves behind it.
func (r *Reader) step() error {
	if err := r.header(); err != nil {
		return err
	}
	f := &r.frame
	if f.Kind == frame.KindRecord && f.LSN == r.next {
		from := r.at.off + frame.HeaderBytes
		if err := r.bringIn(from + int64(f.Length)); err != nil {
			return err
		}
		if r.buf == nil {
			r.buf = make([]byte, 0, f.Length) // an empty record is not nil
		}
		r.buf = append(r.buf[:0], r.view.mem.Bytes()[from:from+int64(f.Length)]...)
		// The copy is what is checked: the bytes below may change.
		if frame.Checksum(r.buf) != f.PayloadCRC {
			return r.bad("the payload does not match its checksum")
		}
	}
	r.pass()
	return nil
}

// header reads the frame header at the place and checks it against the chain.
func (r *Reader) header() error {
	if err := r.bringIn(r.at.off + frame.HeaderBytes); err != nil {
		return err
	}
	p := r.view.mem.Bytes()[r.at.off:r.view.size]
	f, err := frame.Decode(p, r.at.lsn)
	if err == nil && f.LSN-r.at.lsn <= 1 && f.Epoch >= r.at.epoch &&
		r.head.Linked(p, &f, r.view.seed, r.at.link, r.at.off) {
		r.frame = f
		return nil
	}
	return r.endOfSegment()
}

// endOfSegment tells a segment that is read to its end from a damaged one: the
// chain goes on in the next one.
func (r *Reader) endOfSegment() error {
	t := &r.log.store
	for _, st := range t.list {
		if st.ordinal == r.view.st.ordinal+1 {
			return errNextSegment
		}
	}
	return r.bad("no valid frame header")
}

// pass moves behind the frame.
func (r *Reader) pass() {
	r.at.off += r.frame.Size()
	r.at.lsn, r.at.link, r.at.epoch = r.frame.LSN, r.frame.Link, r.frame.Epoch
}

// bringIn makes the segment's bytes up to end resident.
func (r *Reader) bringIn(end int64) error {
	if end <= r.ready {
		return nil
	}
	from := max(r.ready, r.at.off) &^ int64(pageSize-1)
	end = min(max(end, from+r.window), r.view.size)
	if err := r.view.mem.PopulateRead(from, end-from); err != nil {
		return err
	}
	r.ready = end
	return nil
}

// bad returns the error for damage at the reader's place.
func (r *Reader) bad(reason string) error {
	return newCorruptError(r.log.dirPath, []Damage{{
		File: r.view.st.name, Offset: r.at.off, FirstLSN: r.next, LastLSN: r.next, Reason: reason,
	}})
}
