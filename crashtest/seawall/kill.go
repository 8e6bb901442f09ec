//go:build linux

package seawall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// What only campaigns of package kill ask of the log: their lives end anywhere, and
// what is known goes from process to process.

// The bounds of a life that nobody ends: an aimed one that has not reached its
// step by then will not, and a blind one was forgotten.
const (
	aimedLife = 400
	blindLife = 200_000
)

// enough is how many bytes a log may hold before a fresh one is begun: each death
// costs a look at all of it.
const enough = 1 << 20

// aim returns the place at which a campaign of package kill ends this life, or
// nothing.
func (w *work) aim() kill.Place {
	if w.stage == nil {
		return ""
	}
	return w.stage.Aim()
}

// enter says that the life enters a place, and returns what says that it leaves it.
func (w *work) enter(p kill.Place) (leave func()) {
	if w.stage == nil || p == "" {
		return func() {}
	}
	return w.stage.Enter(p)
}

// killOptions changes options for a life that is to be killed.
func (w *work) killOptions() {
	clock := w.opts.Sync != wal.SyncEach && w.opts.Sync != wal.SyncManual
	switch {
	case clock && w.aim() == kill.Sync:
		w.opts.Sync = wal.SyncManual // a clock's syncs would not be counted alike again
	case clock: // such a life is a few milliseconds long
		w.opts.Sync = wal.SyncEvery(time.Duration(1+w.rng.IntN(20)) * 100 * time.Microsecond)
	}
	w.class = tagClass + 1
	switch w.aim() {
	case "":
		w.opts.Tracer = nil // a blind life is not observed
	case kill.Copy: // a small record is there after a few instructions
		w.class = tagClass - uint64(w.rng.IntN(2))
	case kill.Rotation:
		w.class = tagClass
	}
	w.turn(false)
}

// turn has the next record begin a run.
func (w *work) turn(many bool) {
	w.turns++
	w.run = run{tag: rand.New(rand.NewPCG(w.life.Seed, w.turns)).Uint64(), size: sizeByTag, many: many}
	if w.class <= tagClass {
		w.run.tag = w.run.tag&^tagClass | w.class
	}
	w.fresh = true
}

// severalWriters has several writers append at once.
func (w *work) severalWriters() error {
	w.turn(true)
	r, each := w.run, uint64(1+w.rng.IntN(8))
	r.from = w.mark().begun + 1
	errs := make([]error, 2+w.rng.IntN(3))
	w.set(func(m *Mark) {
		m.runs = append(slices.Clip(m.runs), r)
		m.writers = make([]writer, len(errs))
	})
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for n := uint64(0); n < each && errs[i] == nil; n++ {
				errs[i] = w.appendAs(r, i, n)
			}
		})
	}
	all.Wait()
	w.set(func(m *Mark) { m.writers = nil })
	w.turn(false)
	return errors.Join(errs...)
}

// appendAs appends one record of one of several writers.
func (w *work) appendAs(r run, i int, n uint64) error {
	count := func(change func(*Mark, *writer)) {
		w.set(func(m *Mark) {
			m.writers = slices.Clone(m.writers)
			change(m, &m.writers[i])
		})
	}
	count(func(m *Mark, own *writer) { m.begun, own.begun = m.begun+1, own.begun+1 })
	lsn, err := w.to.Append(r.record(number(i, n)))
	if err != nil {
		return broken("append", err)
	}
	count(func(m *Mark, own *writer) { m.appended, own.appended = max(m.appended, lsn), own.appended+1 })
	return nil
}

// PlaceOf implements kill.Placer.
func (s *Log) PlaceOf(doing kill.Place, e *durability.Event) kill.Place {
	switch {
	case doing == kill.Recovery || doing == kill.Cut:
		return doing
	case e.Op == durability.OpStore && e.Offset >= frame.DataOffset && doing == kill.Append:
		return kill.Copy
	case e.Op == durability.OpStore && e.Offset >= frame.StampOffset && e.Offset < frame.SlotOffset:
		return kill.Rotation
	case e.Op == durability.OpStore:
		return doing
	case e.Op == durability.OpMsync || e.Op == durability.OpDatasync || e.Op == durability.OpSync && !temporary(e.Name):
		return kill.Sync
	}
	return kill.Rotation
}

// Places implements kill.Thorough.
func (s *Log) Places() []kill.Place {
	return []kill.Place{kill.Copy, kill.Sync, kill.Rotation, kill.Cut, kill.Recovery}
}

// Counts implements kill.Counter.
func (s *Log) Counts(k campaign.Known) kill.Counts {
	m := markOf(k)
	return kill.Counts{Begun: uint64(m.begun), Appended: uint64(m.appended), Acked: uint64(m.durable)}
}

// AppendKnown implements kill.Codec. What no death can leave any more is left out:
// batches that were appended, and runs that were cut away.
func (s *Log) AppendKnown(b []byte, k campaign.Known) ([]byte, error) {
	return markOf(k).encode(b), nil
}

func (m *Mark) encode(b []byte) []byte {
	put := func(values ...uint64) {
		for _, v := range values {
			b = binary.AppendUvarint(b, v)
		}
	}
	flag := func(is bool) uint64 {
		if is {
			return 1
		}
		return 0
	}
	put(uint64(m.front), uint64(m.begun), uint64(m.appended), uint64(m.durable))
	runs := between(m.runs, m.front, m.begun)
	put(uint64(len(runs)))
	for _, r := range runs {
		put(uint64(r.from), r.tag, uint64(r.size-sizeByTag), flag(r.many))
	}
	i := slices.IndexFunc(m.batches, func(b batch) bool { return b.last > m.appended })
	if i < 0 {
		i = len(m.batches)
	}
	put(uint64(len(m.batches) - i))
	for _, b := range m.batches[i:] {
		put(uint64(b.first), uint64(b.last))
	}
	// The writers are those of the last run. Where that was left out, none of them
	// has begun a record, and the records of the run before are not theirs.
	writers := m.writers
	if len(runs) == 0 || runs[len(runs)-1].from != m.runs[len(m.runs)-1].from {
		writers = nil
	}
	put(uint64(len(writers)))
	for _, w := range writers {
		put(w.begun, w.appended)
	}
	put(flag(m.alt != nil))
	if m.alt != nil {
		b = m.alt.encode(b)
	}
	return b
}

// ParseKnown implements kill.Codec. It is given what AppendKnown made.
func (s *Log) ParseKnown(b []byte) (campaign.Known, error) { return decodeMark(&b), nil }

func decodeMark(b *[]byte) *Mark {
	next := func() uint64 {
		v, n := binary.Uvarint(*b)
		*b = (*b)[max(n, 0):]
		return v
	}
	lsn := func() wal.LSN { return wal.LSN(next()) }
	m := &Mark{front: lsn(), begun: lsn(), appended: lsn(), durable: lsn()}
	for n := next(); n > 0 && len(*b) > 0; n-- {
		m.runs = append(m.runs, run{from: lsn(), tag: next(), size: int(next()) + sizeByTag, many: next() == 1})
	}
	for n := next(); n > 0 && len(*b) > 0; n-- {
		m.batches = append(m.batches, batch{lsn(), lsn()})
	}
	for n := next(); n > 0 && len(*b) > 0; n-- {
		m.writers = append(m.writers, writer{next(), next()})
	}
	if next() == 1 {
		m.alt = decodeMark(b)
	}
	return m
}

// Settle implements kill.Settler: what is there is known exactly.
func (s *Log) Settle(k campaign.Known, f campaign.Found) campaign.Known {
	old, h := markOf(k), f.(*Held)
	m := emptyMark(h.First)
	m.runs = append(between(old.runs, h.First, h.Last), h.after...)
	m.begun = h.Last + wal.LSN(len(h.after))
	m.appended, m.durable = m.begun, min(old.durable, h.Last)
	if len(h.after) > 0 {
		m.durable = m.begun // it was synced
	}
	return &m
}

// Enough implements kill.Bounded.
func (s *Log) Enough(f campaign.Found) bool { return f.(*Held).bytes > enough }

// Inspect implements kill.Inspector.
func (s *Log) Inspect(dir string) (campaign.Found, error) {
	h, err := s.verifyAndDump(filepath.Join(dir, logName), false)
	if errors.Is(err, wal.ErrMissing) {
		return noLog(), nil
	}
	return h, err
}

// Recovered implements kill.Survivor.
func (h *Held) Recovered() uint64 { return uint64(h.Last) }

// InProgress implements kill.Survivor. The order of several writers is not known, and
// so neither is which record would have been the next.
func (h *Held) InProgress(k campaign.Known) (found, of int64) {
	m := markOf(k)
	if len(m.runs) == 0 || m.alt != nil {
		return 0, 0
	}
	r, at := m.runs[len(m.runs)-1], int64(0)
	if r.many {
		return 0, 0
	}
	for lsn := max(h.Last+1, r.from); lsn <= m.begun; lsn++ {
		p := r.record(uint64(lsn))
		of += frame.HeaderBytes + int64(len(p))
		if at < int64(len(h.tail)) {
			found += sameBytes(h.tail[at:], p)
		}
		at += frame.Size(int64(len(p)))
	}
	return found, of
}

// sameBytes counts the bytes of a frame that are there. Those of its header are
// taken to be there up to the last one that is not zero.
func sameBytes(b, payload []byte) int64 {
	n := int64(len(bytes.TrimRight(b[:min(len(b), frame.HeaderBytes)], "\x00")))
	for i, c := range b[min(len(b), frame.HeaderBytes):] {
		if i >= len(payload) {
			break
		}
		if c == payload[i] {
			n++
		}
	}
	return n
}

// tailOf returns what lies behind the last frame of the last segment in use.
func tailOf(rep *wal.Report) ([]byte, error) {
	for i := len(rep.Segments) - 1; i >= 0; i-- {
		s := rep.Segments[i]
		if s.State != "active" && s.State != "torn" {
			continue
		}
		file, err := os.Open(filepath.Join(rep.Dir, s.Name))
		if err != nil {
			return nil, err
		}
		tail, err := io.ReadAll(io.NewSectionReader(file, max(s.Bytes, frame.DataOffset), wal.MinSegmentBytes))
		return bytes.TrimRight(tail, "\x00"), errors.Join(err, file.Close())
	}
	return nil, nil
}
